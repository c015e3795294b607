"""One stream of a Yamux session, and the session's interfaces."""

from __future__ import annotations

from typing import Protocol

from fastmarket.native.codec import StreamState

INITIAL_WINDOW_BYTES = 256 << 10  # yamux spec, flow control; both sides assume it


class Sink(Protocol):
    """Receives a stream's bytes. None of these may raise for the peer's behaviour."""

    def received(self, data: bytes, now: float) -> int:
        """Returns how many bytes were consumed; the rest is granted back later with `Yamux.consumed`."""

    def ended(self, now: float) -> None:
        """The peer has written its last byte."""

    def lost(self, reason: str, now: float) -> None:
        """The peer reset the stream; it is gone."""

    def drained(self, now: float) -> None:
        """All bytes that waited for the window have been sent."""

    def gone(self) -> None:
        """The stream has ended in some way: free what was held for it."""


class Owner(Protocol):
    """What a session needs from its connection."""

    def accept(self, stream: MuxStream, now: float) -> Sink:
        """Accepts a new inbound stream."""

    def relieve(self) -> bool:
        """Takes what is in `out`; False if the shell has to take output first."""

    def pong(self, value: int, now: float) -> None:
        """An answer to our ping."""

    def went_away(self, code: int, now: float) -> None:
        """The peer ends the session."""


class MuxStream(StreamState):
    """One stream: its windows, its queued output, and which directions have ended.

    The fields are in the compiled class, where `receive_frames` reads them without Python calls.
    """

    __slots__ = ()

    def __init__(self, stream_id: int, *, inbound: bool) -> None:
        self.stream_id = stream_id
        self.inbound = inbound
        self.sink: Sink = NOWHERE
        self.send_window = INITIAL_WINDOW_BYTES
        self.recv_window = INITIAL_WINDOW_BYTES
        self.credit = 0  # consumed, not yet granted back
        self.outbox = bytearray()  # written by us, waiting for the window
        self.acknowledged = inbound
        self.fin_queued = False
        self.fin_sent = False
        self.remote_ended = False


class _Nowhere:
    """The sink of a stream before it has one and after its end, so that the two do not keep each other
    alive."""

    def received(self, data: bytes, now: float) -> int:
        return len(data)

    def ended(self, now: float) -> None: ...

    def lost(self, reason: str, now: float) -> None: ...

    def drained(self, now: float) -> None: ...

    def gone(self) -> None: ...


NOWHERE = _Nowhere()
