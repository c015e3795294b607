"""How many FIND_NODE requests one node serves over TCP, Noise and Yamux, and what each costs the server.

    python bench/bench_node.py [--requests 40000] [--outstanding 64] [--peers 200]

A real node runs in a process of its own; this one is the load generator. `server_cpu_us` does not depend on
how fast the generator is; where `generator_cpu_share` is near 1, requests/s is its limit and not the node's.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import replace
from typing import cast

import pytest
import uvloop
from pytest_benchmark.fixture import BenchmarkFixture

from fastmarket.config import NodeConfig
from fastmarket.formats.identity import Identity, PeerId
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.formats.varint import FrameDecoder, frame
from fastmarket.kad.messages import Kind, encode_request
from fastmarket.libp2p.connection import Connection, State
from fastmarket.libp2p.events import StreamData
from fastmarket.libp2p.upgrade import Endpoint, Role
from fastmarket.net.dht_node import DhtNode

LOOPBACK = Multiaddr.from_text("/ip4/127.0.0.1/tcp/0")
MAX_REPLY_BYTES = 64 * 1024


def synthetic_peer(number: int) -> PeerInfo:
    """A peer as others would describe it: an Ed25519 id and two addresses."""
    peer_id = PeerId.from_bytes(b"\x00\x24\x08\x01\x12\x20" + hashlib.sha256(b"%d" % number).digest())
    addrs = (f"/ip4/192.0.2.{number % 250 + 1}/tcp/16899", f"/ip6/2001:db8::{number:x}/tcp/16899")
    return PeerInfo(peer_id, tuple(Multiaddr.from_text(addr) for addr in addrs))


async def serve(peers: int) -> None:
    """The node: prints where it listens, then at the end of its input what CPU it used since `mark`."""
    config = NodeConfig()
    node = DhtNode(Identity.from_seed(os.urandom(32)), replace(config, host=replace(config.host, listen=())))
    (addr,) = await node.listen(LOOPBACK)
    for number in range(peers):
        node.engine.peer_identified(synthetic_peer(number), {config.kad.protocol}, node.now())
    print(json.dumps({"addr": str(addr), "table": node.engine.table_size}), flush=True)
    loop = asyncio.get_running_loop()
    for _ in range(3):
        line = await loop.run_in_executor(None, sys.stdin.readline)
        if not line:
            break
        usage = resource.getrusage(resource.RUSAGE_SELF)
        print(json.dumps({"cpu_s": usage.ru_utime + usage.ru_stime, "rss_kb": usage.ru_maxrss}), flush=True)
    await node.close()


class Load(asyncio.Protocol):
    """One connection with `outstanding` kept streams, each with one request under way."""

    def __init__(self, requests: int, outstanding: int, protocol: str, expected: PeerId) -> None:
        identity = Identity.from_seed(os.urandom(32))
        endpoint = Endpoint.create(identity, os.urandom, {})
        now = time.time()
        self.connection = Connection(endpoint, Role.DIALER, now=now, expected_peer=expected)
        self.remaining = requests
        self.outstanding = outstanding
        self.protocol = protocol
        self.answered = 0
        self.reply_bytes = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.latencies: list[float] = []
        self._sent_at: dict[int, float] = {}
        self._decoders: dict[int, FrameDecoder] = {}
        self._bodies = [
            frame(encode_request(Kind.FIND_NODE, hashlib.sha256(b"target %d" % i).digest()))
            for i in range(1024)
        ]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport = cast(asyncio.Transport, transport)
        transport.write(self.connection.data_to_send())

    def data_received(self, data: bytes) -> None:
        now = time.time()
        connection = self.connection
        connection.receive_data(data, now)
        while (event := connection.next_event()) is not None:
            if type(event) is StreamData:
                self._received(event, now)
        if connection.state is State.OPEN and not self.ready.done():
            self.ready.set_result(None)
        if out := connection.data_to_send():
            self.transport.write(out)

    def start(self) -> None:
        now = time.time()
        for _ in range(self.outstanding):
            stream_id = self.connection.open_stream([self.protocol], now, lazy=True)
            self._decoders[stream_id] = FrameDecoder(MAX_REPLY_BYTES)
            self._send(stream_id, now)
        self.transport.write(self.connection.data_to_send())

    def _send(self, stream_id: int, now: float) -> None:
        if self.remaining:
            self.remaining -= 1
            self._sent_at[stream_id] = now
            self.connection.send(stream_id, self._bodies[self.remaining & 1023], now)

    def _received(self, event: StreamData, now: float) -> None:
        self.connection.consumed(event.stream_id, len(event.data), now)
        self.reply_bytes += len(event.data)
        for _ in self._decoders[event.stream_id].feed(event.data):
            self.answered += 1
            self.latencies.append(now - self._sent_at[event.stream_id])
            self._send(event.stream_id, now)
        if not self.remaining and self.answered == self.total and not self.done.done():
            self.done.set_result(None)

    total = 0


async def generate(requests: int, outstanding: int, server: subprocess.Popen[str]) -> dict[str, float]:
    """Runs the load against the node in `server`; the figures."""
    assert server.stdin is not None
    assert server.stdout is not None

    def tell() -> dict[str, float]:
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write("mark\n")
        server.stdin.flush()
        figures: dict[str, float] = json.loads(server.stdout.readline())
        return figures

    hello = json.loads(server.stdout.readline())
    addr = Multiaddr.from_text(hello["addr"])
    endpoint = addr.host_port()
    assert endpoint is not None
    assert addr.peer_id is not None
    load = Load(requests, outstanding, NodeConfig().kad.protocol, addr.peer_id)
    load.total = requests
    await asyncio.get_running_loop().create_connection(lambda: load, endpoint.host, endpoint.port)
    await load.ready
    before, own_before, started = tell(), time.process_time(), time.perf_counter()
    load.start()
    await load.done
    elapsed, own = time.perf_counter() - started, time.process_time() - own_before
    after = tell()
    load.transport.abort()
    latencies = sorted(load.latencies)
    return {
        "requests": requests,
        "outstanding": outstanding,
        "table": hello["table"],
        "reply_bytes": load.reply_bytes / requests,
        "requests_per_s": requests / elapsed,
        "server_cpu_us": (after["cpu_s"] - before["cpu_s"]) / requests * 1e6,
        "generator_cpu_share": own / elapsed,
        "p50_ms": latencies[len(latencies) // 2] * 1e3,
        "p99_ms": latencies[len(latencies) * 99 // 100] * 1e3,
        "server_rss_mb": after["rss_kb"] / 1024,
    }


def measure(requests: int, outstanding: int, peers: int) -> dict[str, float]:
    """Starts the node, runs the load, ends the node."""
    command = [sys.executable, __file__, "--serve", "--peers", str(peers)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        try:
            return uvloop.run(generate(requests, outstanding, server))
        finally:
            if server.stdin is not None:
                server.stdin.close()
            server.wait(10)


@pytest.mark.parametrize("outstanding", [1, 64])
def test_find_node_served_over_kept_streams(benchmark: BenchmarkFixture, outstanding: int) -> None:
    """The figures are in `extra_info`. What must hold on any machine: answering together is cheaper than one
    by one, for what was read in one go is answered in one write."""
    requests = 5_000 * min(outstanding, 8)
    figures = benchmark.pedantic(measure, args=(requests, outstanding, 200), rounds=1)
    benchmark.extra_info.update(figures)
    if outstanding > 1:
        assert figures["server_cpu_us"] < measure(2_000, 1, 200)["server_cpu_us"] / 2


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=40_000)
    parser.add_argument("--outstanding", type=int, default=64)
    parser.add_argument("--peers", type=int, default=200)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        uvloop.run(serve(given.peers))
        return
    for name, value in measure(given.requests, given.outstanding, given.peers).items():
        print(f"{name:>20}  {value:,.2f}")


if __name__ == "__main__":
    main()
