"""The interface of a lookup to the job that drives it."""

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
    STOPPED = "stopped"  # the query was satisfied earlier
    LIMIT = "limit"  # max_asked peers were queried without the closest known among them
    DEADLINE = "deadline"  # the job's time was used up
    CANCELLED = "cancelled"  # by its caller


class Lookup:
    """A lookup as a job drives it: a single one, or several on disjoint paths."""

    __slots__ = ("end", "target")

    target: KadKey
    end: End | None

    @property
    def queried_count(self) -> int:
        """Peers queried so far."""
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
        """Peers that failed to answer."""
        raise NotImplementedError

    @property
    def silent_count(self) -> int:
        """Peers that were queried and have not answered, without those known to be gone or to be no peers of
        this network: each of them may still be there."""
        raise NotImplementedError

    @property
    def hops(self) -> int:
        """The most hops to a peer that answered."""
        raise NotImplementedError

    @property
    def is_only_late(self) -> bool:
        """At least one peer answered, no slot is in use, and only late peers delay the end."""
        raise NotImplementedError

    def add(self, peers: Iterable[PeerInfo]) -> None:
        """Adds peers to start from."""
        raise NotImplementedError

    def poll(self, now: float) -> list[SendRequest]:
        """The requests to send now; detects the end."""
        raise NotImplementedError

    def on_reply(self, token: int, protocol: str, payload: bytes, now: float) -> tuple[object, ...]:
        """Takes an answer; returns the items in it. Raises PeerFault: then call `on_failure`."""
        raise NotImplementedError

    def on_failure(self, token: int, kind: FailureKind, now: float) -> None:
        """Takes the failure of a request."""
        raise NotImplementedError

    def on_lost(self, key: KadKey) -> None:
        """The peer of that key has gone since it answered: the next closest takes its place, and may have to
        be queried first."""
        raise NotImplementedError

    def stop(self, end: End) -> None:
        """Ends now, with what was found."""
        raise NotImplementedError

    def next_timer(self) -> float | None:
        """When `handle_timer` has something to do."""
        raise NotImplementedError

    def handle_timer(self, now: float) -> None:
        """Lets time pass; poll afterwards."""
        raise NotImplementedError

    def closest(self) -> tuple[Answered, ...]:
        """The up to k closest peers that answered or are known to be alive, closest first."""
        raise NotImplementedError

    def storers(self) -> tuple[Answered, ...]:
        """Where to store: the closest, and more where one address block is crowded (`native.candidates`)."""
        raise NotImplementedError

    def nearest(self) -> list[Candidate]:
        """The closest peers known that have not failed, whether or not they have answered."""
        raise NotImplementedError


def earlier(a: float | None, b: float) -> float:
    """The earlier of two times, of which one may be None."""
    return b if a is None or b < a else a
