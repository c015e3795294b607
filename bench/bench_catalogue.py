"""A store of 4 million blocks beside one of 256, over HTTP: `pytest bench/bench_catalogue.py`; and an import
beside the CID alone.

Both stores are processes of their own, freshly started. Questions to the two take turns, so that a busy
machine slows both.
"""

from __future__ import annotations

import asyncio
import http.client
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from statistics import median

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.ratio import Mark, report
from bench.stores import absent, leaves_of, make
from fastmarket.formats.unixfs.profile import UNIXFS_V0_2015
from fastmarket.hashing import cid_of_file
from tests.content.shop import shop

MANY, FEW = 4_000_000, 256  # blocks; the first is what a file of 1 TiB has
QUESTIONS = 3000  # of each kind, to each store
MAX_GROWTH_BYTES = 50e6
FILE_BYTES = 512 << 20


class Store:
    """A process, and a connection to it."""

    def __init__(self, directory: Path, count: int) -> None:
        make(directory, count)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bench.stores", str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        port = int(self.process.stdout.readline())
        self.connection = http.client.HTTPConnection("127.0.0.1", port)
        self.leaves = leaves_of(count)

    def ask(self, cid: str, status: int, *, method: str = "GET") -> float:
        """Seconds of one request."""
        start = time.perf_counter()
        self.connection.request(method, f"/ipfs/{cid}?format=raw")
        answer = self.connection.getresponse()
        answer.read()
        took = time.perf_counter() - start
        assert answer.status == status
        return took

    def resident_bytes(self) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def close(self) -> None:
        self.connection.close()
        self.process.communicate(timeout=30)


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, Store]]:
    made: list[Store] = []
    try:
        for count in (MANY, FEW):
            made.append(Store(tmp_path_factory.mktemp("store"), count))
        yield made[0], made[1]
    finally:
        for store in made:
            store.close()


def compared(
    benchmark: BenchmarkFixture,
    stores: tuple[Store, Store],
    cids: Sequence[Sequence[str]],
    status: int,
    method: str = "GET",
) -> None:
    """Questions in turns; the median of each store."""
    times: tuple[list[float], list[float]] = ([], [])

    def ask() -> None:
        for number in range(QUESTIONS):
            for store, asked, took in zip(stores, cids, times, strict=True):
                took.append(store.ask(asked[number % len(asked)], status, method=method))

    benchmark.pedantic(ask, rounds=1)
    many, few = (median(took) * 1e6 for took in times)
    report(benchmark, many, few, "a store of 256 blocks", Mark(0.5, "at most twice as long"))


def test_a_block_that_is_not_there(benchmark: BenchmarkFixture, stores: tuple[Store, Store]) -> None:
    compared(benchmark, stores, (absent(QUESTIONS), absent(QUESTIONS)), 404)


def test_whether_a_block_is_there(benchmark: BenchmarkFixture, stores: tuple[Store, Store]) -> None:
    """Any of them: the pages of the index are read anew."""
    cids = [Random(1).sample(store.leaves, min(len(store.leaves), QUESTIONS)) for store in stores]
    compared(benchmark, stores, cids, 200, "HEAD")


def test_a_block_that_is_there(benchmark: BenchmarkFixture, stores: tuple[Store, Store]) -> None:
    """As many different ones of each store: else what is measured is the file, which is not in memory."""
    cids = [Random(1).sample(store.leaves, len(stores[1].leaves)) for store in stores]
    compared(benchmark, stores, cids, 200)


def test_memory(benchmark: BenchmarkFixture, stores: tuple[Store, Store]) -> None:
    """After the questions above."""
    many, few = (store.resident_bytes() for store in stores)
    benchmark.pedantic(lambda: None, rounds=1)
    benchmark.extra_info |= {"many_mb": round(many / 1e6, 1), "few_mb": round(few / 1e6, 1)}
    assert many - few <= MAX_GROWTH_BYTES


def test_an_import(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    path = tmp_path / "files" / "file"
    path.parent.mkdir()
    random = Random(1)
    with path.open("wb") as file:
        for _ in range(FILE_BYTES >> 20):
            file.write(random.randbytes(1 << 20))
    ours, plain = [], []

    async def turn() -> None:
        with shop(tmp_path) as store:
            for _ in range(5):
                start = time.perf_counter()
                cid = cid_of_file(path, profile=UNIXFS_V0_2015, threads=2)
                plain.append(time.perf_counter() - start)
                start = time.perf_counter()
                good = await store.sold(path)
                ours.append(time.perf_counter() - start)
                assert good.cid == cid
                store.catalogue.remove(path=str(path))
                store.look()

    benchmark.pedantic(lambda: asyncio.run(turn()), rounds=1)
    report(
        benchmark, min(ours) * 1e6, min(plain) * 1e6, "cid_of_file", Mark(0.8, "what is noted costs a fifth")
    )
