"""The policy of a lookup: what each state of a peer means for the walk over its candidates.

The walk itself, and the arrays it walks over, are in native.candidates, which takes the table below and has
no states of its own.
"""

from __future__ import annotations

from collections.abc import Mapping

from fastmarket.config import KadConfig
from fastmarket.kad.lookup.peer_state import PeerState, StateRule, Transitions
from fastmarket.native.candidates import StateTable

STATE_RULES: Mapping[PeerState, StateRule] = {
    PeerState.HEARD: StateRule(is_queryable=True, is_skippable=True, is_present=True),
    PeerState.WAITING: StateRule(is_counted=True, is_awaited=True, is_present=True),
    PeerState.LATE: StateRule(may_hold=True, is_present=True),
    PeerState.ANSWERED: StateRule(is_counted=True, has_answered=True, is_present=True, is_found=True),
    PeerState.KNOWN_ALIVE: StateRule(
        is_queryable=True, is_skippable=True, is_counted=True, is_present=True, is_found=True
    ),
    PeerState.FAILED: StateRule(),
}


STATE_TABLE = StateTable(STATE_RULES, Transitions())


def hold_s(config: KadConfig, soft_timeout_s: float) -> float:
    """How long after its query a late peer delays the end of the lookup, however fast the others were."""
    return min(config.settle_s, config.settle_factor * soft_timeout_s)


def slow_hold_s(config: KadConfig, slowest_s: float) -> float:
    """Likewise, if the slowest answer so far took `slowest_s`."""
    return config.settle_factor * slowest_s
