"""What a fetch leaves in memory, without a run of the garbage collector: a node has one rarely."""

from __future__ import annotations

import asyncio
import gc
import random
import tracemalloc
from collections.abc import Iterator, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from fastmarket.exchange.fetching.order import FetchOrder
from tests.conftest import Run
from tests.net.fetching.gateway import Reply, head, ok
from tests.net.fetching.sellers import Bench, buying, named, with_proof
from tests.virtual.dags import Blocks

CHUNK = 100_000
DATA = random.Random(4).randbytes(20 * CHUNK)
FETCHES = 5
# Objects of a fetch, its sockets, and those of the sellers, which are in this process, too; blocks are more.
MOST_LEFT = len(DATA) // 8


@pytest.fixture(autouse=True)
def uncollected() -> Iterator[None]:
    gc.collect()
    gc.disable()
    tracemalloc.start()
    yield
    tracemalloc.stop()
    gc.enable()


def _chunked(block: bytes) -> bytes:
    chunk = f"{len(block):x}\r\n".encode() + block
    return head("200 OK", "Transfer-Encoding: chunked") + chunk + b"\r\n0\r\n\r\n"


def _sellers(blocks: Mapping[bytes, bytes]) -> dict[str, Reply]:
    texts = named(blocks)

    async def with_length(cid: str, writer: asyncio.StreamWriter) -> None:
        writer.write(ok(texts[cid]))

    async def in_chunks(cid: str, writer: asyncio.StreamWriter) -> None:
        writer.write(_chunked(texts[cid]))

    async def cut_off(cid: str, writer: asyncio.StreamWriter) -> None:
        block = texts[cid]
        writer.write(_chunked(block) if len(block) < CHUNK / 2 else _chunked(block)[: -CHUNK // 2])
        await writer.drain()
        writer.close()

    return {"with a length": with_length, "in chunks": in_chunks, "cut off": cut_off}


@pytest.mark.parametrize("way", ["with a length", "in chunks", "cut off"])
def test_a_fetch_that_has_ended_holds_no_blocks(run: Run[Any], tmp_path: Path, way: str) -> None:
    async def fetched(bench: Bench, order: FetchOrder, number: int) -> None:
        if number % 2:
            order = with_proof(order, tmp_path / f"{number}.part")
        async with aclosing(bench.fetcher.fetch(order)) as reports:
            async for report in reports:
                if number == FETCHES and isinstance(report, bytes):
                    break  # left in the middle

    async def main() -> None:
        dag = Blocks(raw_leaves=True)
        order = FetchOrder(dag.file(DATA, chunk=CHUNK, width=8))
        sellers = _sellers(dag.blocks)
        async with buying(order.root, [(sellers[way], 1), (sellers["with a length"], 2)]) as bench:
            await fetched(bench, order, 0)
            before, _ = tracemalloc.get_traced_memory()
            for number in range(1, FETCHES + 1):
                await fetched(bench, order, number)
            await asyncio.gather(*(task for gateway in bench.gateways for task in gateway.tasks))
            after, _ = tracemalloc.get_traced_memory()
        assert after - before < FETCHES * MOST_LEFT

    run(main())
