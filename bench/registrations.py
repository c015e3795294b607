"""A thousand files registered at one of eight servers: the time until each is acknowledged by a quorum.

    python -m bench.registrations [--json FILE]

Three ways, each with files of its own: RegisterFile (market.Market) 64 at once over one connection; the same
one after the other; RegisterFiles (fastmarket.v1.Market), all in one call. In the end files of all three are
looked for at another server.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc.aio

from bench.local_network import (
    DEADLINE_S,
    Mark,
    Report,
    command,
    market,
    network,
    percentile,
    prices,
    register_all,
)
from fastmarket.cli.processes import ServerProcess
from fastmarket.pb.fastmarket.v1 import market_pb2, market_pb2_grpc

SERVERS, FILES, AT_ONCE = 8, 1000, 64
LIMIT_S = 1.0
SAMPLE = 40  # of the files of each way, looked for at another server


async def register_in_one_call(server: ServerProcess, contents: Sequence[str]) -> int:
    """RegisterFiles, priced 1, 2, ...; how many met their quorum."""
    files = [
        market_pb2.RegisterFileRequest(content=content, user_id=b"u", ip="192.0.2.1", port=4000, price=price)
        for price, content in enumerate(contents, 1)
    ]
    async with grpc.aio.insecure_channel(server.ready["grpc"]) as channel:
        stub: Any = market_pb2_grpc.MarketStub(channel)  # type: ignore[no-untyped-call]
        requests = iter([market_pb2.RegisterFilesRequest(files=files)])
        answers = [answer async for answer in stub.RegisterFiles(requests, timeout=DEADLINE_S)]
    return sum(file.code == 0 for answer in answers for file in answer.files)


async def _wrong(server: ServerProcess, contents: Sequence[str]) -> list[str]:
    """Of a sample those that the server does not find for the price they were registered with."""
    step = max(1, len(contents) // SAMPLE)
    async with market(server) as stub:
        found = {content: await prices(stub, content) for content in contents[::step]}
    return [content for content, taken in found.items() if taken != [contents.index(content) + 1]]


async def _measured(servers: Sequence[ServerProcess], files: int) -> Report:
    figures: dict[str, Any] = {"files of each way": files, "servers": len(servers)}
    ways: dict[str, list[str]] = {}
    for way, at_once in ((f"RegisterFile, {AT_ONCE} at once", AT_ONCE), ("RegisterFile, one by one", 1)):
        ways[way] = [f"{way} {number}" for number in range(files)]
        began = time.perf_counter()
        took = await register_all(servers[1], ways[way], at_once)
        figures[f"{way}: s"] = time.perf_counter() - began
        figures[f"{way}: p50 ms"] = percentile(took, 0.5) * 1000
        figures[f"{way}: p99 ms"] = percentile(took, 0.99) * 1000
    ways["RegisterFiles"] = [f"RegisterFiles {number}" for number in range(files)]
    began = time.perf_counter()
    met = await register_in_one_call(servers[1], ways["RegisterFiles"])
    figures["RegisterFiles: s"] = time.perf_counter() - began
    wrong = [content for contents in ways.values() for content in await _wrong(servers[2], contents)]
    marks = [
        Mark(
            f"RegisterFile, {AT_ONCE} at once", figures[f"RegisterFile, {AT_ONCE} at once: s"], LIMIT_S, "s"
        ),
        Mark("RegisterFiles, one call", figures["RegisterFiles: s"], LIMIT_S, "s"),
        Mark("files of RegisterFiles without a quorum", files - met, 0, ""),
        Mark("files not found elsewhere, of the sample", len(wrong), 0, ""),
    ]
    return Report("registrations", figures, marks)


def measure() -> Report:
    """Starts the servers, measures, ends them."""
    with tempfile.TemporaryDirectory() as directory, network(Path(directory), SERVERS) as servers:
        return asyncio.run(_measured(servers, FILES))


if __name__ == "__main__":
    sys.exit(command(__doc__, measure))
