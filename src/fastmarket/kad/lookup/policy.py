"""The policy of a lookup: what each state of a peer means for the walk over its candidates.

The walk itself, and the arrays it goes over, are in native.candidates, which is given the table below and has
no states of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from fastmarket.config import KadConfig
from fastmarket.native.candidates import StateTable


class PeerState(IntEnum):
    """A peer's way through one lookup."""

    HEARD = 0  # named by another peer or by the routing table
    WAITING = 1  # queried, holds one of the alpha slots
    LATE = 2  # queried, soft timeout passed, slot given to another; its answer still counts
    ANSWERED = 3  # counts towards the k closest
    # Known to be alive, and not queried for the time being; counts like one that answered. Left for WAITING
    # when it becomes one of the few that are queried in any case, or is no longer known to be alive.
    KNOWN_ALIVE = 4
    FAILED = 5  # no answer will come; it is taken out of the list


@dataclass(frozen=True, slots=True)
class StateRule:
    """What the walk does with a peer in one state, in the order of distance."""

    is_queryable: bool = False  # it is the next to query
    is_skippable: bool = False  # unless the liveness shortcut lets it count unqueried
    is_counted: bool = False  # it takes one of the k places of the closest
    has_answered: bool = False  # it is one of the beta answers that may end the lookup
    is_awaited: bool = False  # the lookup does not end before it answers, fails or is late
    may_hold: bool = False  # nor before a while after its query, in proportion to how slow the others were
    is_present: bool = False  # it belongs to the closest known
    is_found: bool = False  # it belongs to the result


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


@dataclass(frozen=True, slots=True)
class Transitions:
    """The state a peer enters at each event of a lookup."""

    on_heard: PeerState = PeerState.HEARD
    on_query: PeerState = PeerState.WAITING
    on_query_unresponsive: PeerState = PeerState.LATE  # silent before: it is queried, and nobody waits for it
    on_soft_timeout: PeerState = PeerState.LATE
    on_answer: PeerState = PeerState.ANSWERED
    on_shortcut: PeerState = PeerState.KNOWN_ALIVE  # the liveness shortcut lets it count unqueried
    on_doubt: PeerState = PeerState.HEARD  # it no longer does
    on_failure: PeerState = PeerState.FAILED


STATE_TABLE = StateTable(STATE_RULES, Transitions())


def hold_s(config: KadConfig, soft_timeout_s: float) -> float:
    """How long after its query a late peer holds the end of the lookup, however fast the others were."""
    return min(config.settle_s, config.settle_factor * soft_timeout_s)


def slow_hold_s(config: KadConfig, slowest_s: float) -> float:
    """How long it does where the slowest answer so far took `slowest_s`."""
    return config.settle_factor * slowest_s
