"""Streams: what a peer writes into an open connection, and what it answers to requests of ours."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from struct import pack
from typing import Any, Final
from unittest.mock import patch

from fastmarket.errors import PeerFault
from fastmarket.formats.choice import Choice
from fastmarket.formats.remote_peer import RemotePeer
from fastmarket.formats.varint import frame, try_uvarint
from fastmarket.libp2p.events import ResponderFailed
from fastmarket.libp2p.identify import (
    IDENTIFY_PROTOCOL,
    PUSH_PROTOCOL,
    IdentifyInfo,
    encode_identify,
)
from fastmarket.libp2p.multistream import (
    HEADER,
    encode_token,
)
from fastmarket.libp2p.mux_stream import INITIAL_WINDOW_BYTES, MuxStream
from fastmarket.libp2p.muxed import ConnectionState, Role
from fastmarket.libp2p.outcomes import Reply
from fastmarket.libp2p.ping import PING_PROTOCOL, PingExchange, PingResponder
from fastmarket.libp2p.requests import RequestPool
from fastmarket.libp2p.tcp import yamux
from fastmarket.libp2p.tcp.connection import Connection
from fastmarket.libp2p.tcp.noise import CipherState
from fastmarket.libp2p.tcp.session import Session
from fastmarket.native.frames import PIECE_BYTES, Served, receive_frames
from tests.fuzz.pair import CONFIG, EVENTS, MAX_REQUEST, OURS, RPC, THEIRS, Pair, pieces
from tests.fuzz.target import Shape, Target, is_sampled
from tests.fuzz.values import ADDRS, ED25519, NOW
from tests.reference import frames as frames_twin


def _yamux(kind: int, flags: int, stream: int, length: int, body: bytes = b"") -> bytes:
    return pack(">HHII", kind, flags, stream, length) + body


def _data(flags: int, stream: int, body: bytes) -> bytes:
    return _yamux(0, flags, stream, len(body), body)


def _stream_seeds() -> list[bytes]:
    """Requests, pings, identify, pushes, windows, ends: what peers send, and some that they should not."""

    def opened(protocol: str) -> bytes:
        return HEADER + encode_token(protocol)

    request = frame(b"\x04a request")
    info = IdentifyInfo(ED25519[3].public_key, ADDRS[:4], ("/a",), ADDRS[0], "ipfs/1", "agent/1")
    return [
        _data(1, 1, opened(RPC) + request) + _data(0, 1, request) * 3 + _data(4, 1, b""),
        _data(1, 1, opened(RPC)) + _data(0, 1, frame(b"\x03" + bytes(600))) * 6 + _yamux(1, 0, 1, 1 << 20),
        _data(1, 1, opened(EVENTS) + bytes(300)) + _data(4, 1, b"end"),
        _data(1, 1, opened(PING_PROTOCOL) + bytes(32)) + _data(0, 1, bytes(64)),
        _data(1, 1, opened(IDENTIFY_PROTOCOL)) + _data(1, 3, opened(RPC) + frame(b"\x00")),
        _data(1, 1, opened(PUSH_PROTOCOL) + encode_identify(info)) + _data(4, 1, b""),
        _data(1, 1, opened("/unknown") + encode_token(RPC) + request),
        _yamux(2, 1, 0, 7) + _yamux(2, 2, 0, 1) + _yamux(1, 1, 1, 0) + _yamux(3, 0, 0, 0),
        b"".join(_data(1, number, opened(RPC) + request) for number in range(1, 40, 2)),
        _data(1, 1, b"") + _data(8, 1, b"") + _data(0, 1, b"late") + _yamux(1, 8, 1, 0),
    ]


def connection(data: bytes) -> object:
    """What a peer writes into an open connection, whole or in pieces. Then the connection ends, with nothing
    of it left, and others are answered."""
    pair = Pair(OURS, THEIRS)
    for piece in pieces(data, (0, 40)[len(data) % 2]):
        pair.write(piece, NOW)
    is_open = pair.listener.state is ConnectionState.OPEN
    pair.end()
    after = Pair(OURS, THEIRS)
    assert after.is_answered(), "another connection is not answered"
    if not is_open:
        raise PeerFault("closed")
    return pair.seen


PLAIN: Final[dict[str, Any]] = {
    "receive_frames": frames_twin.receive_frames,
    "write_frame": frames_twin.write_frame,
}


OWN_REQUEST: Final = (Choice(RPC, b"\x04ask"),)


def request_pool(data: bytes) -> object:
    """What a peer answers to requests of ours, on their streams and beside them: each has one outcome."""
    pair = Pair(THEIRS, OURS)  # the listener is hostile
    ours, pool = pair.dialer, RequestPool(pair.dialer)
    for number in (1, 2):
        pool.request(number, OWN_REQUEST, NOW, NOW + 5)
    pair.listener.receive_data(ours.data_to_send(), NOW)
    cipher = pair.listener.output.cipher
    assert cipher is not None
    outcomes = []

    def take(now: float) -> None:
        while (event := ours.next_event()) is not None:
            assert not isinstance(event, ResponderFailed)
            pool.feed(event, now)
        pool.handle_timer(now)
        ours.data_to_send()
        outcomes.extend(pool.poll_outcomes())

    for piece in pieces(data, (0, 40)[len(data) % 2]):
        ours.receive_data(cipher.seal(bytearray(piece)), NOW)
        take(NOW + 1)
    replied = [one for one in outcomes if isinstance(one, Reply)]
    for later in (6, 30, 100, 1000):
        ours.handle_timer(NOW + later)
        take(NOW + later)
    ours.close(NOW + 1000)
    take(NOW + 1000)
    assert sorted(one.request_id for one in outcomes) == [1, 2], outcomes
    assert pool.held_bytes == 0
    if not replied:
        raise PeerFault("no reply")
    return [one.payload for one in replied]


def _answer_seeds() -> list[bytes]:
    accepted, reply = HEADER + encode_token(RPC), frame(b"an answer")
    return [
        _yamux(1, 2, 1, 0) + _data(0, 1, accepted + reply) + _data(2, 3, accepted + reply),
        _data(2, 1, accepted) + _data(0, 1, reply[:4]) + _data(0, 1, reply[4:]) + _data(4, 3, accepted),
        _data(2, 1, HEADER + encode_token("na")) + _data(8, 3, b""),
        _data(2, 1, accepted + reply * 2) + _data(0, 3, accepted + frame(bytes(70_000))[:4000]),
        _yamux(3, 0, 0, 0) + _data(2, 1, accepted + reply),
    ]


class _Emitted:
    """A session without ciphers, and what it did."""

    def __init__(self) -> None:
        host = OURS.host
        end = Connection(OURS, Role.LISTENER, now=NOW)
        self.seen: list[object] = []
        self.session = Session(
            host,
            CipherState(bytes(32)),
            end.output,
            end.liveness,
            dialer=False,
            emit=lambda event: self.seen.append(repr(event)),
            peer=RemotePeer.at(ED25519[3].peer_id, ADDRS[0]),
            scope=end.scope,
        )
        end.output.paused = True  # no cipher

    def play(self, data: bytes, size: int) -> object:
        mux = self.session.mux
        try:
            for piece in pieces(data, size):
                if not mux.stalled:
                    mux.receive(piece, NOW)
                self.seen.append(bytes(mux.out))
                mux.out.clear()
                for _ in range(40):
                    if not self.session.is_resumable:
                        break
                    self.session.resume(NOW)
                    self.seen.append(bytes(mux.out))
                    mux.out.clear()
        except PeerFault as fault:
            self.seen.append(str(fault))
            raise
        finally:
            self.seen.append((self.session.held, self.session.unread, mux.blocked_bytes, len(mux.rest)))
            self.seen += [
                (one.stream_id, one.send_window, one.recv_window, one.credit, one.remote_ended, one.fin_sent)
                for one in mux.streams.values()
            ]
            assert not any("ResponderFailed" in str(one) for one in self.seen), self.seen
            assert len(mux.streams) <= self.session.config.max_inbound_streams
            assert mux.blocked_bytes == sum(len(one.outbox) for one in mux.streams.values())
        self.session.expire(NOW + 1000)
        assert not mux.streams or all(one.fin_sent for one in mux.streams.values()), "a stream never ends"
        return len(self.seen)


def streams(data: bytes) -> object:
    """Frames in plain text; the compiled loop against the plain one."""
    emitted = _Emitted()
    size = (0, 40)[len(data) % 2]
    try:
        return emitted.play(data, size)
    finally:
        if is_sampled(data):
            plain = _Emitted()
            with patch.multiple(yamux, **PLAIN), suppress(PeerFault):
                plain.play(data, size)
            assert plain.seen == emitted.seen, f"kernel {emitted.seen!r:.300} is not twin {plain.seen!r:.300}"


class Plain:
    """An owner and a sink that take everything; each stream counts its bytes."""

    def __init__(self) -> None:
        self.bytes = 0

    def accept(self, stream: MuxStream, now: float) -> Plain:
        return Plain()

    def relieve(self) -> bool:
        return True

    def on_pong(self, value: int, now: float) -> None: ...

    def on_go_away(self, code: int, now: float) -> None: ...

    def received(self, data: bytes, now: float) -> int:
        self.bytes += len(data)
        return len(data)

    def ended(self, now: float) -> None: ...

    def lost(self, reason: str, now: float) -> None: ...

    def drained(self, now: float) -> None: ...

    def gone(self) -> None: ...


PLAIN_OWNER: Final = Plain()


def quick_yamux(data: bytes) -> object:
    mux = yamux.Yamux(CONFIG, PLAIN_OWNER, dialer=False)
    mux.receive(data, NOW)
    assert len(mux.streams) <= CONFIG.max_inbound_streams
    return mux.rest


class Serving(Served):
    """Answers whole requests: the twin's loop hands them to `received`, the compiled one answers itself."""

    def __init__(self, mux: yamux.Yamux, stream: MuxStream) -> None:
        self._mux, self._stream = mux, stream
        self.handle, self.connection, self.channels = self._handle, None, self
        self.held, self.limit, self.failed = bytearray(), MAX_REQUEST, self._failed
        self.requests: list[bytes] = []
        self.bytes = 0

    def _handle(self, connection: object, request: bytes, now: float) -> bytes | None:
        self.requests.append(request)
        return request * (600 if request[0] == 3 else 1) if request[0] else None

    def _failed(self, error: BaseException) -> None:
        raise AssertionError("a handler failed") from error

    def received(self, data: bytes, now: float) -> int:
        """As the compiled loop does it, where it leaves nothing to do."""
        request = None if self._stream.outbox or self._mux.blocked_bytes else _whole(data)
        if request is None:
            self.bytes += len(data)
        elif (reply := self._handle(None, request, now)) is not None:
            framed = frame(reply)
            if not frames_twin.write_frame(self._mux.out, self._stream, framed):
                self._mux.write(self._stream, framed)
        return len(data)


def _whole(data: bytes) -> bytes | None:
    """The request that fills a frame."""
    try:
        head = try_uvarint(data)
    except PeerFault:
        return None
    if head is None or not 3 <= len(data) <= PIECE_BYTES or head[0] != len(data) - head[1]:
        return None
    return data[head[1] :] if len(data) - head[1] <= MAX_REQUEST else None


class Frames:
    """A muxer with two streams: one whose requests are answered, and one that takes bytes."""

    def __init__(self) -> None:
        self.mux = mux = yamux.Yamux(CONFIG, PLAIN_OWNER, dialer=False)
        self.served, self.plain = MuxStream(1, inbound=True), MuxStream(3, inbound=True)
        self.serving, self.taking = Serving(mux, self.served), Plain()
        self.served.sink, self.plain.sink = self.serving, self.taking
        mux.streams.update({1: self.served, 3: self.plain})

    def play(self, receive: Callable[..., int], data: bytes) -> object:
        """Whatever came of it."""
        at = receive(self.mux, data, 0, NOW, CONFIG.max_unsent_bytes)
        windows = [
            (one.send_window, one.recv_window, one.credit, bytes(one.outbox))
            for one in (self.served, self.plain)
        ]
        seen = self.serving.requests, self.serving.bytes, self.taking.bytes
        return at, bytes(self.mux.out), windows, seen, self.mux.blocked_bytes

    def renew(self) -> None:
        """As if nothing had come."""
        for stream in (self.served, self.plain):
            stream.send_window = stream.recv_window = INITIAL_WINDOW_BYTES
            stream.credit = 0
            stream.outbox.clear()
        self.mux.out.clear()
        self.mux.blocked_bytes = 0
        self.serving.requests.clear()


def frame_loop(data: bytes) -> object:
    """The compiled loop and its twin take the same frames, and answer the same."""
    kernel = Frames().play(receive_frames, data)
    assert kernel == Frames().play(frames_twin.receive_frames, data), "kernel and twin differ"
    if kernel[0] == 0:
        raise PeerFault("left to the careful reader")
    return kernel[0]


class QuickFrames:
    """One muxer for all."""

    def __init__(self) -> None:
        self._frames = Frames()

    def __call__(self, data: bytes) -> object:
        at = receive_frames(self._frames.mux, data, 0, NOW, CONFIG.max_unsent_bytes)
        assert 0 <= at <= len(data), "behind the end"
        if at:
            self._frames.renew()
        return at


def _request_frames() -> list[bytes]:
    request = frame(b"\x04a request")
    return [
        _data(0, 1, request) + _data(0, 3, bytes(300)) + _data(0, 1, frame(b"\x03ab")),
        b"".join(_data(0, number, request) for number in (1, 3, 1, 1, 3)),
        _data(0, 1, frame(bytes(600))) * 3 + _data(4, 1, b""),
        _data(0, 1, request[:4]) + _data(0, 1, request[4:]) + _yamux(1, 0, 1, 99),
    ]


def ping(data: bytes) -> object:
    """Echoed, whole blocks only; and a reply to ours is checked."""
    for size in (0, 1, 31):
        responder = PingResponder(RemotePeer.at(ED25519[3].peer_id, None))
        echoed = b"".join(responder.on_data(piece, NOW) for piece in pieces(data, size))
        assert echoed == data[: len(data) - len(data) % 32]
    exchange = PingExchange(bytes(range(32)), NOW)
    exchange.feed(data, NOW + 1)
    assert bytes(range(32)).startswith(data)
    return exchange.rtt_s


_TCP = "fastmarket.libp2p.tcp"

TARGETS: tuple[Target, ...] = (
    Target(
        "yamux",
        f"{_TCP}.yamux.Yamux.receive",
        _stream_seeds,
        streams,
        (PeerFault,),
        Shape.YAMUX,
        spare_bytes=2 << 20,
        first=True,
        quick=quick_yamux,
    ),
    Target(
        "yamux-frames",
        "fastmarket.native.frames.receive_frames",
        _request_frames,
        frame_loop,
        (PeerFault,),
        Shape.YAMUX,
        spare_bytes=2 << 20,
        quick=QuickFrames(),
        first=True,
    ),
    Target(
        "connection",
        f"{_TCP}.connection.Connection",
        _stream_seeds,
        connection,
        (PeerFault,),
        Shape.YAMUX,
        spare_bytes=2 << 20,
    ),
    Target(
        "request-pool",
        "fastmarket.libp2p.requests.RequestPool.feed",
        _answer_seeds,
        request_pool,
        (PeerFault,),
        Shape.YAMUX,
        spare_bytes=2 << 20,
    ),
    Target(
        "ping",
        "fastmarket.libp2p.ping.PingResponder.on_data",
        lambda: [bytes(range(32)), bytes(range(16)), bytes(100)],
        ping,
        (PeerFault,),
        Shape.BYTES,
    ),
)
