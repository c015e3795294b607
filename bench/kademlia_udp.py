"""bmuller/kademlia, plain UDP without encryption, as one more peer of `bench.peers`: `pip install kademlia`.

python -m bench.kademlia_udp --count 24 --join 127.0.0.1:PORT      nodes that say where they listen
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha1
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, cast

import uvloop

from bench.load import DEADLINE_S, Figures, measured
from bench.processes import Served, started

NODE_ID_BYTES = 20


def available() -> str:
    """Its version; empty where it is not installed."""
    try:
        return version("kademlia")
    except PackageNotFoundError:
        return ""


@contextmanager
def server(fillers: int) -> Iterator[tuple[Served, str]]:
    """A node that `fillers` others have joined by, and where it listens."""
    root = Path(__file__).parent.parent
    command = [sys.executable, "-m", "bench.kademlia_udp"]
    with started(command, root) as one:
        addr = one.hello["addr"]
        with started([*command, "--count", str(fillers), "--join", addr], root):
            yield Served(one.pid, {"version": available(), **one.hello}), addr


class _Requests(asyncio.DatagramProtocol):
    """find_node for different keys, `outstanding` under way. A datagram that is lost would stop one of them:
    on loopback, with this few, none is."""

    def __init__(self, total: int, outstanding: int) -> None:
        self._left, self._total, self._outstanding = total, total, outstanding
        self._sent_at: dict[bytes, float] = {}
        self._local = os.urandom(NODE_ID_BYTES)
        self.reply_bytes = 0
        self.latencies: list[float] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def start(self) -> None:
        for _ in range(self._outstanding):
            self._send()

    def _send(self) -> None:
        if self._left:
            import umsgpack

            self._left -= 1
            number = sha1(b"%d" % self._left).digest()
            self._sent_at[number] = time.perf_counter()
            body = umsgpack.packb(["find_node", [self._local, number]])
            self.transport.sendto(b"\x00" + number + body)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        sent = self._sent_at.pop(data[1:21], None) if data[:1] == b"\x01" else None
        if sent is None:
            return
        self.reply_bytes += len(data)
        self.latencies.append(time.perf_counter() - sent)
        self._send()
        if len(self.latencies) == self._total and not self.done.done():
            self.done.set_result(None)


async def requests(pid: int, addr: str, *, total: int, outstanding: int) -> Figures:
    """Loads a node."""
    host, _, port = addr.rpartition(":")
    _, load = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: _Requests(total, outstanding), remote_addr=(host, int(port))
    )

    async def run() -> Sequence[float]:
        load.start()
        async with asyncio.timeout(DEADLINE_S):
            await load.done
        return load.latencies

    found = await measured(pid, run)
    load.transport.close()
    return Figures(outstanding=outstanding, reply_bytes=load.reply_bytes / total, **found)  # type: ignore[arg-type]


async def serve(count: int, join: str) -> None:
    from kademlia.network import Server

    nodes = []
    for _ in range(count):
        node = Server()
        await node.listen(0, "127.0.0.1")
        if join:
            host, _, port = join.rpartition(":")
            await node.bootstrap([(host, int(port))])
        nodes.append(node)
    host, port = nodes[0].transport.get_extra_info("sockname")[:2]
    print(json.dumps({"addr": f"{host}:{port}"}), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    for node in nodes:
        node.stop()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--join", default="")
    given = parser.parse_args()
    uvloop.run(serve(given.count, given.join))


if __name__ == "__main__":
    main()
