"""The interface of a lookup to its driver."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from fastmarket.formats.choice import FailureKind
from fastmarket.formats.kad_key import KadKey
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.events import SendRequest
from fastmarket.native.candidates import Answered, Candidate


class End(Enum):
    """Why a lookup ended."""

    COMPLETE = "complete"  # the k closest known have all answered, or all there are
    STOPPED = "stopped"  # the question was answered before
    LIMIT = "limit"  # max_asked peers were asked and the closest known still was not among them
    DEADLINE = "deadline"  # the job's time was over
    CANCELLED = "cancelled"  # by its caller


class Lookup:
    """A lookup as a job drives it: one `Lookup`, or several on disjoint paths."""

    __slots__ = ("end", "target")

    target: KadKey
    end: End | None

    @property
    def queried_count(self) -> int:
        """Peers asked so far."""
        raise NotImplementedError

    @property
    def heard_count(self) -> int:
        """Peers heard of so far."""
        raise NotImplementedError

    @property
    def answered_count(self) -> int:
        """Peers that answered."""
        raise NotImplementedError

    @property
    def failed_count(self) -> int:
        """Peers of which no answer will come."""
        raise NotImplementedError

    @property
    def silent_count(self) -> int:
        """Peers asked that have not answered, and of which it is not known that they are gone, or no peers of
        this network: each of them may be there."""
        raise NotImplementedError

    @property
    def hops(self) -> int:
        """Of the farthest peer that answered."""
        raise NotImplementedError

    @property
    def is_only_late(self) -> bool:
        """At least one peer answered, no slot is in use, and only late peers delay the end."""
        raise NotImplementedError

    def add(self, peers: Iterable[PeerInfo]) -> None:
        """Peers heard of."""
        raise NotImplementedError

    def poll(self, now: float) -> list[SendRequest]:
        """The requests to send now; notices the end."""
        raise NotImplementedError

    def on_reply(self, token: int, protocol: str, payload: bytes, now: float) -> tuple[object, ...]:
        """An answer: what was found in it. Raises PeerFault: call `on_failure` then."""
        raise NotImplementedError

    def on_failure(self, token: int, kind: FailureKind, now: float) -> None:
        """No answer will come."""
        raise NotImplementedError

    def on_lost(self, key: KadKey) -> None:
        """The peer of that key is gone since it answered: who comes next takes its place, and may have to be
        asked first."""
        raise NotImplementedError

    def stop(self, end: End) -> None:
        """End now, with what was found."""
        raise NotImplementedError

    def next_timer(self) -> float | None:
        """When `handle_timer` has something to do."""
        raise NotImplementedError

    def handle_timer(self, now: float) -> None:
        """Time has passed; poll afterwards."""
        raise NotImplementedError

    def closest(self) -> tuple[Answered, ...]:
        """The up to k closest peers that answered or are known to be alive, closest first."""
        raise NotImplementedError

    def storers(self) -> tuple[Answered, ...]:
        """Where to store: those, and more where an address block is crowded (`native.candidates`)."""
        raise NotImplementedError

    def nearest(self) -> list[Candidate]:
        """The closest known that have not failed, whether they have answered or not."""
        raise NotImplementedError


def earlier(a: float | None, b: float) -> float:
    """The earlier of a time that may be none and another."""
    return b if a is None or b < a else a
