"""Yamux over one secure channel (specs: yamux/README.md): framing, streams, flow control.

The session sees only plaintext: `receive` takes decrypted chunks of any size, `out` collects what is to be
encrypted. A stream's bytes go to its `Sink` in pieces as they arrive, so no frame is ever buffered whole; the
window we granted limits what a frame may claim. Frames that only carry a flag are sent empty and apart from
data: py-libp2p loses data that shares a frame with SYN or ACK.

Over 400 lines: framing and flow control work on the same few fields of a stream.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, IntEnum, IntFlag
from struct import Struct
from typing import Protocol

from fastmarket.config import ConnectionConfig
from fastmarket.errors import CallerFault, ConnectionLost, LimitExceeded, PeerFault
from fastmarket.libp2p.mux_stream import INITIAL_WINDOW_BYTES, NOWHERE, MuxStream, Sink
from fastmarket.native.frames import (
    GRANT_BYTES,
    HEADER_BYTES,
    MAX_DATA_FRAME_BYTES,
    flag_frame,
    receive_frames,
    write_frame,
)

MAX_WINDOW_BYTES = 2**32 - 1  # cap of a peer's accumulated grants; the maximum of a length field
MAX_STREAM_ID = 2**32 - 1
MAX_IDLE_FRAMES = 1024  # consecutive frames without effect, which waste our time
WHOLE = 1 << 31  # no slicing
STRAY_ALLOWANCE_BYTES = 64 << 10  # for frames on streams already gone, besides the windows those had
MAX_STRAY_BYTES = 512 * INITIAL_WINDOW_BYTES
STRAY_PER_STREAM_BYTES = 32 * HEADER_BYTES  # late window updates, FIN and RST of one finished stream

_HEADER = Struct(">HHII")  # version and type in one: version is 0, so the pair reads as the type
_pack = _HEADER.pack
_unpack = _HEADER.unpack_from
_FAULT = "yamux"


class FrameType(IntEnum):
    """Frame types (yamux spec, type field)."""

    DATA = 0
    WINDOW = 1
    PING = 2
    GO_AWAY = 3


class Flag(IntFlag):
    """Flags (yamux spec, flag field)."""

    SYN = 1
    ACK = 2
    FIN = 4
    RST = 8


class GoAway(IntEnum):
    """Why a session ends (yamux spec, session termination)."""

    NORMAL = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2


class SessionState(Enum):
    """The state of a session."""

    OPEN = "open"  # initially
    LEAVING = "leaving"  # `leave`: we sent go-away; the peer's streams continue, including new ones in flight
    REMOTE_LEAVING = "remote leaving"  # the peer sent go-away: no new streams, open ones continue
    CLOSED = "closed"  # `close`, or the connection is gone: input is ignored


# An Enum member access costs 80 ns in Python 3.11.
_OPEN, _LEAVING, _REMOTE_LEAVING, _CLOSED = SessionState
_DATA, _WINDOW, _PING, _GO_AWAY = (int(kind) for kind in FrameType)
_SYN, _ACK, _FIN, _RST = (int(flag) for flag in Flag)


class Owner(Protocol):
    """What a session needs from its connection."""

    def accept(self, stream: MuxStream, now: float) -> Sink:
        """Accepts a new inbound stream."""

    def relieve(self) -> bool:
        """Takes what is in `out`; False if the shell has to take output first."""

    def on_pong(self, value: int, now: float) -> None:
        """An answer to our ping."""

    def on_go_away(self, code: int, now: float) -> None:
        """The peer ends the session."""


class Yamux:
    """A session. A PeerFault from `receive` or `resume` ends the connection; the caller closes it."""

    __slots__ = (
        "_body_fin",
        "_body_left",
        "_body_stream",
        "_config",
        "_counts",
        "_highest_remote",
        "_idle_frames",
        "_next_id",
        "_owner",
        "_stray_left",
        "blocked_bytes",
        "out",
        "rest",
        "slice_bytes",
        "stalled",
        "state",
        "streams",
    )

    def __init__(self, config: ConnectionConfig, owner: Owner, *, dialer: bool) -> None:
        self._config = config
        self._owner = owner
        self.state = _OPEN
        self.streams: dict[int, MuxStream] = {}
        self.out = bytearray()
        self.blocked_bytes = 0  # output that waits for the peer's windows, over all streams
        self.stalled = False  # input is held until output is taken, or for its turn: call `resume`
        self.slice_bytes = WHOLE  # input processed at a time; more is held for its turn
        self._counts = {"inbound": 0, "outbound": 0, "unacknowledged": 0}
        self._next_id = 1 if dialer else 2
        self._highest_remote = 0
        self.rest = b""  # unprocessed input: an incomplete frame, or held input
        self._body_stream: MuxStream | None = None
        self._body_left = 0
        self._body_fin = False
        self._idle_frames = 0
        self._stray_left = STRAY_ALLOWANCE_BYTES

    # Input

    def receive(self, chunk: bytes, now: float) -> None:
        """Processes `chunk`; must not be called while `stalled`."""
        if self.rest:
            chunk = self.rest + chunk
            self.rest = b""
        most, later = self.slice_bytes, b""
        if len(chunk) > most:
            chunk, later = chunk[:most], chunk[most:]
        at, end = 0, len(chunk)
        out, most_out = self.out, self._config.max_unsent_bytes
        while at < end:
            if len(out) > most_out and not self._owner.relieve():
                self.stalled = True
                break
            if self._body_left:
                at = self._take_body(chunk, at, now)
                continue
            taken = receive_frames(self, chunk, at, now, most_out)
            if taken != at:  # the common case: complete data frames
                self._idle_frames = 0
                at = taken
                continue
            start = at + HEADER_BYTES
            if start > end:
                break
            kind, flags, stream_id, length = _unpack(chunk, at)
            at = start
            self._header(kind, flags, stream_id, length, now)
            if self.state is _CLOSED:
                return
        self.rest = chunk[at:] + later if later else chunk[at:]
        if later:
            self.stalled = True

    def resume(self, now: float) -> None:
        """Continues after output has been taken."""
        self.stalled = False
        self.receive(b"", now)

    def _take_body(self, chunk: bytes, at: int, now: float) -> int:
        """Takes the next piece of a data frame's body; returns the position after it."""
        piece = chunk[at : at + self._body_left]
        self._body_left -= len(piece)
        stream = self._body_stream
        if stream is not None:
            stream.credit += stream.sink.received(piece, now)
            if stream.credit >= GRANT_BYTES:
                self.grant(stream)
            if not self._body_left and self._body_fin and self._body_stream is stream:
                self._end_remote(stream, now)
        return at + len(piece)

    def _header(self, kind: int, flags: int, stream_id: int, length: int, now: float) -> None:
        if self.state is _CLOSED:
            return
        handler = _HANDLERS.get(kind)
        if handler is None:
            raise PeerFault(f"version {kind >> 8}, type {kind & 0xFF}", protocol=_FAULT)
        if (stream_id == 0) != (kind >= _PING):
            raise PeerFault(f"stream id {stream_id} in a frame of type {kind}", protocol=_FAULT)
        if not length and not flags:
            self._idle_frames += 1
            if self._idle_frames > MAX_IDLE_FRAMES:
                raise LimitExceeded("idle frames in a row", MAX_IDLE_FRAMES, protocol=_FAULT)
        handler(self, flags, stream_id, length, now)

    def _on_data(self, flags: int, stream_id: int, length: int, now: float) -> None:
        stream = self._addressed(flags, stream_id, now)
        if stream is None:
            self._spend_stray(length)
        elif length > stream.recv_window:
            raise LimitExceeded("bytes in the window", stream.recv_window, length, protocol=_FAULT)
        elif stream.remote_ended and length:
            raise PeerFault("data after the end of a stream", protocol=_FAULT)
        else:
            stream.recv_window -= length
            if flags & _FIN and not length:
                self._end_remote(stream, now)
        self._body_stream = stream
        self._body_left = length
        self._body_fin = bool(flags & _FIN)
        if length:
            self._idle_frames = 0

    def _on_window(self, flags: int, stream_id: int, length: int, now: float) -> None:
        stream = self._addressed(flags, stream_id, now)
        if stream is None:
            self._spend_stray(0)
            return
        stream.send_window = min(stream.send_window + length, MAX_WINDOW_BYTES)
        if stream.outbox:
            self._flush(stream)
            if not stream.outbox:
                stream.sink.drained(now)
        if flags & _FIN and stream_id in self.streams:
            self._end_remote(stream, now)

    def _on_ping(self, flags: int, stream_id: int, length: int, now: float) -> None:
        if flags & _SYN:
            self.out += _pack(_PING, _ACK, 0, length)
        elif flags & _ACK:
            self._owner.on_pong(length, now)

    def _on_go_away(self, flags: int, stream_id: int, length: int, now: float) -> None:
        if length or self.state is not _REMOTE_LEAVING:
            self.state = _REMOTE_LEAVING
            self._owner.on_go_away(length, now)

    def _addressed(self, flags: int, stream_id: int, now: float) -> MuxStream | None:
        """The stream a frame is for, opened or reset as its flags say; None if it is gone."""
        stream = self._open_inbound(stream_id, now) if flags & _SYN else self.streams.get(stream_id)
        if stream is None:
            ours = stream_id % 2 == self._next_id % 2
            if stream_id >= self._next_id if ours else stream_id > self._highest_remote:
                raise PeerFault(f"stream {stream_id} was never opened", protocol=_FAULT)
            return None
        if not stream.acknowledged:
            stream.acknowledged = True
            self._counts["unacknowledged"] -= 1
        if flags & _RST:
            sink = stream.sink
            self._forget(stream)
            sink.lost("reset by peer", now)
            return None
        return stream

    def _open_inbound(self, stream_id: int, now: float) -> MuxStream | None:
        if stream_id % 2 == self._next_id % 2:
            raise PeerFault(f"stream id {stream_id} is not the peer's to use", protocol=_FAULT)
        if stream_id in self.streams:
            raise PeerFault(f"stream {stream_id} is open already", protocol=_FAULT)
        self._highest_remote = max(self._highest_remote, stream_id)
        if self._counts["inbound"] >= self._config.max_inbound_streams:
            self.out += _pack(_DATA, _RST, stream_id, 0)
            self._allow_stray(INITIAL_WINDOW_BYTES)  # the peer may send a window's worth before it sees this
            return None
        stream = MuxStream(stream_id, inbound=True)
        self.streams[stream_id] = stream
        self._counts["inbound"] += 1
        flag_frame(self.out, stream, _ACK)
        stream.sink = self._owner.accept(stream, now)
        return stream

    def _end_remote(self, stream: MuxStream, now: float) -> None:
        if stream.remote_ended:
            return
        stream.remote_ended = True
        stream.sink.ended(now)
        if stream.fin_sent and stream.stream_id in self.streams:
            self._forget(stream)

    # Output

    def open(self) -> MuxStream:
        """Opens a stream of ours; raises ConnectionLost if it cannot, LimitExceeded at our own limits."""
        counts, config = self._counts, self._config
        if self.state is not _OPEN or self._next_id > MAX_STREAM_ID:
            raise ConnectionLost("no new streams on this connection")
        if counts["unacknowledged"] >= config.max_unacknowledged_streams:
            raise LimitExceeded("unacknowledged streams", config.max_unacknowledged_streams)
        if counts["outbound"] >= config.max_outbound_streams:
            raise LimitExceeded("outbound streams", config.max_outbound_streams)
        stream = MuxStream(self._next_id, inbound=False)
        self._next_id += 2
        self.streams[stream.stream_id] = stream
        counts["outbound"] += 1
        counts["unacknowledged"] += 1
        self.out += _pack(_DATA, _SYN, stream.stream_id, 0)
        return stream

    def write(self, stream: MuxStream, data: bytes) -> None:
        """Frames `data` as far as the window allows and queues the rest; raises CallerFault after
        `finish`."""
        if stream.fin_queued:
            raise CallerFault("data", "the stream's writing side is closed")
        if write_frame(self.out, stream, data):
            return
        stream.outbox += data
        self.blocked_bytes += len(data)
        self._flush(stream)

    def finish(self, stream: MuxStream) -> None:
        """Half-closes once everything written has been sent."""
        if not stream.fin_queued:
            stream.fin_queued = True
            self._flush(stream)

    def reset(self, stream: MuxStream) -> None:
        """Resets the stream in both directions, without telling the sink. Harmless if it is gone."""
        if self.streams.get(stream.stream_id) is stream:
            self.out += _pack(_DATA, _RST, stream.stream_id, 0)
            self._forget(stream)

    def consumed(self, stream: MuxStream, size: int) -> None:
        """Grants `size` bytes of window back, in large updates."""
        stream.credit += size
        if stream.credit >= GRANT_BYTES:
            self.grant(stream)

    def ping(self, value: int) -> None:
        """Sends a ping with `value`."""
        self.out += _pack(_PING, _SYN, 0, value)

    def leave(self) -> None:
        """Sends go-away and keeps the open streams; the peer closes when they have ended."""
        if self.state is _OPEN:
            self.out += _pack(_GO_AWAY, 0, 0, GoAway.NORMAL)
            self.state = _LEAVING

    def close(self, code: GoAway) -> None:
        """Sends go-away and drops all streams, without telling their sinks."""
        self.out += _pack(_GO_AWAY, 0, 0, code)
        self.state = _CLOSED
        self.stalled = False
        self.rest = b""
        self._body_stream = None
        for stream in self.streams.values():
            stream.sink = NOWHERE
        self.streams.clear()
        self.blocked_bytes = 0

    def _flush(self, stream: MuxStream) -> None:
        outbox, out = stream.outbox, self.out
        while outbox and stream.send_window:
            size = min(len(outbox), stream.send_window, MAX_DATA_FRAME_BYTES)
            stream.send_window -= size
            self.blocked_bytes -= size
            out += _pack(0, 0, stream.stream_id, size)
            out += outbox[:size]
            del outbox[:size]
        if stream.fin_queued and not stream.fin_sent and not outbox:
            stream.fin_sent = True
            flag_frame(out, stream, _FIN)
            if stream.remote_ended:
                self._forget(stream)

    def grant(self, stream: MuxStream) -> None:
        """Grants the consumed bytes of an open stream back at once."""
        if stream.remote_ended or stream.stream_id not in self.streams:
            return
        self.out += _pack(_WINDOW, 0, stream.stream_id, stream.credit)
        stream.recv_window += stream.credit
        stream.credit = 0

    def _forget(self, stream: MuxStream) -> None:
        if self.streams.pop(stream.stream_id, None) is None:
            return
        self.blocked_bytes -= len(stream.outbox)
        stream.sink.gone()
        stream.sink = NOWHERE
        self._counts["inbound" if stream.inbound else "outbound"] -= 1
        if not stream.acknowledged:
            stream.acknowledged = True
            self._counts["unacknowledged"] -= 1
        if self._body_stream is stream:
            self._body_stream = None
        self._allow_stray(0 if stream.remote_ended else stream.recv_window)

    def _allow_stray(self, size: int) -> None:
        self._stray_left = min(self._stray_left + size + STRAY_PER_STREAM_BYTES, MAX_STRAY_BYTES)

    def _spend_stray(self, size: int) -> None:
        """Skips late frames for a stream that is gone, as long as an honest peer could have sent them."""
        self._stray_left -= size + HEADER_BYTES
        if self._stray_left < 0:
            raise LimitExceeded("bytes for streams gone", MAX_STRAY_BYTES, protocol=_FAULT)


_HANDLERS: dict[int, Callable[[Yamux, int, int, int, float], None]] = {
    _DATA: Yamux._on_data,
    _WINDOW: Yamux._on_window,
    _PING: Yamux._on_ping,
    _GO_AWAY: Yamux._on_go_away,
}
