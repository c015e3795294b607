"""A caller that floods the server with streams, and an honest one beside it: each has its turn."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from fastmarket.market.grpc_client import MarketClient
from fastmarket.pb.fastmarket.v1 import market_pb2 as v1
from tests.e2e.conftest import Servers
from tests.e2e.flood import KINDS, STREAMS

ROOT = Path(__file__).parents[2]
CALLS = 5
DEADLINE_S = 20.0  # of an honest call; where the flood goes first it takes longer


class Flood:
    """What the flooding process says of its answers."""

    def __init__(self, output: asyncio.StreamReader) -> None:
        self._output = output
        self.answers = 0
        self.begun = asyncio.Event()

    async def follow(self) -> None:
        async for line in self._output:
            if line == b"answer\n":
                self.answers += 1
                self.begun.set()


@asynccontextmanager
async def flooding(target: str, method: str) -> AsyncIterator[Flood]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.e2e.flood", target, method),
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    flood = Flood(process.stdout)
    following = asyncio.create_task(flood.follow())
    try:
        yield flood
    finally:
        process.kill()
        await process.wait()
        await following


def test_every_method_that_streams_is_tried() -> None:
    (service,) = v1.DESCRIPTOR.services_by_name.values()
    streams = {m.name for m in service.methods if m.client_streaming or m.server_streaming}
    # A fetch and a sale take long, so these are few at a time: their tests show what a further one is told.
    assert streams - {"Fetch", "Sell"} == set(KINDS)


@pytest.mark.parametrize("method", KINDS)
def test_a_flood_of_streams_leaves_others_their_turns(run: Any, servers: Servers, method: str) -> None:
    target = servers.start().ready["grpc"]

    async def main() -> None:
        async with flooding(target, method) as flood, MarketClient(target, timeout_s=DEADLINE_S) as honest:
            await flood.begun.wait()
            for number in range(CALLS):
                before = flood.answers
                assert await honest.check(f"{number:064x}") == []
                assert flood.answers - before <= 2 * STREAMS, "each of its streams has had its turn"

    run(main(), 60.0)
