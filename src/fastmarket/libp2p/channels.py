"""The sinks of streams whose protocol is agreed (see `negotiating`): a responder or events."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf
from typing import Protocol

from fastmarket.config import ConnectionConfig
from fastmarket.errors import LimitExceeded, PeerFault
from fastmarket.formats.remote_peer import RemotePeer
from fastmarket.libp2p.events import (
    Event,
    ResponderFailed,
    StreamData,
    StreamEnded,
    StreamReset,
)
from fastmarket.libp2p.mux_stream import MuxStream
from fastmarket.libp2p.muxed import OnData
from fastmarket.libp2p.streams import Responder, ResponderFactory, RpcResponder
from fastmarket.native.frames import PIECE_BYTES, Served


class Muxer(Protocol):
    """What the sinks need of what carries their streams."""

    blocked_bytes: int  # output that waits for window, over all streams
    slice_bytes: int  # input processed in one go

    def write(self, stream: MuxStream, data: bytes) -> None:
        """Sends `data` as far as the window goes, and the rest later; CallerFault after `finish`."""

    def finish(self, stream: MuxStream) -> None:
        """Half-closes once everything written has gone."""

    def reset(self, stream: MuxStream) -> None:
        """Drops the stream both ways; the sink is not told. Harmless on one that is gone."""

    def consumed(self, stream: MuxStream, size: int) -> None:
        """Gives `size` bytes of window back."""


class Channels(Protocol):
    """What the sinks need of their connection."""

    config: ConnectionConfig
    protocols: Mapping[str, ResponderFactory | None]
    emit: Callable[[Event], None]
    peer: RemotePeer
    used_at: float  # when a stream of either side last carried something

    @property
    def mux(self) -> Muxer:
        """Whose streams they are."""

    @property
    def has_room(self) -> bool:
        """Replies may be written: neither the shell nor the peer has left too many where they are."""

    def hold(self, size: int) -> bool:
        """Accounts for `size` more bytes of requests not yet answered (less when negative); False when that
        is too much."""

    def keep_unread(self, size: int) -> bool:
        """The same of bytes given out as events and not yet consumed."""

    def wait_for_room(self, sink: ResponderStream) -> None:
        """`drained` is to be called once output was taken."""

    def check_at(self, deadline: float) -> None:
        """Some sink's deadline is no later than this."""


class ResponderStream(Served):
    """An inbound stream answered by a responder.

    A request is answered when all of the answer before it went into the peer's window, and the shell takes
    output. Until then requests are held as they came, and no window is given back for them. What may be
    answered in the muxer's own loop, without `received`, is said in the compiled fields: `handle` is set
    while an `RpcResponder` waits for a request.
    """

    __slots__ = ("_ended", "_responder", "_stream", "protocol")

    channels: Channels

    def __init__(self, channels: Channels, stream: MuxStream, protocol: str, now: float) -> None:
        self.channels = channels
        self._stream = stream
        self.protocol = protocol
        self._responder: Responder | None = None
        self.held = bytearray()
        self.partial = -1  # bytes fed since the last request was answered; -1: none has been
        self._ended = False
        self.used_at = now
        channels.check_at(self.deadline)

    @property
    def deadline(self) -> float:
        """When to give up on the peer."""
        return self.used_at + self.channels.config.idle_stream_timeout_s

    @property
    def is_resting(self) -> bool:
        """Nothing is under way: what was asked is answered, and the answer is with the peer."""
        return self._responder is None or (self.partial == 0 and not self.held and not self._stream.outbox)

    def start(self, factory: ResponderFactory, now: float) -> None:
        """Makes the responder and writes its first bytes."""
        try:
            self._responder = responder = factory(self.channels.peer)
            if isinstance(responder, RpcResponder):
                self.connection, self.limit = responder.peer, responder.limit
            self._write(responder, responder.on_open(now))
        except PeerFault:
            self._drop()
        except Exception as error:  # noqa: BLE001 - a bug of ours costs this stream and is shown to the shell
            self._drop(error)

    def received(self, data: bytes, now: float) -> int:
        self.used_at = self.channels.used_at = now
        if (
            self.held
            or self._stream.outbox
            or self.channels.mux.blocked_bytes
            or self._piece(data) < len(data)
        ):
            return self._hold(data, now)
        self._feed(data, now)
        return len(data)

    def _piece(self, data: bytes | bytearray) -> int:
        """What of it goes to the responder at once: one request, where it has those."""
        responder = self._responder
        if isinstance(responder, RpcResponder):
            return responder.piece(data)
        return min(len(data), PIECE_BYTES)

    def _feed(self, data: bytes, now: float) -> None:
        responder = self._responder
        if responder is None:
            return  # what follows the last answer is read and dropped
        try:
            reply = responder.on_data(data, now)
            self.handle = responder.whole if isinstance(responder, RpcResponder) else None
            if reply or responder.is_quiet:
                self._answered()
            if reply:
                self.channels.mux.write(self._stream, reply)
            # What came behind the last whole request waits, too.
            waits = self.handle is None if isinstance(responder, RpcResponder) else not reply
            if waits and not self._keep_partial(len(data)):
                raise LimitExceeded("bytes of requests", self.channels.config.max_held_bytes)
            if responder.is_finished:
                self._done()
        except PeerFault:
            self._drop()
        except Exception as error:  # noqa: BLE001 - as in `start`
            self._drop(error)

    def failed(self, error: Exception) -> None:
        """The muxer's loop had a request refused, or met a bug of ours."""
        self._drop(None if isinstance(error, PeerFault) else error)

    def _answered(self) -> None:
        partial = self.partial
        if partial:
            if partial > 0:
                self.channels.hold(-partial)
            self.partial = 0

    def _keep_partial(self, size: int) -> bool:
        self.partial = max(self.partial, 0) + size
        return self.channels.hold(size)

    def _hold(self, data: bytes, now: float) -> int:
        self.held += data
        if not self.channels.hold(len(data)):
            self._drop()
            return len(data)
        return self._feed_held(now)

    def _feed_held(self, now: float) -> int:
        """Processes what is held as long as its replies find room; returns the number of bytes done with."""
        channels, stream, held = self.channels, self._stream, self.held
        done = 0
        while held and not stream.outbox:
            if not channels.has_room or done >= channels.mux.slice_bytes:
                channels.wait_for_room(self)
                break
            piece = bytes(held[: self._piece(held)])
            del held[: len(piece)]
            done += len(piece)
            channels.hold(-len(piece))
            self._feed(piece, now)
        if self._ended and not held:
            self._finish(now)
        return done

    def drained(self, now: float) -> None:
        self.used_at = now
        self.channels.mux.consumed(self._stream, self._feed_held(now))

    def ended(self, now: float) -> None:
        self._ended = True
        if not self.held:
            self._finish(now)

    def _finish(self, now: float) -> None:
        responder = self._responder
        if responder is None or self._stream.fin_queued:
            return
        responder.is_finished = True
        try:
            self._write(responder, responder.on_end(now))
        except PeerFault:
            self._drop()
        except Exception as error:  # noqa: BLE001 - as in `start`
            self._drop(error)

    def _write(self, responder: Responder, data: bytes) -> None:
        if data:
            self.channels.mux.write(self._stream, data)
        if responder.is_finished:
            self._done()

    def _done(self) -> None:
        """The last answer is written."""
        self._responder = self.handle = None
        self._answered()
        self.channels.mux.finish(self._stream)

    def lost(self, reason: str, now: float) -> None: ...

    def gone(self) -> None:
        self._responder = self.handle = None
        self._answered()
        if self.held:
            self.channels.hold(-len(self.held))
            self.held.clear()

    def expire(self, now: float) -> None:
        """Idle for too long. Not sooner after a request without a reply: go sends its next one on the stream,
        and py-libp2p, which waited for a reply up to 0.7, gives up by itself within 10 s."""
        self._drop()

    def _drop(self, error: Exception | None = None) -> None:
        self.channels.mux.reset(self._stream)
        self.gone()
        if error is not None:
            self.channels.emit(ResponderFailed(self._stream.stream_id, self.protocol, error))


class EventStream:
    """A stream whose bytes go out as events, and whose owner gives the window back; or they go to
    `on_data(data, now)`, which is done with them at once."""

    __slots__ = ("_channels", "_stream", "_unread", "_used_at", "on_data")

    def __init__(
        self, channels: Channels, stream: MuxStream, now: float, on_data: OnData | None = None
    ) -> None:
        self._channels = channels
        self._stream = stream
        self.on_data = on_data
        self._unread = 0
        self._used_at = channels.used_at = now
        if stream.inbound:
            channels.check_at(self.deadline)

    @property
    def deadline(self) -> float:
        """Only inbound streams have one; ours are given up by whoever opened them."""
        return self._used_at + self._channels.config.idle_stream_timeout_s if self._stream.inbound else inf

    def touch(self, now: float) -> None:
        """Our side uses the stream."""
        self._used_at = self._channels.used_at = now

    def received(self, data: bytes, now: float) -> int:
        self._used_at = self._channels.used_at = now
        if self.on_data is not None:
            self.on_data(data, now)
            return len(data)
        self._unread += len(data)
        if self._channels.keep_unread(len(data)):
            self._channels.emit(StreamData(self._stream.stream_id, data))
        else:
            self._channels.mux.reset(self._stream)
            self.lost("the connection holds too much that nobody reads", now)
        return 0

    def consumed(self, size: int) -> None:
        """Our side has read that much."""
        self._unread -= size
        self._channels.keep_unread(-size)

    def ended(self, now: float) -> None:
        self._channels.emit(StreamEnded(self._stream.stream_id))

    def lost(self, reason: str, now: float) -> None:
        self._channels.emit(StreamReset(self._stream.stream_id, reason))

    def drained(self, now: float) -> None: ...

    def gone(self) -> None:
        self.consumed(self._unread)

    def expire(self, now: float) -> None:
        """Idle for too long."""
        self._channels.mux.reset(self._stream)
        self.lost("idle", now)
