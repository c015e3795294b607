"""The wire without sockets: RPCs between two connections in memory, one noise frame, one yamux frame.

`test_raw_cipher` is the ceiling that `test_noise_frame` stands beside.
"""

from __future__ import annotations

from random import Random

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from pytest_benchmark.fixture import BenchmarkFixture

from fastmarket.config import ConnectionConfig
from fastmarket.formats.identity import Identity
from fastmarket.formats.remote_peer import RemotePeer
from fastmarket.formats.varint import frame
from fastmarket.libp2p.endpoint import Endpoint
from fastmarket.libp2p.events import StreamData
from fastmarket.libp2p.mux_stream import MuxStream
from fastmarket.libp2p.muxed import Role
from fastmarket.libp2p.streams import RpcResponder
from fastmarket.libp2p.tcp.connection import Connection
from fastmarket.libp2p.tcp.noise import CipherState
from fastmarket.libp2p.tcp.upgrade import NoiseEndpoint
from fastmarket.libp2p.tcp.yamux import Yamux

RPC = "/bench/rpc/1"
OUTSTANDING = 64
ROUNDS = 50
REQUEST = bytes(38)  # a FIND_NODE
REPLY = bytes(1600)  # 20 peers with two addresses each
NOW = 1_000_000.0


def answer(peer: RemotePeer, request: bytes, now: float) -> bytes:
    return REPLY


def joined(number: int = 0) -> tuple[Connection, Connection]:
    """A dialer and a listener in memory, open; for each `number` with other keys."""
    ends = []
    for seed, role in ((2 * number + 1, Role.DIALER), (2 * number + 2, Role.LISTENER)):
        identity = Identity.from_seed(bytes([seed]) * 32)
        protocols = {RPC: RpcResponder.factory(answer, 4096)}
        ends.append(
            Connection(
                NoiseEndpoint.create(Endpoint.create(identity, Random(seed).randbytes, protocols)),
                role,
                now=NOW,
            )
        )
    dialer, listener = ends
    while (data := dialer.data_to_send()) or listener.unsent_bytes:
        listener.receive_data(data, NOW)
        dialer.receive_data(listener.data_to_send(), NOW)
    return dialer, listener


def written(listener: Connection) -> list[bytes]:
    """All replies to what it has, in the pieces in which a link writes them."""
    pieces = []
    while data := listener.data_to_send():
        pieces.append(data)
        if not listener.resume(NOW):
            break
    return pieces


class ServedRequests:
    """Requests over 64 streams of one connection in memory; what is measured is `serve` alone."""

    def __init__(self) -> None:
        self._dialer, self._listener = joined()
        self._streams = [self._dialer.open_stream([RPC], NOW, lazy=True) for _ in range(OUTSTANDING)]
        self._replies: list[bytes] = []

    def reads(self, count: int) -> list[bytes]:
        """Requests on all streams, in so many reads of the listener."""
        dialer, framed, reads = self._dialer, frame(REQUEST), []
        for _ in range(count):
            for stream in self._streams:
                dialer.send(stream, framed, NOW)
            reads.append(dialer.data_to_send())
        return reads

    def serve(self, reads: list[bytes]) -> None:
        """The listener's part: it reads, answers and writes."""
        listener, replies = self._listener, self._replies
        for data in reads:
            listener.receive_data(data, NOW)
            replies.extend(written(listener))

    def take_replies(self) -> int:
        """The dialer's part; how many bytes were answered since the last call."""
        dialer, received = self._dialer, 0
        for data in self._replies:
            dialer.receive_data(data, NOW)
            while (event := dialer.next_event()) is not None:
                if isinstance(event, StreamData):
                    received += len(event.data)
                    dialer.consumed(event.stream_id, len(event.data), NOW)
        self._replies.clear()
        self._listener.receive_data(dialer.data_to_send(), NOW)
        return received


class _NoOwner:
    def accept(self, stream: MuxStream, now: float) -> object:
        return stream.sink

    def on_pong(self, value: int, now: float) -> None: ...

    def on_go_away(self, code: int, now: float) -> None: ...


def test_served_rpc(benchmark: BenchmarkFixture) -> None:
    """The serving side alone: 64 requests arrive in one read, 64 replies leave in one turn."""
    served = ServedRequests()

    def setup() -> tuple[tuple[list[bytes]], dict[str, object]]:
        return (served.reads(ROUNDS),), {}

    def teardown(reads: list[bytes]) -> None:
        assert served.take_replies() >= ROUNDS * OUTSTANDING * len(REPLY)

    benchmark.pedantic(served.serve, setup=setup, teardown=teardown, rounds=20)
    per_rpc = benchmark.stats.stats.min / (ROUNDS * OUTSTANDING)
    benchmark.extra_info["us per served RPC"] = round(per_rpc * 1e6, 2)
    benchmark.extra_info["RPC/s"] = round(1 / per_rpc)


def test_rpc_both_ends(benchmark: BenchmarkFixture) -> None:
    """Request, reply and event: what one process does when it plays both sides."""
    dialer, listener = joined()
    streams = [dialer.open_stream([RPC], NOW, lazy=True) for _ in range(OUTSTANDING)]
    framed = frame(REQUEST)

    def turn() -> None:
        for stream in streams:
            dialer.send(stream, framed, NOW)
        listener.receive_data(dialer.data_to_send(), NOW)
        for data in written(listener):
            dialer.receive_data(data, NOW)
        while (event := dialer.next_event()) is not None:
            if isinstance(event, StreamData):
                dialer.consumed(event.stream_id, len(event.data), NOW)

    benchmark(turn)
    benchmark.extra_info["us per RPC"] = round(benchmark.stats.stats.min / OUTSTANDING * 1e6, 2)


def test_handshake(benchmark: BenchmarkFixture) -> None:
    """Both sides of a whole upgrade, keys and signatures included."""
    benchmark(joined)


@pytest.mark.parametrize("size", [64, 1024, 65519])
def test_raw_cipher(benchmark: BenchmarkFixture, size: int) -> None:
    cipher, nonce, data = ChaCha20Poly1305(bytes(32)), bytes(12), bytes(size)
    benchmark(lambda: cipher.encrypt(nonce, data, None))


@pytest.mark.parametrize("size", [64, 1024, 65519])
def test_noise_frame(benchmark: BenchmarkFixture, size: int) -> None:
    cipher, data = CipherState(bytes(32)), bytearray(size)
    benchmark(lambda: cipher.seal(data))


def test_yamux_frame(benchmark: BenchmarkFixture) -> None:
    """A data frame of 64 bytes into a stream without a protocol, out of a chunk that holds 500."""
    mux = Yamux(ConnectionConfig(), _NoOwner(), dialer=False)  # type: ignore[arg-type]
    mux.receive(bytes.fromhex("000000010000000100000000"), NOW)
    chunk = (bytes.fromhex("000000000000000100000040") + bytes(64)) * 500

    def receive() -> None:
        mux.receive(chunk, NOW)
        mux.out.clear()

    benchmark(receive)
    benchmark.extra_info["us per frame"] = round(benchmark.stats.stats.min / 500 * 1e6, 3)
