"""Load generators on our own sans-IO connection: they speak to any libp2p node, ours or another's.

Each returns `Figures`. The CPU is the server's, read from the kernel; it does not depend on how fast the
generator is. Where `generator_cpu_share` is near 1, the rate is the generator's limit and not the server's.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from itertools import cycle
from typing import Any, cast

from bench.processes import cpu_s
from bench.served import REPLY_BYTES, REQUEST_BYTES
from fastmarket.errors import FastmarketError
from fastmarket.formats.identity import Identity
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.remote_peer import RemotePeer
from fastmarket.formats.varint import FrameDecoder, frame
from fastmarket.kad.wire.messages import Kind, encode_request
from fastmarket.libp2p.endpoint import Endpoint
from fastmarket.libp2p.events import Event, StreamData, StreamEnded, StreamReset
from fastmarket.libp2p.identify import (
    IDENTIFY_PROTOCOL,
    IdentifyInfo,
    IdentifyResponder,
    encode_identify,
)
from fastmarket.libp2p.muxed import ConnectionState, Role
from fastmarket.libp2p.tcp.connection import Connection
from fastmarket.libp2p.tcp.upgrade import NoiseEndpoint

MAX_REPLY_BYTES = 64 * 1024
DEADLINE_S = 120.0
BODIES = 1024  # different requests in turn


@dataclass(frozen=True)
class Figures:
    """`operations` of one kind against one server."""

    operations: int
    outstanding: int
    per_s: float
    server_cpu_us: float
    generator_cpu_share: float
    p50_ms: float
    p99_ms: float
    reply_bytes: float

    def document(self) -> dict[str, float]:
        """For JSON, rounded to what such a run can tell."""
        return {name: round(value, 4) for name, value in asdict(self).items()}


def find_nodes() -> list[bytes]:
    """FIND_NODE for different keys, framed."""
    return [
        frame(encode_request(Kind.FIND_NODE, sha256(b"target %d" % number).digest()))
        for number in range(BODIES)
    ]


def _again(seed: bytes) -> Callable[[int], bytes]:
    """Entropy that gives the same Noise key each time, and ephemeral keys as they should be."""
    first = iter([sha256(seed).digest()])
    return lambda size: next(first, None) or os.urandom(size)


class Dialer(asyncio.Protocol):
    """Our end of one connection. `ready` is done when the handshake is, `done` when all was answered."""

    def __init__(self, addr: Multiaddr, seed: bytes | None = None) -> None:
        """`seed`: that peer again, with the same keys; None: one never seen before."""
        identity = Identity.from_seed(seed or os.urandom(32))
        entropy = os.urandom if seed is None else _again(seed)
        self.told = False
        info = IdentifyInfo(public_key=identity.public_key, agent_version="bench/1")
        message = encode_identify(info)

        def tell(peer: RemotePeer) -> bytes:
            self.told = True
            return message

        endpoint = NoiseEndpoint.create(
            Endpoint.create(identity, entropy, {IDENTIFY_PROTOCOL: IdentifyResponder.factory(tell)})
        )
        loop = asyncio.get_running_loop()
        self.connection = Connection(endpoint, Role.DIALER, now=time.time(), expected_peer=addr.peer_id)
        self.ready: asyncio.Future[None] = loop.create_future()
        self.done: asyncio.Future[None] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport = cast(asyncio.Transport, transport)
        transport.write(self.connection.data_to_send())

    def data_received(self, data: bytes) -> None:
        now = time.time()
        connection = self.connection
        connection.receive_data(data, now)
        if connection.state is ConnectionState.OPEN and not self.ready.done():
            self.opened(now)
            self.ready.set_result(None)
        try:
            while (event := connection.next_event()) is not None:
                self.happened(event, now)
        except FastmarketError as fault:  # the server gave a stream up that we were about to use
            if not self.done.done():
                self.done.set_exception(ConnectionError(str(fault)))
        self.turned(now)
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        for future in (self.ready, self.done):
            if not future.done():
                future.set_exception(ConnectionError("the server closed the connection"))
                future.exception()

    def flush(self) -> None:
        """Writes what is pending."""
        if out := self.connection.data_to_send():
            self.transport.write(out)

    def opened(self, now: float) -> None: ...

    def happened(self, event: Event, now: float) -> None: ...

    def turned(self, now: float) -> None: ...


class Requests(Dialer):
    """`outstanding` requests under way until all are answered: on kept streams, or a new one for each."""

    def __init__(
        self,
        addr: Multiaddr,
        protocol: str,
        bodies: Sequence[bytes],
        *,
        total: int,
        outstanding: int,
        keep: bool,
    ) -> None:
        super().__init__(addr)
        self._protocol = protocol
        self._bodies = cycle(bodies)
        self._total = self._left = total
        self._outstanding = outstanding
        self._keep = keep
        self._sent_at: dict[int, float] = {}
        self._decoders: dict[int, FrameDecoder] = {}
        self.reply_bytes = 0
        self.latencies: list[float] = []

    def start(self) -> None:
        """The first requests, all at once."""
        now = time.time()
        for _ in range(self._outstanding):
            self._begin(now)
        self.flush()

    def _begin(self, now: float) -> None:
        if self._left:
            stream_id = self.connection.open_stream([self._protocol], now, lazy=True)
            self._decoders[stream_id] = FrameDecoder(MAX_REPLY_BYTES)
            self._send(stream_id, now)

    def _send(self, stream_id: int, now: float) -> None:
        if self._left:
            self._left -= 1
            self._sent_at[stream_id] = now
            self.connection.send(stream_id, next(self._bodies), now)
            if not self._keep:
                self.connection.close_write(stream_id, now)

    def happened(self, event: Event, now: float) -> None:
        if type(event) is StreamData:
            stream_id = event.stream_id
            if stream_id not in self._decoders:
                return
            self.connection.consumed(stream_id, len(event.data), now)
            self.reply_bytes += len(event.data)
            for _ in self._decoders[stream_id].feed(event.data):
                self.latencies.append(now - self._sent_at[stream_id])
                if self._keep:
                    self._send(stream_id, now)
                else:
                    del self._decoders[stream_id]
                    self._begin(now)
        elif type(event) is StreamReset and event.stream_id in self._decoders and not self.done.done():
            self.done.set_exception(ConnectionError(f"stream reset: {event.reason}"))
        if len(self.latencies) == self._total and not self.done.done():
            self.done.set_result(None)


class Visit(Dialer):
    """Connects, asks who that is, tells who we are when asked, and leaves."""

    _stream_id = 0
    _known = False

    def opened(self, now: float) -> None:
        self._stream_id = self.connection.open_stream([IDENTIFY_PROTOCOL], now, lazy=True)
        self.connection.close_write(self._stream_id, now)

    def happened(self, event: Event, now: float) -> None:
        if type(event) is StreamData:
            self.connection.consumed(event.stream_id, len(event.data), now)
        elif type(event) is StreamEnded and event.stream_id == self._stream_id:
            self._known = True

    def turned(self, now: float) -> None:
        if self._known and self.told and not self.done.done():
            self.done.set_result(None)


class RawRequests(asyncio.Protocol):
    """The same conversation as `Requests` with `serve_raw`: as many bytes each way, nothing else."""

    def __init__(self, total: int, outstanding: int) -> None:
        self._total = self._left = total
        self._outstanding = outstanding
        self._bytes = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def start(self) -> None:
        self._send(self._outstanding)

    def _send(self, count: int) -> None:
        count = min(count, self._left)
        self._left -= count
        if count:
            self._transport.write(bytes(count * REQUEST_BYTES))

    def data_received(self, data: bytes) -> None:
        before = self._bytes // REPLY_BYTES
        self._bytes += len(data)
        self._send(self._bytes // REPLY_BYTES - before)
        if self._bytes == self._total * REPLY_BYTES and not self.done.done():
            self.done.set_result(None)


async def _connected(make: Callable[[], Any], addr: Multiaddr) -> Any:
    endpoint = addr.host_port()
    assert endpoint is not None
    _, protocol = await asyncio.get_running_loop().create_connection(make, endpoint.host, endpoint.port)
    return protocol


async def measured(pid: int, run: Callable[[], Coroutine[Any, Any, Sequence[float]]]) -> dict[str, float]:
    """What a run costs the server and us; the run returns the seconds each operation took."""
    before, own_before, began = cpu_s(pid), time.process_time(), time.perf_counter()
    latencies = sorted(await run())
    elapsed, own = time.perf_counter() - began, time.process_time() - own_before
    count = len(latencies)
    return {
        "operations": count,
        "per_s": count / elapsed,
        "server_cpu_us": (cpu_s(pid) - before) / count * 1e6,
        "generator_cpu_share": own / elapsed,
        "p50_ms": latencies[count // 2] * 1e3,
        "p99_ms": latencies[count * 99 // 100] * 1e3,
    }


async def requests(
    pid: int,
    addr: str,
    protocol: str,
    bodies: Sequence[bytes],
    *,
    total: int,
    outstanding: int,
    keep: bool = True,
) -> Figures:
    """Loads a libp2p node over one connection."""
    there = Multiaddr.from_text(addr)
    load: Requests = await _connected(
        lambda: Requests(there, protocol, bodies, total=total, outstanding=outstanding, keep=keep), there
    )
    async with asyncio.timeout(DEADLINE_S):
        await load.ready

        async def run() -> Sequence[float]:
            load.start()
            await load.done
            return load.latencies

        found = await measured(pid, run)
    load.transport.abort()
    return Figures(outstanding=outstanding, reply_bytes=load.reply_bytes / total, **found)  # type: ignore[arg-type]


async def raw_requests(pid: int, addr: str, *, total: int, outstanding: int) -> Figures:
    """Loads `serve_raw`; the latencies are not taken."""
    there = Multiaddr.from_text(addr)
    load: RawRequests = await _connected(lambda: RawRequests(total, outstanding), there)

    async def run() -> Sequence[float]:
        load.start()
        async with asyncio.timeout(DEADLINE_S):
            await load.done
        return [0.0] * total

    return Figures(outstanding=outstanding, reply_bytes=REPLY_BYTES, **await measured(pid, run))  # type: ignore[arg-type]


async def visits(pid: int, addr: str, *, total: int, returning: bool = False) -> Figures:
    """Connect, identify both ways, disconnect: one after the other, each as a peer never seen before or, if
    `returning`, all as the same."""
    there = Multiaddr.from_text(addr)
    seed = os.urandom(32) if returning else None

    async def run() -> Sequence[float]:
        latencies = []
        for _ in range(total):
            began = time.perf_counter()
            visit: Visit = await _connected(lambda: Visit(there, seed), there)
            async with asyncio.timeout(DEADLINE_S):
                await visit.done
            visit.connection.close(time.time())
            visit.flush()
            visit.transport.close()
            latencies.append(time.perf_counter() - began)
        return latencies

    return Figures(outstanding=1, reply_bytes=0.0, **await measured(pid, run))  # type: ignore[arg-type]


async def raw_visits(pid: int, addr: str, *, total: int) -> Figures:
    """Connect, a request, a reply, disconnect, with `serve_raw`."""
    there = Multiaddr.from_text(addr)

    async def run() -> Sequence[float]:
        latencies = []
        for _ in range(total):
            began = time.perf_counter()
            load: RawRequests = await _connected(lambda: RawRequests(1, 1), there)
            load.start()
            await load.done
            load._transport.close()
            latencies.append(time.perf_counter() - began)
        return latencies

    return Figures(outstanding=1, reply_bytes=REPLY_BYTES, **await measured(pid, run))  # type: ignore[arg-type]
