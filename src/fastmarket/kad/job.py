"""Jobs, which take several requests, and the observer that learns how their peers responded."""

from __future__ import annotations

from collections.abc import Collection
from math import inf

from fastmarket.formats.choice import FailureKind
from fastmarket.formats.identity import PeerId
from fastmarket.kad.events import SendRequest


class Job:
    """A state machine over requests. All times are unix seconds.

    A class, not a `Protocol`, like everything that is called per request: compiled calls are then dispatched
    by type. `result` is valid once the job has finished.
    """

    __slots__ = ("_deadline", "_events", "_timeout_s", "result")

    def __init__(self, timeout_s: float = inf) -> None:
        """`timeout_s`: how long it may take, for `_deadline`."""
        self.result: object = None
        self._timeout_s = timeout_s
        self._deadline = 0.0
        self._events: list[object] = []

    @property
    def is_finished(self) -> bool:
        """Whether no more requests or events will come, and `result` is final."""
        return self.result is not None

    def start(self, now: float) -> None:
        """Called once, before anything else."""
        self._deadline = now + self._timeout_s

    def poll_requests(self, now: float) -> list[SendRequest]:
        """Requests to send now. Polled once more after the end."""
        raise NotImplementedError

    def on_reply(self, token: int, protocol: str, payload: bytes, now: float) -> None:
        """Takes a reply. Raises PeerFault if it breaks a rule; `on_failure` is called for it then."""
        raise NotImplementedError

    def on_failure(self, token: int, kind: FailureKind, now: float) -> None:
        """Takes the failure of a request."""
        raise NotImplementedError

    def next_timer(self) -> float | None:
        """When to call `handle_timer`; None: not before the next input."""
        return None

    def handle_timer(self, now: float) -> None:
        """Lets time pass."""

    def poll_events(self) -> list[object]:
        """Progress since the last call."""
        events, self._events = self._events, []
        return events

    def cancel(self, now: float) -> None:
        """Finishes with what there is."""
        raise NotImplementedError


class PeerObserver:
    """Learns from every request how its peer responded: the routing table."""

    __slots__ = ()

    def on_reply(self, peer_id: PeerId, now: float) -> None:
        """The peer sent a valid reply."""
        raise NotImplementedError

    def on_failure(self, peer_id: PeerId, kind: FailureKind, now: float) -> None:
        """The request to the peer failed."""
        raise NotImplementedError

    def on_refusal(self, peer_id: PeerId, protocols: Collection[str], now: float) -> None:
        """The peer was reached, but speaks none of the request's protocols."""
        raise NotImplementedError


class PeerWatcher(Job):
    """A job that also learns when a peer is identified."""

    __slots__ = ()

    def on_peer_identified(self, now: float) -> None:
        """A peer was identified; the job checks whether it matters."""
        raise NotImplementedError
