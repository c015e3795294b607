"""Processes that attack a server or ask it honestly, for `bench.attacked` and the test of the same name.

    python -m bench.attackers deaf LISTEN COUNT
    python -m bench.attackers callers GRPC COUNT STREAMS
    python -m bench.attackers silent COUNT HOST:PORT...
    python -m bench.attackers honest GRPC METRICS SECONDS

Each writes a line of JSON when it is under way; the honest one a second line at its end. The others go on
until their input ends.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from itertools import count, cycle
from typing import Any

import grpc.aio
import uvloop

from fastmarket.config import NodeConfig
from fastmarket.errors import FastmarketError
from fastmarket.formats.cid import named
from fastmarket.formats.identity import Identity
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.varint import frame
from fastmarket.kad.wire.messages import Kind, encode_request
from fastmarket.libp2p.endpoint import Endpoint
from fastmarket.libp2p.muxed import ConnectionState, Role
from fastmarket.libp2p.tcp.connection import Connection
from fastmarket.libp2p.tcp.upgrade import NoiseEndpoint
from fastmarket.offers.wire.messages import FindRequest, encode_find
from fastmarket.pb import market_pb2, market_pb2_grpc
from fastmarket.pb.fastmarket.v1 import market_pb2 as v1

SEARCHED = "attacked"  # the content that deaf peers and callers ask for: its answers are as long as there are
STREAMS = 60  # of a deaf peer: each answers until its window of 256 KiB is full
REQUESTS = 20  # on each stream at once
DIALS_AT_ONCE = 24  # handshakes in progress: below the server's limits, which are not what is measured here
AGAIN_S = 1.0  # before a connection that the server ended is made again
STREAM_AGAIN_S = (
    5.0  # before a call that ended is made again: the load is what stays open, not how often it comes
)
HONEST_PAUSE_S = 0.02
CALL_S = 10.0  # an honest caller's patience
HEALTH_S = 5.0  # a load balancer's
# Four addresses, none the honest caller's, of this machine: /16 blocks of their own.
SOURCES = ("127.1.0.1", "127.2.0.1", "127.3.0.1", "127.4.0.1")


def say(**what: Any) -> None:
    print(json.dumps(what), flush=True)


async def until_input_ends() -> None:
    """The end of the process that started this one ends it, too."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer
    )
    await reader.read()


# -- peers that ask and never read


class DeafPeer(asyncio.Protocol):
    """A peer that opens streams, asks on all of them, and reads nothing from then on."""

    def __init__(self, requests: Sequence[tuple[str, bytes]], asked: Callable[[], None]) -> None:
        config = NodeConfig()
        endpoint = Endpoint.create(Identity.from_seed(os.urandom(32)), os.urandom, {}, config.connection)
        self._endpoint = NoiseEndpoint.create(endpoint)
        self._requests = requests
        self._asked = asked
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._is_deaf = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self._transport: Any = transport
        self._connection = Connection(self._endpoint, Role.DIALER, now=time.monotonic())
        self._flush()

    def data_received(self, data: bytes) -> None:
        self._connection.receive_data(data, time.monotonic())
        while self._connection.next_event() is not None:
            pass
        self._flush()
        if self._connection.state is ConnectionState.OPEN and not self._is_deaf:
            self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)

    def _ask(self) -> None:
        self._is_deaf = True
        now = time.monotonic()
        self._transport.pause_reading()
        with suppress(FastmarketError):  # more than its own limit of streams
            for _, (protocol, request) in zip(range(STREAMS), cycle(self._requests), strict=False):
                stream = self._connection.open_stream([protocol], now, lazy=True)
                self._connection.send(stream, frame(request) * REQUESTS, now)
        self._flush()
        self._asked()

    def _flush(self) -> None:
        if data := self._connection.data_to_send():
            self._transport.write(data)


async def deaf(listen: str, wanted: str) -> None:
    """So many deaf peers; one that the server disconnects comes back as another."""
    endpoint = Multiaddr.from_text(listen).host_port()
    assert endpoint is not None
    loop, sources = asyncio.get_running_loop(), cycle(SOURCES)
    config = NodeConfig()
    content = named(SEARCHED)
    requests = (
        (config.offers.protocol, encode_find(FindRequest(content.multihash, config.offers.find_limit))),
        (config.kad.protocol, encode_request(Kind.FIND_NODE, content.multihash)),
    )
    dialing, asked, ends = asyncio.Semaphore(DIALS_AT_ONCE), 0, 0
    all_asked = asyncio.Event()

    def note() -> None:
        nonlocal asked
        asked += 1
        if asked >= int(wanted):
            all_asked.set()

    async def meet() -> None:
        had_asked = asyncio.Event()

        def on_asked() -> None:
            had_asked.set()
            note()

        async with dialing:
            _, peer = await loop.create_connection(
                lambda: DeafPeer(requests, on_asked),
                endpoint.host,
                endpoint.port,
                local_addr=(next(sources), 0),
            )
            done = asyncio.ensure_future(had_asked.wait())
            async with asyncio.timeout(CALL_S):
                await asyncio.wait({done, peer.ended}, return_when=asyncio.FIRST_COMPLETED)
            done.cancel()
        await peer.ended

    async def one() -> None:
        nonlocal ends
        while True:
            with suppress(OSError, TimeoutError):
                await meet()
            ends += 1
            await asyncio.sleep(AGAIN_S)

    tasks = [asyncio.ensure_future(one()) for _ in range(int(wanted))]
    with suppress(TimeoutError):
        async with asyncio.timeout(120):
            await all_asked.wait()
    say(deaf=asked, ended=ends)
    await until_input_ends()
    for task in tasks:
        task.cancel()


# -- callers with many streams


def _batch(number: int) -> bytes:
    found = [v1.FindHoldersRequest(content=f"{number} {n}" if n % 2 else SEARCHED) for n in range(1000)]
    return v1.FindHoldersBatchRequest(searches=found).SerializeToString()


def _files(number: int) -> bytes:
    files = [v1.RegisterFileRequest(content=f"{number} {n}", ip="192.0.2.1", port=1) for n in range(1000)]
    return v1.RegisterFilesRequest(files=files).SerializeToString()


def _find(number: int) -> bytes:
    return v1.FindHoldersRequest(content=f"{number}").SerializeToString()


def _watch(number: int) -> bytes:
    return v1.WatchHoldersRequest(content=SEARCHED, interval_s=1.0).SerializeToString()


# By method: what one stream sends, and how many messages.
KINDS: dict[str, tuple[Callable[[int], bytes], int]] = {
    "FindHoldersBatch": (_batch, 18),
    "RegisterFiles": (_files, 8),
    "FindHolders": (_find, 1),
    "WatchHolders": (_watch, 1),
}


async def callers(target: str, wanted: str, streams: str) -> None:
    """So many connections, with so many calls each, whose answers are not read."""
    outcomes: Counter[str] = Counter()

    async def stream(channel: grpc.aio.Channel, method: str, number: int, reads: bool) -> None:
        make, most = KINDS[method]
        raw, path = make(number), f"/fastmarket.v1.Market/{method}"

        async def messages() -> AsyncIterator[bytes]:
            for _ in range(most):
                yield raw
            await asyncio.Event().wait()

        while True:
            call: Any = (
                channel.unary_stream(path)(raw) if most == 1 else channel.stream_stream(path)(messages())
            )
            try:
                if reads:
                    async for _ in call:
                        outcomes["answer"] += 1
                await call.wait_for_connection()
                outcomes["open"] += 1
                outcomes[(await call.code()).name] += 1
            except grpc.aio.AioRpcError as error:
                outcomes[error.code().name] += 1
            await asyncio.sleep(STREAM_AGAIN_S)

    channels = [
        grpc.aio.insecure_channel(target, [("grpc.use_local_subchannel_pool", 1), ("grpc.caller", number)])
        for number in range(int(wanted))
    ]
    numbers, methods = count(), cycle(KINDS)
    tasks = [
        asyncio.ensure_future(stream(channel, next(methods), next(numbers), number % 4 == 3))
        for channel in channels
        for number in range(int(streams))
    ]
    await asyncio.sleep(AGAIN_S)
    say(callers=len(channels), streams=len(tasks))
    await until_input_ends()
    print(dict(outcomes), file=sys.stderr)
    for task in tasks:
        task.cancel()


# -- connections that say nothing


async def silent(wanted: str, *targets: str) -> None:
    """So many TCP connections to each port, made again when the server ends them."""
    sources = cycle(SOURCES)
    loop = asyncio.get_running_loop()
    ends = 0

    async def one(host: str, port: int) -> None:
        nonlocal ends
        while True:
            sock = socket.socket()
            sock.setblocking(False)
            try:
                sock.bind((next(sources), 0))
                await loop.sock_connect(sock, (host, port))
                while await loop.sock_recv(sock, 4096):
                    pass
            except OSError:
                pass
            finally:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.close()
            ends += 1
            await asyncio.sleep(AGAIN_S)

    tasks = []
    for target in targets:
        host, _, port = target.rpartition(":")
        tasks += [asyncio.ensure_future(one(host, int(port))) for _ in range(int(wanted))]
    await asyncio.sleep(AGAIN_S)
    say(silent=len(tasks))
    await until_input_ends()
    print({"ended": ends}, file=sys.stderr)
    for task in tasks:
        task.cancel()


# -- an honest caller


class Honest:
    """Finds and registers over one connection, as a program on this machine; asks for health over new
    ones."""

    def __init__(self, target: str, metrics: str) -> None:
        self._target = target
        self._metrics = metrics
        self.ms: dict[str, list[float]] = {"find": [], "register": [], "health": [], "newcomer": []}
        self.failures: Counter[str] = Counter()

    async def timed(self, kind: str, work: Any) -> None:
        began = time.perf_counter()
        try:
            await work
        except (OSError, TimeoutError, ValueError) as error:
            self.failures[f"{kind}: {type(error).__name__} {error}"[:120]] += 1
        except grpc.aio.AioRpcError as error:
            self.failures[f"{kind}: {error.code().name} {error.details()}"[:120]] += 1
        self.ms[kind].append((time.perf_counter() - began) * 1000)

    async def ask(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        async with grpc.aio.insecure_channel(self._target) as channel:
            stub = market_pb2_grpc.MarketStub(channel)  # type: ignore[no-untyped-call]
            for number in count():
                if time.monotonic() >= end:
                    return
                name = f"honest {os.getpid()} {number}"
                request = market_pb2.CheckHoldersRequest(fileHash=name)
                await self.timed("find", stub.CheckHolders(request, timeout=CALL_S))
                user = market_pb2.User(id=b"u", name="Ann", ip="192.0.2.1", port=4000, price=1)
                offer = market_pb2.RegisterFileRequest(user=user, fileHash=name)
                if not number % 4:
                    await self.timed("register", stub.RegisterFile(offer, timeout=CALL_S))
                await asyncio.sleep(HONEST_PAUSE_S)

    async def look(self, seconds: float) -> None:
        """Over a new connection each time, as a load balancer does."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            await self.timed("health", self.health())
            await self.timed("newcomer", self.newcomer())
            await asyncio.sleep(0.25)

    async def health(self) -> None:
        host, _, port = self._metrics.rpartition(":")
        async with asyncio.timeout(HEALTH_S):
            reader, writer = await asyncio.open_connection(host, int(port))
            try:
                writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                status = (await reader.readline()).split()
                if status[1:2] != [b"200"]:
                    raise ValueError(f"status {status!r}")
            finally:
                writer.close()

    async def newcomer(self) -> None:
        """A program on this machine that connects only now."""
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(self._target, options) as channel:
            stub = market_pb2_grpc.MarketStub(channel)  # type: ignore[no-untyped-call]
            request = market_pb2.CheckHoldersRequest(fileHash="newcomer")
            await stub.CheckHolders(request, timeout=CALL_S, wait_for_ready=True)


async def honest(target: str, metrics: str, seconds: str) -> None:
    one = Honest(target, metrics)
    say(honest=True)
    await asyncio.gather(one.ask(float(seconds)), one.look(float(seconds)))
    say(ms=one.ms, failures=dict(one.failures))


ROLES: dict[str, Callable[..., Any]] = {
    "deaf": deaf,
    "callers": callers,
    "silent": silent,
    "honest": honest,
}


def main(role: str, *arguments: str) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(ROLES[role](*arguments))


if __name__ == "__main__":
    main(*sys.argv[1:])
