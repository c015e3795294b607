"""A liveness probe: one request to a peer, for example before a newcomer may take its place."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from fastmarket.formats.choice import FailureKind
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.events import SendRequest
from fastmarket.kad.jobs import Job
from fastmarket.kad.lookup.query import Query

Named = Callable[[Iterable[PeerInfo]], None]


class ProbeJob(Job):
    """Sends one request with a short deadline. Its result is True if the peer answered."""

    __slots__ = ("_named", "_outgoing", "_peer", "_query")

    def __init__(self, peer: PeerInfo, query: Query, timeout_s: float, named: Named | None = None) -> None:
        """`named` is called with the peers in the answer."""
        super().__init__(timeout_s)
        self._peer = peer
        self._query = query
        self._named = named
        self._outgoing = [SendRequest(0, peer, query.choices(peer), timeout_s)]

    def poll_requests(self, now: float) -> list[SendRequest]:
        """The one request."""
        outgoing, self._outgoing = self._outgoing, []
        return outgoing

    def on_reply(self, token: int, protocol: str, payload: bytes, now: float) -> None:
        """The peer is alive if its reply is valid. Raises PeerFault otherwise."""
        answer = self._query.read(self._peer, protocol, payload, now)
        if self._named is not None:
            self._named(answer.closer)
        self.result = True

    def on_failure(self, token: int, kind: FailureKind, now: float) -> None:
        """The peer counts as dead, unless this node had no room for the request."""
        self.result = kind is FailureKind.BUSY

    def next_timer(self) -> float | None:
        return self._deadline

    def handle_timer(self, now: float) -> None:
        """At the deadline the peer counts as dead."""
        if now >= self._deadline:
            self.result = False

    def cancel(self, now: float) -> None:
        """Nothing is known, so the peer counts as alive."""
        self.result = True
