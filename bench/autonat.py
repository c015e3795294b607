"""What AutoNAT's server costs, and what it can be made to send to others.

    python -m bench.autonat [--seconds 20] [--rate 100]

A node is asked by 20 strangers in another process, over real sockets, `--rate` times a second in all, half of
them about their own host and half about another one, for which they pay the dial data that is demanded. That
host has, in turn, a socket that takes everything and says nothing, and a node of libp2p with another key.
Loopback's addresses count as public here. Printed are CPU time of the server's process, and bytes that came
to the host that had not asked, with 60 for each packet of TCP's own (the handshake and the end: 7), beside
what the askers had to send for them.
"""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
import sys
import time
from argparse import ArgumentParser
from dataclasses import dataclass
from math import ceil

import uvloop

from fastmarket.config import NodeConfig
from fastmarket.errors import FastmarketError
from fastmarket.formats.identity import Identity
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.formats.scope import ip_of
from fastmarket.libp2p.autonat.client import DialAsk
from fastmarket.libp2p.autonat.messages import DIAL_REQUEST_PROTOCOL, MAX_MESSAGE_BYTES
from fastmarket.net.autonat import Autonat
from fastmarket.net.dht_node import DhtNode

ASKERS = 20
TCP_BYTES = 7 * 60
MOST_OF_A_CORE = 0.05
MOST_RATIO = 1 / 10
LOOPBACK = "/ip4/127.0.0.1/tcp/0"


def node(number: int) -> DhtNode:
    return DhtNode(Identity.from_seed(hashlib.sha256(b"autonat %d" % number).digest()), NodeConfig())


def is_loopback(addr: Multiaddr) -> bool:
    ip = ip_of(addr)
    return ip is not None and ip.is_loopback


@dataclass
class Victim:
    """Who did not ask."""

    addr: Multiaddr
    received: int = 0
    connections: int = 0

    @property
    def bytes_come(self) -> int:
        return self.received + self.connections * TCP_BYTES


class _Sink(asyncio.Protocol):
    def __init__(self, victim: Victim) -> None:
        self._victim = victim

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._victim.connections += 1

    def data_received(self, data: bytes) -> None:
        self._victim.received += len(data)


async def ask(asker: DhtNode, server: PeerInfo, addr: Multiaddr) -> None:
    """One request, paid for if need be; whatever comes of it."""
    exchange = DialAsk([addr], time.monotonic_ns())
    try:
        link = await asker.host.connect(server)
        stream = await asker.host.streams.open(link, [DIAL_REQUEST_PROTOCOL])
        await stream.write(exchange.request())
        while not exchange.is_answered and (data := await stream.read(MAX_MESSAGE_BYTES)):
            for out in exchange.feed(data):
                await stream.write(out)
        stream.close_write()
    except FastmarketError:
        pass


async def asking(server: PeerInfo, victim: Multiaddr, seconds: float, rate: float) -> None:
    askers = [node(100 + number) for number in range(ASKERS)]
    for asker in askers:
        await asker.listen(Multiaddr.from_text(LOOPBACK))
        await asker.dial(server)
    before = sum(asker.host.traffic.sent for asker in askers)
    running = set()
    began = time.monotonic()
    for number in range(ceil(seconds * rate)):
        await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
        asker = askers[number % ASKERS]
        addr = victim if number // ASKERS % 2 else asker.host.listen_addrs[0]
        task = asyncio.ensure_future(ask(asker, server, addr))
        running.add(task)
        task.add_done_callback(running.discard)
    await asyncio.wait(running, timeout=20.0) if running else None
    print(sum(asker.host.traffic.sent for asker in askers) - before, flush=True)
    for asker in askers:
        await asker.close()


async def measured(kind: str, seconds: float, rate: float) -> bool:
    """Whether both bounds hold."""
    server, other = node(1), node(2)
    (at,) = await server.listen(Multiaddr.from_text(LOOPBACK))
    nat = Autonat(server.host, NodeConfig(), is_loopback)
    nat.start()
    loop = asyncio.get_running_loop()
    if kind == "node":
        (listening,) = await other.listen(Multiaddr.from_text("/ip4/127.0.0.2/tcp/0"))
        victim = Victim(listening.without_peer())
    else:
        victim = Victim(Multiaddr.from_endpoint("127.0.0.2", 1))
        sink = await loop.create_server(lambda: _Sink(victim), "127.0.0.2", 0)
        victim.addr = Multiaddr.from_endpoint("127.0.0.2", sink.sockets[0].getsockname()[1])
    arguments = ["--asker", str(at), "--victim", str(victim.addr)]
    arguments += ["--seconds", f"{seconds}", "--rate", f"{rate}"]
    cpu, began = time.process_time(), time.monotonic()
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.autonat", *arguments, stdout=subprocess.PIPE
    )
    out, _ = await child.communicate()
    core = (time.process_time() - cpu) / (time.monotonic() - began)
    counts = nat.server.counts
    if kind == "node":
        victim.received, victim.connections = other.host.traffic.received, counts.unreached
    ratio = victim.bytes_come / max(int(out), 1)
    print(
        f"{kind:6} {counts.requests} requests: {counts.rejected} rejected, {counts.charged} charged, "
        f"{counts.reached} reached, {counts.unreached} not; {core:.1%} of a core; "
        f"{victim.bytes_come} bytes to who did not ask, "
        f"{int(out)} sent by askers: 1/{1 / max(ratio, 1e-9):.0f}"
    )
    await nat.stop()
    for one in (server, other):
        await one.close()
    return core <= MOST_OF_A_CORE and ratio <= MOST_RATIO


async def main() -> int:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rate", type=float, default=100.0)
    parser.add_argument("--asker", help="run as the askers, of this server")
    parser.add_argument("--victim")
    args = parser.parse_args()
    if args.asker:
        at = Multiaddr.from_text(args.asker)
        assert at.peer_id is not None
        server = PeerInfo(at.peer_id, (at.without_peer(),))
        await asking(server, Multiaddr.from_text(args.victim), args.seconds, args.rate)
        return 0
    held = [await measured(kind, args.seconds, args.rate) for kind in ("silent", "node")]
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(uvloop.run(main()))
