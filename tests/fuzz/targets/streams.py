"""Streams: what a peer writes into an open connection, and what it answers to requests of ours."""

from __future__ import annotations

from contextlib import suppress
from struct import pack
from typing import Any, Final
from unittest.mock import patch

from fastmarket.errors import PeerFault
from fastmarket.formats.choice import Choice
from fastmarket.formats.remote_peer import RemotePeer
from fastmarket.formats.varint import frame
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
from fastmarket.libp2p.muxed import ConnectionState, Role
from fastmarket.libp2p.outcomes import Reply
from fastmarket.libp2p.ping import PING_PROTOCOL, PingExchange, PingResponder
from fastmarket.libp2p.requests import RequestPool
from fastmarket.libp2p.tcp import yamux
from fastmarket.libp2p.tcp.connection import Connection
from fastmarket.libp2p.tcp.noise import CipherState
from fastmarket.libp2p.tcp.session import Session
from tests.fuzz.pair import EVENTS, OURS, RPC, THEIRS, Pair, pieces
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
