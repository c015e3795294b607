"""Jobs: whatever takes several requests; and who is told of how their peers did."""

from __future__ import annotations

from collections.abc import Collection

from fastmarket.formats.choice import FailureKind
from fastmarket.formats.identity import PeerId
from fastmarket.kad.events import SendRequest


class Job:
    """A state machine over requests. All times are unix seconds.

    A class and no `Protocol`, as all that is called for every request: compiled, such calls go by type. Its
    `result` is meaningful once it has finished.
    """

    __slots__ = ("result",)

    result: object

    @property
    def is_finished(self) -> bool:
        """No more requests or events will come; `result` is final."""
        raise NotImplementedError

    def start(self, now: float) -> None:
        """Called once, first."""
        raise NotImplementedError

    def poll_requests(self, now: float) -> list[SendRequest]:
        """Requests to send now. Polled once more after the job has finished."""
        raise NotImplementedError

    def on_reply(self, token: int, protocol: str, payload: bytes, now: float) -> None:
        """A reply came. Raises PeerFault when it breaks a rule; `on_failure` is called for it then."""
        raise NotImplementedError

    def on_failure(self, token: int, kind: FailureKind, now: float) -> None:
        """No reply will come."""
        raise NotImplementedError

    def next_timer(self) -> float | None:
        """When `handle_timer` wants to be called; None: not before the next input."""
        raise NotImplementedError

    def handle_timer(self, now: float) -> None:
        """Time has passed."""
        raise NotImplementedError

    def poll_events(self) -> list[object]:
        """Progress since the last call."""
        raise NotImplementedError

    def cancel(self, now: float) -> None:
        """Finish with what there is."""
        raise NotImplementedError


class PeerObserver:
    """Learns from every request how its peer did: the routing table."""

    __slots__ = ()

    def on_reply(self, peer_id: PeerId, now: float) -> None:
        """The peer sent a valid reply."""
        raise NotImplementedError

    def on_failure(self, peer_id: PeerId, kind: FailureKind, now: float) -> None:
        """The peer did not."""
        raise NotImplementedError

    def on_refusal(self, peer_id: PeerId, protocols: Collection[str], now: float) -> None:
        """The peer was reached, and speaks none of the protocols it was asked in."""
        raise NotImplementedError


class PeerWatcher(Job):
    """A job that also wants to know when a peer was identified."""

    __slots__ = ()

    def on_peer_identified(self, now: float) -> None:
        """A peer was identified; the job looks for itself whether that matters."""
        raise NotImplementedError
