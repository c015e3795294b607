"""A lookup as a job of the engine, and its result."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from fastmarket.formats.choice import FailureKind
from fastmarket.formats.kad_key import KadKey
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.events import SendRequest
from fastmarket.kad.jobs import Job
from fastmarket.kad.lookup.lookup import End, Lookup
from fastmarket.native.candidates import Answered


@dataclass(frozen=True, slots=True)
class LookupResult:
    """What a lookup found: the closest peers that answered, and how it went."""

    closest: tuple[Answered, ...]
    end: End
    queried_count: int
    answered_count: int
    failed_count: int


# Where a lookup starts: `seeds(target, now)` are known peers near the target.
Seeds = Callable[[KadKey, float], Iterable[PeerInfo]]


class LookupJob(Job):
    """A lookup with a deadline. Progress: the items of answers; result: a LookupResult."""

    __slots__ = ("_seeds", "lookup")

    def __init__(self, lookup: Lookup, seeds: Seeds, timeout_s: float) -> None:
        super().__init__(timeout_s)
        self.lookup = lookup
        self._seeds = seeds

    def start(self, now: float) -> None:
        """Begins with the closest peers of the table."""
        super().start(now)
        self.lookup.add(self._seeds(self.lookup.target, now))

    def poll_requests(self, now: float) -> list[SendRequest]:
        if self.result is not None:
            return []
        requests = self.lookup.poll(now)
        if self.lookup.end is not None:
            self.result = self.conclude(now)
            return self.final_requests()
        return requests

    def on_reply(self, token: int, protocol: str, payload: bytes, now: float) -> None:
        items = self.lookup.on_reply(token, protocol, payload, now)
        if items:
            self._events += items

    def on_failure(self, token: int, kind: FailureKind, now: float) -> None:
        self.lookup.on_failure(token, kind, now)

    def next_timer(self) -> float | None:
        when = self.lookup.next_timer()
        return self._deadline if when is None or self._deadline < when else when

    def handle_timer(self, now: float) -> None:
        if now >= self._deadline:
            self.stop(End.DEADLINE)
        else:
            self.lookup.handle_timer(now)

    def cancel(self, now: float) -> None:
        self.stop(End.CANCELLED)

    def stop(self, end: End) -> None:
        """Ends with what was found."""
        self.lookup.stop(end)

    def conclude(self, now: float) -> object:
        """The job's result, after the end of the lookup."""
        return lookup_result(self.lookup)

    def final_requests(self) -> list[SendRequest]:
        """Requests to send at the end; their outcome is ignored."""
        return []


def lookup_result(lookup: Lookup) -> LookupResult:
    """The result of a lookup that has ended."""
    return LookupResult(
        lookup.closest(),
        lookup.end or End.CANCELLED,
        lookup.queried_count,
        lookup.answered_count,
        lookup.failed_count,
    )
