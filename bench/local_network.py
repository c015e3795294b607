"""Networks of real servers on loopback, for the benchmarks that start some and the tests that share them."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import grpc.aio

from fastmarket.cli.processes import ServerProcess
from fastmarket.pb import market_pb2, market_pb2_grpc
from fastmarket.pb.fastmarket.v1 import market_pb2 as v1
from fastmarket.pb.fastmarket.v1 import market_pb2_grpc as v1_grpc

FREE_PORTS = ("-p", "0", "-l", "/ip4/127.0.0.1/tcp/0", "--ephemeral")
DEADLINE_S = 60.0


@dataclass(frozen=True)
class Mark:
    """One figure that we hold ourselves to: `value` may be `limit` at most, or at least if `least`."""

    name: str
    value: float
    limit: float
    unit: str
    least: bool = False

    @property
    def holds(self) -> bool:
        """Whether it does."""
        return self.value >= self.limit if self.least else self.value <= self.limit

    def __str__(self) -> str:
        relation = ">=" if self.least else "<="
        verdict = "holds" if self.holds else "MISSED"
        return f"{verdict:6} {self.name}: {self.value:.4g} {self.unit} ({relation} {self.limit:g})"


@dataclass(frozen=True)
class Report:
    """What one benchmark found."""

    name: str
    figures: Mapping[str, Any]
    marks: Sequence[Mark]

    def document(self) -> dict[str, Any]:
        """For a JSON file; the machine is named, for on another one the figures are others."""
        machine = {
            "system": platform.system(),
            "machine": platform.machine(),
            "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "python": platform.python_version(),
            "load_1min": round(os.getloadavg()[0], 2),
        }
        marks = [asdict(mark) | {"holds": mark.holds} for mark in self.marks]
        return {"benchmark": self.name, "machine": machine, "figures": dict(self.figures), "marks": marks}


def percentile(values: Sequence[float], share: float) -> float:
    """Nearest rank, from above: of 200 values p99 is the second largest."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def command(doc: str | None, measure: Callable[[], Report], argv: Sequence[str] | None = None) -> int:
    """The main function of a benchmark: prints its report, and writes it where `--json` says.

    Returns 1 when a mark was missed.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there, too")
    given = parser.parse_args(sys.argv[1:] if argv is None else argv)
    report = measure()
    show(report)
    if given.json is not None:
        write(report, given.json)
    return 0 if all(mark.holds for mark in report.marks) else 1


def show(report: Report) -> None:
    """For a person."""
    print(report.name)
    for name, value in report.figures.items():
        print(f"  {name:<40} {value:.4g}" if isinstance(value, float) else f"  {name:<40} {value}")
    for mark in report.marks:
        print(f"  {mark}", flush=True)


def write(report: Report, path: Path) -> None:
    """As JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report.document(), indent=2) + "\n", "utf-8")


@contextmanager
def network(directory: Path, count: int) -> Iterator[list[ServerProcess]]:
    """Servers that have joined by the first."""
    with ExitStack() as stack:
        first = stack.enter_context(ServerProcess("server-0", FREE_PORTS, directory))
        first.wait_ready()
        started = [first]
        for number in range(1, count):
            join = (*FREE_PORTS, "-b", first.address)
            started.append(stack.enter_context(ServerProcess(f"server-{number}", join, directory)))
        for server in started[1:]:
            server.wait_ready()
        yield started


@asynccontextmanager
async def market(server: ServerProcess) -> AsyncIterator[Any]:
    """A client of its market.Market service."""
    async with grpc.aio.insecure_channel(server.ready["grpc"]) as channel:
        yield market_pb2_grpc.MarketStub(channel)  # type: ignore[no-untyped-call]


async def register_all(server: ServerProcess, contents: Sequence[str], at_once: int = 1) -> list[float]:
    """An offer for each, priced 1, 2, ...; the seconds each call took. Raises the first call's failure."""
    places = asyncio.Semaphore(at_once)
    clock = asyncio.get_running_loop().time

    async def register(stub: Any, price: int, content: str) -> float:
        user = market_pb2.User(id=b"u", name="Ann", ip="192.0.2.1", port=4000, price=price)
        async with places:
            began = clock()
            request = market_pb2.RegisterFileRequest(user=user, fileHash=content)
            await stub.RegisterFile(request, timeout=DEADLINE_S)
            return clock() - began

    async with market(server) as stub:
        calls = (register(stub, price, content) for price, content in enumerate(contents, 1))
        return list(await asyncio.gather(*calls))


async def prices(stub: Any, content: str) -> list[int]:
    """What the holders of a content take, by CheckHolders."""
    reply = await stub.CheckHolders(market_pb2.CheckHoldersRequest(fileHash=content), timeout=DEADLINE_S)
    return sorted(holder.price for holder in reply.holders)


async def connected_peers(server: ServerProcess) -> set[str]:
    """Ids of the peers in its routing table that it has a connection with."""
    async with grpc.aio.insecure_channel(server.ready["grpc"]) as channel:
        stub: Any = v1_grpc.MarketStub(channel)  # type: ignore[no-untyped-call]
        reply = await stub.ListPeers(v1.ListPeersRequest(), timeout=DEADLINE_S)
    return {peer.peer_id for peer in reply.peers if peer.connected}


async def until(true: Callable[[], Awaitable[bool]], deadline_s: float = DEADLINE_S) -> float:
    """Asks again and again; the seconds until it was so. Each time of asking waits for a server's answer."""
    began = time.monotonic()
    async with asyncio.timeout(deadline_s):
        while not await true():  # noqa: ASYNC110 - another process's state has no event
            await asyncio.sleep(0)
    return time.monotonic() - began
