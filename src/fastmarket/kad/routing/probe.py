"""Is a peer still there? One request to an entry of the table before a newcomer may have its place."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from fastmarket.formats.choice import FailureKind
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.events import SendRequest
from fastmarket.kad.jobs import Job
from fastmarket.kad.lookup.query import Query

Named = Callable[[Iterable[PeerInfo]], None]


class ProbeJob(Job):
    """Put one question, briefly. Its result is True when the peer answered."""

    __slots__ = ("_deadline", "_named", "_outgoing", "_peer", "_query", "_timeout_s")

    def __init__(self, peer: PeerInfo, query: Query, timeout_s: float, named: Named | None = None) -> None:
        """`named` is told of the peers in the answer."""
        self.result = None
        self._peer = peer
        self._query = query
        self._timeout_s = timeout_s
        self._named = named
        self._deadline = 0.0
        self._outgoing = [SendRequest(0, peer, query.choices(peer), timeout_s)]

    @property
    def is_finished(self) -> bool:
        """It is known."""
        return self.result is not None

    def start(self, now: float) -> None:
        """The clock runs."""
        self._deadline = now + self._timeout_s

    def poll_requests(self, now: float) -> list[SendRequest]:
        """The one request."""
        outgoing, self._outgoing = self._outgoing, []
        return outgoing

    def on_reply(self, token: int, protocol: str, payload: bytes, now: float) -> None:
        """Alive, if the reply means anything; raises PeerFault otherwise."""
        answer = self._query.read(self._peer, protocol, payload, now)
        if self._named is not None:
            self._named(answer.closer)
        self.result = True

    def on_failure(self, token: int, kind: FailureKind, now: float) -> None:
        """Dead; but when it was ourselves who had no room to ask, nothing is known against it."""
        self.result = kind is FailureKind.BUSY

    def next_timer(self) -> float | None:
        """The deadline."""
        return self._deadline

    def handle_timer(self, now: float) -> None:
        """Silence is an answer."""
        if now >= self._deadline:
            self.result = False

    def poll_events(self) -> list[object]:
        """None."""
        return []

    def cancel(self, now: float) -> None:
        """Unknown, so nothing against it."""
        self.result = True
