"""The inner side of an open connection: everything between its ciphers and its streams."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf

from fastmarket.errors import PeerFault
from fastmarket.formats.remote_peer import RemotePeer
from fastmarket.libp2p.channels import EventStream, ResponderStream
from fastmarket.libp2p.endpoint import Endpoint
from fastmarket.libp2p.events import Event, PeerLeaving, PingAnswered
from fastmarket.libp2p.mux_stream import MuxStream
from fastmarket.libp2p.negotiating import InboundNegotiation, OutboundNegotiation
from fastmarket.libp2p.scopes import MemoryScope
from fastmarket.libp2p.streams import ResponderFactory
from fastmarket.libp2p.tcp.noise import LENGTH_BYTES, CipherState
from fastmarket.libp2p.tcp.output import Output
from fastmarket.libp2p.tcp.yamux import GoAway, Yamux


class Liveness:
    """When the peer was last heard from, and pings outstanding."""

    __slots__ = ("_interval", "_timeout", "asked_at", "heard_at", "value")

    def __init__(self, interval_s: float, timeout_s: float, now: float) -> None:
        self._interval = interval_s
        self._timeout = timeout_s
        self.heard_at = now
        self.asked_at: float | None = None
        self.value = 0

    @property
    def deadline(self) -> float:
        """When to ping, or to give up."""
        if self.asked_at is None:
            return self.heard_at + self._interval
        return max(self.asked_at, self.heard_at) + self._timeout

    def ask(self, now: float) -> int:
        """The ping value to send."""
        self.value = (self.value + 1) & 0xFFFFFFFF
        self.asked_at = now
        return self.value

    def answered(self, value: int, now: float) -> float | None:
        """The round trip in seconds; None for an unsolicited answer."""
        if self.asked_at is None or value != self.value:
            return None
        rtt, self.asked_at = now - self.asked_at, None
        return rtt


class Session:
    """The inner side of an open connection: ciphers, muxer, and what the streams' sinks need (`Channels`)."""

    __slots__ = (
        "_congested",
        "_receiving",
        "_scope",
        "check_due",
        "config",
        "emit",
        "held",
        "liveness",
        "mux",
        "output",
        "peer",
        "protocols",
        "unread",
        "used_at",
    )

    def __init__(
        self,
        endpoint: Endpoint,
        receiving: CipherState,
        output: Output,
        liveness: Liveness,
        *,
        dialer: bool,
        emit: Callable[[Event], None],
        peer: RemotePeer,
        scope: MemoryScope,
    ) -> None:
        self._scope = scope
        self.config = endpoint.config
        self.protocols: Mapping[str, ResponderFactory | None] = endpoint.protocols
        self.liveness = liveness
        self.mux = Yamux(endpoint.config, self, dialer=dialer)
        self.emit = emit
        self.peer = peer
        self.check_due = inf  # no stream's deadline is earlier than this
        self._receiving = receiving
        self.output = output
        self.held = 0  # bytes of waiting or partial requests
        self.unread = 0  # passed out as events and not consumed
        self.used_at = liveness.heard_at
        self._congested: dict[int, ResponderStream] = {}

    def release(self) -> None:
        """It will not be used any more; drops the muxer, which refers to its owner."""
        del self.mux

    # yamux.Owner

    def accept(self, stream: MuxStream, now: float) -> InboundNegotiation:
        return InboundNegotiation(self, stream, now)

    def relieve(self) -> bool:
        return self.output.run_ahead(self.mux.out)

    def on_pong(self, value: int, now: float) -> None:
        rtt = self.liveness.answered(value, now)
        if rtt is not None:
            self.emit(PingAnswered(rtt))

    def on_go_away(self, code: int, now: float) -> None:
        if code != GoAway.NORMAL:
            raise PeerFault(f"went away with code {code}", protocol="yamux")
        self.emit(PeerLeaving())

    # channels.Channels

    @property
    def has_room(self) -> bool:
        mux, config = self.mux, self.config
        if len(mux.out) > config.max_unsent_bytes:
            return False
        return not mux.blocked_bytes or (
            mux.blocked_bytes <= config.max_blocked_bytes and not self._scope.is_strained
        )

    def hold(self, size: int) -> bool:
        self.held += size
        return size <= 0 or self.held <= self.config.max_held_bytes

    def keep_unread(self, size: int) -> bool:
        self.unread += size
        return size <= 0 or self.unread <= self.config.max_unread_bytes

    def wait_for_room(self, sink: ResponderStream) -> None:
        self._congested[id(sink)] = sink

    def check_at(self, deadline: float) -> None:
        if deadline < self.check_due:
            self.check_due = deadline

    # What the connection drives

    def has_active_streams(self, beyond: int) -> bool:
        """Whether there are more than `beyond`, those of idle responders aside."""
        for stream in self.mux.streams.values():
            if not (isinstance(stream.sink, ResponderStream) and stream.sink.is_resting):
                if not beyond:
                    return True
                beyond -= 1
        return False

    def responder_count(self, protocol: str) -> int:
        """Open streams that a responder of ours serves in `protocol`."""
        sinks = (stream.sink for stream in self.mux.streams.values())
        return sum(1 for sink in sinks if isinstance(sink, ResponderStream) and sink.protocol == protocol)

    @property
    def is_resumable(self) -> bool:
        """Whether input is waiting inside and there is room for its output. Input held by the muxer does not
        need the peer's windows: it may contain them."""
        if not self.mux.stalled:
            return self._congested != {} and self.has_room
        return len(self.mux.out) <= self.config.max_unsent_bytes

    def resume(self, now: float) -> None:
        """Processes input that waited for room."""
        congested, self._congested = self._congested, {}
        for key, sink in congested.items():
            if self.has_room:
                sink.drained(now)
            else:
                self._congested[key] = sink
        if self.mux.stalled:
            self.mux.resume(now)

    def receive(self, source: bytes, now: float) -> int:
        """Decrypts and processes the complete Noise messages in `source`; returns the position after them."""
        mux, decrypt = self.mux, self._receiving.decrypt_part
        at, size = 0, len(source)
        most = mux.slice_bytes
        while size - at > LENGTH_BYTES:
            start = at + LENGTH_BYTES
            end = start + (source[at] << 8 | source[at + 1])
            if end > size:
                break
            plaintext = decrypt(source, start, end)
            at = end
            mux.receive(plaintext, now)
            if at >= most and at < size:
                mux.stalled = True
            if mux.stalled:
                break
        return at

    def expire(self, now: float) -> None:
        """Ends the streams whose deadline has passed, and notes the next deadline."""
        self.check_due = inf
        for stream in list(self.mux.streams.values()):
            sink = stream.sink
            if isinstance(sink, (InboundNegotiation, ResponderStream, EventStream, OutboundNegotiation)):
                deadline = sink.deadline
                if deadline <= now:
                    sink.expire(now)
                else:
                    self.check_due = min(self.check_due, deadline)


def holds_message(inbox: bytearray) -> bool:
    """Whether the first Noise message is complete."""
    size = len(inbox)
    return size > LENGTH_BYTES and size >= LENGTH_BYTES + (inbox[0] << 8 | inbox[1])
