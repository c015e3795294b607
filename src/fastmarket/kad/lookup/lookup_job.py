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

    __slots__ = ("_deadline", "_events", "_last", "_seeds", "_timeout_s", "lookup")

    def __init__(self, lookup: Lookup, seeds: Seeds, timeout_s: float) -> None:
        self.lookup = lookup
        self.result = None
        self._seeds = seeds
        self._timeout_s = timeout_s
        self._deadline = 0.0
        self._events: list[object] = []
        self._last = False

    @property
    def is_finished(self) -> bool:
        """Whether the lookup has ended and its result is set."""
        return self._last

    def start(self, now: float) -> None:
        """Begins with the closest peers of the table."""
        self._deadline = now + self._timeout_s
        self.lookup.add(self._seeds(self.lookup.target, now))

    def poll_requests(self, now: float) -> list[SendRequest]:
        """The next requests; once the lookup has ended, the final ones."""
        if self._last:
            return []
        requests = self.lookup.poll(now)
        if self.lookup.end is not None:
            self._last = True
            self.result = self.conclude(now)
            return self.final_requests()
        return requests

    def on_reply(self, token: int, protocol: str, payload: bytes, now: float) -> None:
        """Feeds the lookup. Raises PeerFault."""
        items = self.lookup.on_reply(token, protocol, payload, now)
        if items:
            self._events += items

    def on_failure(self, token: int, kind: FailureKind, now: float) -> None:
        """Feeds the lookup."""
        self.lookup.on_failure(token, kind, now)

    def next_timer(self) -> float | None:
        """The lookup's timer or the deadline."""
        when = self.lookup.next_timer()
        return self._deadline if when is None or self._deadline < when else when

    def handle_timer(self, now: float) -> None:
        """Ages the lookup, or ends it."""
        if now >= self._deadline:
            self.lookup.stop(End.DEADLINE)
        else:
            self.lookup.handle_timer(now)

    def poll_events(self) -> list[object]:
        """Items of the answers since the last call."""
        events, self._events = self._events, []
        return events

    def cancel(self, now: float) -> None:
        """Ends with what was found."""
        self.lookup.stop(End.CANCELLED)

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
