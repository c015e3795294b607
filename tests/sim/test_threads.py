"""Simulators in threads of one process: what all engines of a process share changes no message."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from google.protobuf.internal import api_implementation

from fastmarket.sim.network import Rules
from fastmarket.sim.world import Plan, World

THREADS = 3
HAS_GIL = getattr(sys, "_is_gil_enabled", lambda: True)()


def trace_hash(seed: int) -> str:
    """Of every message of a small run."""
    world = World(Plan(nodes=60, signers=5, rules=Rules(seed=seed)))
    world.look_up(20)
    world.publish(5)
    world.find(10)
    try:
        return world.network.trace_hash
    finally:
        world.close()


@pytest.mark.skipif(
    not HAS_GIL and api_implementation.Type() == "upb",
    reason="protobuf's upb has not declared that it runs without the GIL, and two threads in it crash",
)
def test_simulators_in_threads_send_what_they_send_alone() -> None:
    alone = [trace_hash(seed) for seed in range(THREADS)]
    with ThreadPoolExecutor(THREADS) as pool:
        assert list(pool.map(trace_hash, range(THREADS))) == alone
