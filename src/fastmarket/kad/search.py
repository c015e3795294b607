"""What a lookup is to those who drive it, and its candidates."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto
from itertools import islice
from typing import Protocol

from fastmarket.config import KadConfig
from fastmarket.formats.choice import FailureKind
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.formats.scope import ip_group
from fastmarket.kad.closest import Closest
from fastmarket.kad.jobs import Outgoing


class PeerState(Enum):
    """A peer's way through one lookup."""

    HEARD = auto()  # named by another peer or by the table
    WAITING = auto()  # asked, holds one of the alpha slots
    LATE = auto()  # asked, patience over, slot given on; its answer still counts
    ANSWERED = auto()  # counts towards the k closest
    # Known to be alive, and not asked for the time being; counts like one that answered. Left for WAITING
    # when it comes to be one of the few that are asked in any case, or is no longer known to be alive.
    VOUCHED = auto()
    FAILED = auto()  # no answer will come; it is taken out of the list


class End(Enum):
    """Why a lookup ended."""

    COMPLETE = "complete"  # the k closest known have all answered, or all there are
    STOPPED = "stopped"  # the question was answered before
    LIMIT = "limit"  # max_asked peers were asked and the closest known still was not among them
    DEADLINE = "deadline"  # the job's time was over
    CANCELLED = "cancelled"  # by its caller


@dataclass(frozen=True, slots=True)
class Answered:
    """A peer that answered, or is known to be alive (`kad.vouching`), and the protocol it does so on."""

    peer: PeerInfo
    protocol: str


_THERE = (PeerState.ANSWERED, PeerState.VOUCHED)
_UNKNOWN = b"?"  # no address block is that short


class Candidate:
    """A peer a lookup has heard of."""

    __slots__ = ("_group", "asked_at", "connected", "hold_s", "hops", "late_at", "peer", "protocol", "state")

    def __init__(self, peer: PeerInfo, hops: int = 1) -> None:
        self.peer = peer
        self.hops = hops  # 1: of our table; 2: named by one of those; and so on
        self._group: bytes | None = _UNKNOWN
        self.state = PeerState.HEARD
        self.asked_at = 0.0
        self.late_at = 0.0
        self.hold_s = 0.0  # after asked_at: no longer does it hold the end, unless others are as slow
        self.connected = False  # when it was asked
        self.protocol = ""

    @property
    def group(self) -> bytes | None:
        """Its address block; found out when somebody wants to know, for most are never looked at."""
        if self._group is _UNKNOWN:
            self._group = ip_group(self.peer)
        return self._group


class Search(Protocol):
    """A lookup as a job drives it: one `Lookup`, or several on disjoint paths."""

    target: bytes
    end: End | None

    @property
    def asked(self) -> int:
        """Peers asked so far."""

    @property
    def heard(self) -> int:
        """Peers heard of so far."""

    @property
    def answered(self) -> int:
        """Peers that answered."""

    @property
    def failures(self) -> int:
        """Peers of which no answer will come."""

    @property
    def hops(self) -> int:
        """Of the farthest peer that answered."""

    @property
    def only_late(self) -> bool:
        """Somebody answered, nobody in a slot is waited for, but late peers still hold the end."""

    def add(self, peers: Iterable[PeerInfo]) -> None:
        """Peers heard of."""

    def poll(self, now: float) -> list[Outgoing]:
        """The requests to send now; notices the end."""

    def replied(self, token: int, protocol: str, payload: bytes, now: float) -> tuple[object, ...]:
        """An answer: what was found in it. Raises PeerFault: call `failed` then."""

    def failed(self, token: int, kind: FailureKind, now: float) -> None:
        """No answer will come."""

    def stop(self, end: End) -> None:
        """End now, with what was found."""

    def next_timer(self) -> float | None:
        """When `handle_timer` has something to do."""

    def handle_timer(self, now: float) -> None:
        """Time has passed; poll afterwards."""

    def closest(self) -> tuple[Answered, ...]:
        """The up to k closest peers that answered or are known to be alive, closest first."""

    def storers(self) -> tuple[Answered, ...]:
        """Where to store: those, and more where an address block is crowded (`kad.closest`)."""

    def nearest(self) -> list[Candidate]:
        """The closest known that have not failed, whether they have answered or not."""


def choose(candidates: Iterable[Candidate], config: KadConfig) -> list[Candidate]:
    """Those of candidates, given by distance, that count as the closest; failed ones never do."""
    chosen, found = Closest(config), []
    for candidate in candidates:
        if candidate.state is not PeerState.FAILED and chosen.wants(candidate.group):
            chosen.take(candidate.group)
            found.append(candidate)
            if chosen.full:
                break
    return found


def chosen_answered(candidates: Iterable[Candidate], config: KadConfig) -> tuple[Answered, ...]:
    """The closest of those that answered, or need not."""
    answered = (one for one in candidates if one.state in _THERE)
    return tuple(Answered(one.peer, one.protocol) for one in choose(answered, config))


def closest_answered(candidates: Iterable[Candidate], k: int) -> tuple[Answered, ...]:
    """The first k that answered, or need not."""
    answered = (Answered(one.peer, one.protocol) for one in candidates if one.state in _THERE)
    return tuple(islice(answered, k))


def earlier(a: float | None, b: float) -> float:
    """The earlier of a time that may be none and another."""
    return b if a is None or b < a else a
