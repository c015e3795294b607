"""From the call until the first verified byte, beside one HTTP request to the same seller.

Over loopback, and over a line that takes 25 ms each way, where round trips count and not processors. The
request is one as a buyer has to make it: it connects, asks for the content's first block, and has it.

    python -m bench.get.first_byte PORT SECONDS      the line to that port, each way so late
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import aclosing, contextmanager, suppress
from pathlib import Path

from bench.get.nodes import Network, sell
from bench.get.reader import Reader
from bench.get.row import middle, row, share
from bench.get.setting import Setting
from bench.local_network import Report
from bench.processes import started
from fastmarket.cli.processes import ServerProcess
from fastmarket.formats.cid import Cid
from fastmarket.market.grpc_client import MarketClient

TIMES = 20
DELAY_S = 0.025
LIMIT = 4.0
PIECE_BYTES = 256 * 1024
KNOWN = ("--fresh", "60")  # what was found once is known for so many seconds
ROOT = Path(__file__).parent.parent.parent


def measure(setting: Setting) -> Report:
    """The holders are known to the buyer's node from a first fetch."""
    figures: dict[str, object] = {}
    marks = []
    for name, delay_s in (("loopback", 0.0), ("25 ms each way", DELAY_S)):
        with setting.network() as network, _seller(setting, network, delay_s) as (url, cid):
            request = middle([_request_s(url, cid) for _ in range(TIMES)])
            with Reading(url, cid) as kept:
                again = middle([kept.took_s() for _ in range(TIMES)])
            first = middle(asyncio.run(_first_s(network.start(*KNOWN), cid)))
            network.check_logs()
        figures[f"{name}: one request, ms"] = round(request * 1000, 2)
        figures[f"{name}: one on a connection that is there, ms"] = round(again * 1000, 2)
        figures[f"{name}: first verified byte, ms"] = round(first * 1000, 2)
        marks.append(share(f"first verified byte, {name}, of one request", first / request, LIMIT))
    return row("time to the first verified byte", figures, marks)


class Reading:
    """A connection on which the same block is asked for again."""

    def __init__(self, url: str, cid: str) -> None:
        self._reader = Reader(url)
        self._cid = Cid.from_text(cid)

    def __enter__(self) -> Reading:
        self._reader.block(self._cid)
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()

    def took_s(self) -> float:
        """Of one request."""
        began = time.perf_counter()
        self._reader.block(self._cid)
        return time.perf_counter() - began


def _request_s(url: str, cid: str) -> float:
    began = time.perf_counter()
    reader = Reader(url)
    reader.block(Cid.from_text(cid))
    took = time.perf_counter() - began
    reader.close()
    return took


async def _first_s(buyer: ServerProcess, cid: str) -> list[float]:
    took = []
    async with MarketClient(buyer.ready["grpc"]) as market:
        for _ in range(TIMES + 1):
            began = time.perf_counter()
            async with aclosing(market.fetch(cid)) as reports:
                async for report in reports:
                    if isinstance(report, bytes):
                        break
            took.append(time.perf_counter() - began)
    return took[1:]


@contextmanager
def _seller(setting: Setting, network: Network, delay_s: float) -> Iterator[tuple[str, str]]:
    """Where it is reached, and the CID of what it sells."""
    if not delay_s:
        node, cid = network.seller(setting.path)
        yield node.ready["content"], cid
        return
    port = _free_port()
    command = [sys.executable, "-m", "bench.get.first_byte", str(port), str(delay_s)]
    with started(command, ROOT) as line:
        url = f"http://127.0.0.1:{line.hello['port']}"
        node = network.start("--content-port", str(port), "--content-url", url)
        yield url, sell(node, setting.path)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


# --- the line


class _Line:
    """Passes on bytes, each as late as the other. The kernel takes connections at once, so what follows waits
    for the round trip of a handshake, too."""

    def __init__(self, port: int, delay_s: float) -> None:
        self._port = port
        self._delay_s = delay_s

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        await asyncio.sleep(2 * self._delay_s)
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        with suppress(asyncio.CancelledError):  # the end of the process
            await asyncio.gather(self._pass(reader, back), self._pass(there, writer))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """In order, `delay_s` after each came."""
        loop = asyncio.get_running_loop()
        with suppress(ConnectionError):
            while data := await reader.read(PIECE_BYTES):
                loop.call_later(self._delay_s, writer.write, data)
        loop.call_later(self._delay_s, writer.close)


async def _serve(port: int, delay_s: float) -> None:
    server = await asyncio.start_server(_Line(port, delay_s).accept, "127.0.0.1", 0)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), float(sys.argv[2])))
