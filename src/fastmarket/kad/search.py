"""What a lookup is to those who drive it."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Protocol

from fastmarket._candidates import Answered, Candidate
from fastmarket.formats.choice import FailureKind
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.jobs import Outgoing


class End(Enum):
    """Why a lookup ended."""

    COMPLETE = "complete"  # the k closest known have all answered, or all there are
    STOPPED = "stopped"  # the question was answered before
    LIMIT = "limit"  # max_asked peers were asked and the closest known still was not among them
    DEADLINE = "deadline"  # the job's time was over
    CANCELLED = "cancelled"  # by its caller


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
        """Where to store: those, and more where an address block is crowded (`_candidates`)."""

    def nearest(self) -> list[Candidate]:
        """The closest known that have not failed, whether they have answered or not."""


def earlier(a: float | None, b: float) -> float:
    """The earlier of a time that may be none and another."""
    return b if a is None or b < a else a
