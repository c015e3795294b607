"""One stream of a connection, and where its bytes go."""

from __future__ import annotations

from typing import Protocol

from fastmarket.native.frames import StreamState

INITIAL_WINDOW_BYTES = 256 << 10  # yamux spec, flow control; both sides assume it


class Sink(Protocol):
    """Where a stream's bytes go. None of these may raise for what the peer did."""

    def received(self, data: bytes, now: float) -> int:
        """Returns how many bytes are done with; the rest is given back later by `Yamux.consumed`."""

    def ended(self, now: float) -> None:
        """The peer has written its last byte."""

    def lost(self, reason: str, now: float) -> None:
        """The peer reset the stream; it is gone."""

    def drained(self, now: float) -> None:
        """Bytes that waited for window have all gone."""

    def gone(self) -> None:
        """The stream has ended, in whatever way: give up what was held for it."""


class MuxStream(StreamState):
    """One stream: its windows, what waits for window, and which directions have ended.

    The fields lie in the compiled class, where `receive_frames` reads them without asking Python.
    """

    __slots__ = ()

    def __init__(self, stream_id: int, *, inbound: bool) -> None:
        self.stream_id = stream_id
        self.inbound = inbound
        self.sink: Sink = NOWHERE
        self.send_window = INITIAL_WINDOW_BYTES
        self.recv_window = INITIAL_WINDOW_BYTES
        self.credit = 0  # consumed, not yet given back
        self.outbox = bytearray()  # accepted from us, not yet framed for want of window
        self.acknowledged = inbound
        self.fin_queued = False
        self.fin_sent = False
        self.remote_ended = False


class _Nowhere:
    """The sink of a stream before it has one, and after its end: so the two do not keep each other alive."""

    def received(self, data: bytes, now: float) -> int:
        return len(data)

    def ended(self, now: float) -> None: ...

    def lost(self, reason: str, now: float) -> None: ...

    def drained(self, now: float) -> None: ...

    def gone(self) -> None: ...


NOWHERE = _Nowhere()
