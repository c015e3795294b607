"""AutoNAT: whether others can connect to this node."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AutonatConfig:
    """Has peers test our addresses, and tests theirs (AutoNAT v2)."""

    # "on": where other machines can connect; "off": addresses are announced untested
    mode: str = "off"
