"""The states of a peer in one lookup, what each may mean, and which event leads to which."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class PeerState(IntEnum):
    """The state of a peer in one lookup."""

    HEARD = 0  # named by another peer or by the routing table
    WAITING = 1  # queried, holds one of the alpha slots
    LATE = 2  # queried, soft timeout passed, slot given to another; its answer still counts
    ANSWERED = 3  # counts towards the k closest
    # Known to be alive, and not queried for now; counts like a peer that answered. Left for WAITING when the
    # peer becomes one of the few that are queried in any case, or is no longer known to be alive.
    KNOWN_ALIVE = 4
    FAILED = 5  # failed to answer; removed from the list


@dataclass(frozen=True, slots=True)
class StateRule:
    """What the walk, in the order of distance, does with a peer in one state."""

    is_queryable: bool = False  # it is the next to query
    is_skippable: bool = False  # unless the liveness shortcut lets it count unqueried
    is_counted: bool = False  # it takes one of the k places of the closest
    has_answered: bool = False  # it is one of the beta answers that may end the lookup
    is_awaited: bool = False  # the lookup does not end before it answers, fails or is late
    may_hold: bool = False  # nor before a hold that grows with the slowest answer
    is_present: bool = False  # it belongs to the closest known
    is_found: bool = False  # it belongs to the result


@dataclass(frozen=True, slots=True)
class Transitions:
    """The state a peer enters at each event of a lookup."""

    on_heard: PeerState = PeerState.HEARD
    on_query: PeerState = PeerState.WAITING
    on_query_unresponsive: PeerState = PeerState.LATE  # queried, but not waited for
    on_soft_timeout: PeerState = PeerState.LATE
    on_answer: PeerState = PeerState.ANSWERED
    on_shortcut: PeerState = PeerState.KNOWN_ALIVE  # the liveness shortcut lets it count unqueried
    on_doubt: PeerState = PeerState.HEARD  # it no longer counts
    on_failure: PeerState = PeerState.FAILED
