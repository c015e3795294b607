"""What a network is like, and what a node does with what comes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class State(Enum):
    """What a node does with what comes."""

    UP = "up"
    SILENT = "silent"  # takes connections and says nothing: SIGSTOP
    DOWN = "down"  # refuses connections: SIGKILL


@dataclass(frozen=True)
class Conditions:
    """Of the network: one-way latency in seconds, share of requests or replies lost."""

    latency_s: tuple[float, float] = (0.010, 0.080)
    loss: float = 0.0
    identify_delay_s: float = 0.0  # identify ends this long after the first request went out


IMMEDIATE = Conditions(latency_s=(0.0, 0.0))
"""Time passes only where everybody waits for it."""
