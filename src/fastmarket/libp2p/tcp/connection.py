"""One libp2p connection as an object: bytes in, bytes and events out, one timer.

To drive it, pass every chunk to `receive_data` (or the end to `receive_eof`), then take all `next_event`s,
write `data_to_send()` once and set one timer for `next_timer()`, which calls `handle_timer`. While the
transport's own buffer is full, do not call `data_to_send`; while `wants_read` is false, read no more: input
that waits for room is processed in `handle_timer`, for which `next_timer` then returns a time already past.
(Over 400 lines: a third of them are queries of a connection's state.)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from fastmarket.errors import (
    CallerFault,
    ConnectionLost,
    FastmarketError,
    NetworkFault,
    PeerFault,
    StreamFailed,
)
from fastmarket.formats.identity import PeerId
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.remote_peer import RemotePeer
from fastmarket.libp2p.channels import EventStream
from fastmarket.libp2p.events import Closed, Event, Opened
from fastmarket.libp2p.multistream import DialerNegotiation
from fastmarket.libp2p.mux_stream import MuxStream
from fastmarket.libp2p.muxed import ConnectionState, OnData, Role, Sealed
from fastmarket.libp2p.negotiating import OutboundNegotiation
from fastmarket.libp2p.scopes import STREAM_BYTES, MemoryScope
from fastmarket.libp2p.tcp.output import Output, compact
from fastmarket.libp2p.tcp.session import Liveness, Session, holds_message
from fastmarket.libp2p.tcp.upgrade import NoiseEndpoint, Upgrade
from fastmarket.libp2p.tcp.yamux import WHOLE, GoAway, SessionState

# An Enum member access costs 80 ns in Python 3.11, and these are used in every turn.
_UPGRADING, _OPEN, _CLOSED = ConnectionState
_SESSION_OPEN, _REMOTE_LEAVING = SessionState.OPEN, SessionState.REMOTE_LEAVING


class Connection:
    """One connection, in either role. The peer's behaviour never raises: the worst is the event `Closed`."""

    __slots__ = (
        "_cork",
        "_events",
        "_handshake_due",
        "_host",
        "_inbox",
        "_outbox",
        "_session",
        "_upgrade",
        "config",
        "early_muxer",
        "emit",
        "liveness",
        "output",
        "remote",
        "remote_addr",
        "remote_peer",
        "role",
        "scope",
        "slice_bytes",
        "state",
    )

    def __init__(
        self,
        endpoint: NoiseEndpoint,
        role: Role,
        *,
        now: float,
        expected_peer: PeerId | None = None,
        remote_addr: Multiaddr | None = None,
    ) -> None:
        host = endpoint.host
        self.config = config = host.config
        self._host = host
        self.role = role
        self.remote_addr = remote_addr
        self.remote: RemotePeer | None = None
        """The peer, for the responders; None before the handshake is done."""
        self.remote_peer: PeerId | None = None
        """Proven by the handshake; None before."""
        self.state = _UPGRADING
        self.liveness = Liveness(config.keepalive_interval_s, config.ping_timeout_s, now)
        self._events: deque[Event] = deque()
        self.emit = self._events.append
        self._upgrade: Upgrade | None = Upgrade(endpoint, role, expected_peer)
        self.early_muxer = False
        """Whether the handshake agreed on the muxer, so that no further negotiation was needed."""
        self._handshake_due = now + config.handshake_timeout_s
        self._session: Session | None = None
        self.output = Output()
        self.slice_bytes = WHOLE
        """Input processed at a time once the connection is open: a shell that serves others sets it before,
        and continues with `resume` after their turn."""
        self.scope = MemoryScope(parent=host.scopes.transient)
        """Bytes accounted as held for its peer; the shell updates it."""
        self._inbox = bytearray()
        self._outbox = bytearray(self._upgrade.opening())
        self._cork: MuxStream | None = None

    @property
    def stream_count(self) -> int:
        """Streams open now, in both directions."""
        return len(self._session.mux.streams) if self._session else 0

    def has_active_streams(self, beyond: int) -> bool:
        """Whether more than `beyond` have something in progress: an inbound one between two requests does not
        count."""
        return self._session is not None and self._session.has_active_streams(beyond)

    def responder_count(self, protocol: str) -> int:
        """Open inbound streams served by a responder in `protocol`."""
        return self._session.responder_count(protocol) if self._session else 0

    @property
    def used_at(self) -> float:
        """When a stream last carried data; before the connection is open, when the peer was last heard
        from."""
        return self._session.used_at if self._session else self.liveness.heard_at

    @property
    def is_leaving(self) -> bool:
        """Open, but one side accepts no new streams."""
        return self._session is not None and self._session.mux.state is not _SESSION_OPEN

    @property
    def unsent_bytes(self) -> int:
        """Bytes we wrote that have not been sent, including those that wait for the peer's window."""
        session = self._session
        inner = len(session.mux.out) + session.mux.blocked_bytes if session else 0
        return len(self._outbox) + inner + self.output.size

    @property
    def held_bytes(self) -> int:
        """Bytes held for the peer, except those held by the shell: output, input, streams."""
        session = self._session
        size = len(self._inbox) + len(self._outbox) + self.output.size
        if session is not None:
            mux = session.mux
            size += len(mux.out) + mux.blocked_bytes + len(mux.rest) + session.held + session.unread
            size += STREAM_BYTES * len(mux.streams)
        return size

    def unsent_bytes_of(self, stream_id: int) -> int:
        """Bytes queued before the next one written to that stream: its own that wait for the peer's window,
        and what all streams have ready to send."""
        mux = self._session.mux if self._session else None
        stream = mux.streams.get(stream_id) if mux else None
        return 0 if mux is None or stream is None else len(stream.outbox) + len(mux.out) + self.output.size

    @property
    def is_resumable(self) -> bool:
        """Whether input is waiting inside that `resume` can process."""
        return self._session is not None and self.state is _OPEN and self._session.is_resumable

    @property
    def wants_read(self) -> bool:
        """False while so much output is waiting that more input would only be buffered."""
        session = self._session
        if session is None:
            return True
        return not session.mux.stalled and len(session.mux.out) <= session.config.max_unsent_bytes

    # Bytes

    def receive_data(self, data: bytes, now: float) -> None:
        """Takes the next bytes of the transport, in any chunking."""
        if self.state is _CLOSED:
            return
        self.liveness.heard_at = now
        inbox, session = self._inbox, self._session
        if inbox or (session is not None and session.mux.stalled):
            inbox += data
            if session is not None and (session.mux.stalled or not holds_message(inbox)):
                return
            data = bytes(inbox)
            inbox.clear()
        self._process(data, now)

    def postpone(self, data: bytes, now: float) -> None:
        """Like `receive_data`, but nothing is processed before `resume`: others come first."""
        session = self._session
        if self.state is _CLOSED:
            return
        self.liveness.heard_at = now
        if session is None:  # what comes with the end of the handshake waits, too
            self._process(data, now, postponed=True)
            return
        self._inbox += data
        session.mux.stalled = True

    def receive_eof(self, now: float) -> None:
        """The peer closed the transport."""
        if self.state is _UPGRADING:
            self._close("ended during the handshake", ConnectionLost("ended during the handshake"))
        elif self.state is _OPEN:
            self._close("closed by the peer", None)

    def data_to_send(self) -> bytes:
        """Everything pending, in as few Noise messages as possible; empty if there is nothing."""
        return compact(self.take_output())

    def take_output(self) -> Sealed:
        """The same; may be a view, which the shell returns with `output.recycle` after writing it."""
        try:
            sealed = self._seal()
        except NetworkFault as fault:
            sealed = b""
            self._close(str(fault), fault)
        if self._outbox:
            sealed = bytes(self._outbox) + sealed
            self._outbox.clear()
        return sealed

    def pause_output(self, paused: bool) -> None:
        """The transport's own buffer is full, or is not any more."""
        self.output.paused = paused

    def _process(self, data: bytes, now: float, *, postponed: bool = False) -> None:
        try:
            if self._session is None:
                data = self._continue_upgrade(data, now)
            session = self._session
            if session is None:
                return
            if postponed and data:
                session.mux.stalled = True
            at = 0 if session.mux.stalled else session.receive(data, now)
            if at < len(data):
                self._inbox += data[at:]
        except (PeerFault, NetworkFault) as fault:
            self._fail(fault)

    def _continue_upgrade(self, data: bytes, now: float) -> bytes:
        """Returns the ciphertext that followed the upgrade."""
        upgrade = self._upgrade
        assert upgrade is not None  # while there is no session
        self._outbox += upgrade.receive(data)
        secured = upgrade.session
        if secured is None or not upgrade.is_done:
            return b""
        self._upgrade = None  # and the ephemeral key with it
        self.early_muxer = secured.early_muxer
        self.remote_peer = secured.remote_peer
        self.remote = RemotePeer.at(secured.remote_peer, self.remote_addr)
        self.output.cipher = secured.sending
        self._session = session = Session(
            self._host,
            secured.receiving,
            self.output,
            self.liveness,
            dialer=self.role is Role.DIALER,
            emit=self.emit,
            peer=self.remote,
            scope=self.scope,
        )
        session.mux.slice_bytes = self.slice_bytes
        self.state = _OPEN
        self.emit(Opened(secured.remote_peer))
        ciphertext, plaintext = upgrade.take_rest()
        if plaintext:
            session.mux.receive(plaintext, now)
        return ciphertext

    def _seal(self) -> Sealed:
        session = self._session
        if session is None:
            return b""
        if self._cork is not None:
            self._uncork(b"")
        mux = session.mux
        if mux.state is _REMOTE_LEAVING and not mux.streams and self.state is _OPEN:
            self._close("closed by the peer", None)
        return self.output.take(mux.out)

    # Events and time

    def next_event(self) -> Event | None:
        """The oldest event not yet taken."""
        return self._events.popleft() if self._events else None

    def next_timer(self) -> float | None:
        """When to call `handle_timer`; None once closed."""
        session = self._session
        if self.state is _CLOSED:
            return None
        if session is None:
            return self._handshake_due
        if session.is_resumable:
            return self.liveness.heard_at
        deadline = self.liveness.deadline
        return deadline if deadline < session.check_due else session.check_due

    def handle_timer(self, now: float) -> None:
        """Does what is due by `now`; harmless if nothing is."""
        session = self._session
        if self.state is _CLOSED:
            return
        if session is None:
            if now >= self._handshake_due:
                self._fail(NetworkFault("handshake timed out"))
            return
        self.resume(now)
        if now >= session.check_due:
            session.expire(now)
        if self.state is _OPEN and now >= self.liveness.deadline:
            if self.liveness.asked_at is None:
                self.ping(now)
            else:
                self._fail(NetworkFault("ping was not answered"))

    def resume(self, now: float) -> bool:
        """Continues with a slice of the input waiting inside; False if there is none, or it waits for more
        room."""
        session = self._session
        if session is None or self.state is _CLOSED or not session.is_resumable:
            return False
        try:
            session.resume(now)
        except (PeerFault, NetworkFault) as fault:
            self._fail(fault)
            return True
        if self._inbox and not session.mux.stalled and holds_message(self._inbox):
            data = bytes(self._inbox)
            self._inbox.clear()
            self._process(data, now)
        return True

    def ping(self, now: float) -> None:
        """Measures the round trip, for `PingAnswered`; does nothing while a ping is outstanding."""
        if self._session is not None and self.liveness.asked_at is None and self.state is _OPEN:
            self._session.mux.ping(self.liveness.ask(now))

    # Streams

    def open_stream(self, protocols: Sequence[str], now: float, *, lazy: bool = False) -> int:
        """Opens a stream and proposes `protocols` in order; `StreamReady` or `NegotiationFailed` follows.

        `lazy`: only the first is proposed, and `send` may be called at once; its first data shares a frame
        with the proposal. Raises ConnectionLost if the connection accepts no streams, LimitExceeded if too
        many are open.
        """
        session = self._session
        if session is None or self.state is not _OPEN:
            raise ConnectionLost("the connection is not open", peer=self.remote_peer)
        negotiation = DialerNegotiation(tuple(protocols), lazy=lazy)
        if self._cork is not None:
            self._uncork(b"")
        stream = session.mux.open()
        sink = OutboundNegotiation(session, stream, negotiation, now)
        stream.sink = sink
        self._cork = stream
        sink.lazy = lazy
        if not lazy:
            self._uncork(b"")
        return stream.stream_id

    def deliver(self, stream_id: int, on_data: OnData) -> None:
        """From now on, an own stream's bytes are not emitted as events but passed to `on_data(data, now)`,
        which has consumed them when it returns."""
        sink = self._stream(stream_id)[1].sink
        if isinstance(sink, EventStream | OutboundNegotiation):
            sink.on_data = on_data

    def send(self, stream_id: int, data: bytes, now: float) -> None:
        """Queues `data`; raises StreamFailed if the stream is gone, CallerFault if it is not ready."""
        session, stream = self._stream(stream_id)
        sink = stream.sink
        if isinstance(sink, EventStream):
            sink.touch(now)
            session.mux.write(stream, data)
        elif not isinstance(sink, OutboundNegotiation) or not sink.lazy:
            raise CallerFault("stream_id", f"stream {stream_id} is not ready")
        elif self._cork is stream:
            self._uncork(data)
        else:
            session.mux.write(stream, data)

    def close_write(self, stream_id: int, now: float) -> None:
        """Half-closes the stream after everything sent; raises StreamFailed if it is gone."""
        session, stream = self._stream(stream_id)
        if self._cork is stream:
            self._uncork(b"")
        session.mux.finish(stream)

    def reset(self, stream_id: int, now: float) -> None:
        """Resets the stream, without an event; harmless if it is gone."""
        stream = self._session.mux.streams.get(stream_id) if self._session else None
        if self._session is not None and stream is not None:
            self._session.mux.reset(stream)

    def consumed(self, stream_id: int, size: int, now: float) -> None:
        """`size` bytes of the stream's `StreamData` have been consumed; harmless if it is gone."""
        stream = self._session.mux.streams.get(stream_id) if self._session else None
        if self._session is not None and stream is not None:
            self._session.mux.consumed(stream, size)
            if isinstance(stream.sink, EventStream):
                stream.sink.consumed(size)

    def _stream(self, stream_id: int) -> tuple[Session, MuxStream]:
        stream = self._session.mux.streams.get(stream_id) if self._session else None
        if self._session is None or stream is None:
            raise StreamFailed(f"stream {stream_id} is gone", peer=self.remote_peer)
        return self._session, stream

    def _uncork(self, data: bytes) -> None:
        """Writes the pending proposal, with `data` in the same frame."""
        stream, self._cork = self._cork, None
        if stream is None or self._session is None or stream.stream_id not in self._session.mux.streams:
            return
        if isinstance(stream.sink, OutboundNegotiation):
            self._session.mux.write(stream, stream.sink.take_opening() + data)

    # The end

    def leave(self, now: float) -> None:
        """Asks the peer to close the connection once its streams have ended; opens no new streams of ours."""
        if self._session is not None and self.state is _OPEN:
            self._session.mux.leave()

    def close(self, now: float) -> None:
        """Sends go-away; write `data_to_send()`, then close the transport."""
        if self.state is not _CLOSED:
            self._close("closed by us", None)

    def release(self) -> None:
        """After `Closed`, once the transport is gone: frees what only an open connection needs."""
        session, self._session = self._session, None
        if session is not None:
            session.release()

    def _fail(self, fault: FastmarketError) -> None:
        if self.state is not _CLOSED:
            self._close(str(fault), fault)

    def _close(self, reason: str, fault: FastmarketError | None) -> None:
        self.state = _CLOSED
        self._inbox.clear()
        self._cork = None
        self.emit(Closed(reason, fault))
        if self._session is not None:
            code = GoAway.PROTOCOL_ERROR if isinstance(fault, PeerFault) else GoAway.NORMAL
            self._session.mux.close(code)
