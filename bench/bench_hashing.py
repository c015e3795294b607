"""The CIDs of files beside what hashlib reaches on the same bytes: `pytest bench/bench_hashing.py`.

Of a large file the yardstick is two threads hashing 256 KiB blocks that lie in memory: no file is read, no
tree is built. The file of the other side is in the page cache. Of many small files it is opening, reading and
closing each and nothing else, by one thread or two, whichever is faster, and then hashing the same bytes in
memory by two.
"""

from __future__ import annotations

import hashlib
import os
import random
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bench.ratio import Mark
from bench.ratio import report as report_ratio
from fastmarket.formats.unixfs.profile import UNIXFS_V0_2015
from fastmarket.hashing import cid_of_file, cids_of_files
from fastmarket.native import sha256 as _sha256
from tests.reference import unixfs as twin

THREADS = 2
CHUNK_BYTES = UNIXFS_V0_2015.chunk_bytes
FILE_BYTES = 256 * 1024 * 1024
SMALL_FILES = 10_000


@pytest.fixture(scope="module")
def large_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("hashing") / "large"
    row = os.urandom(1 << 20)
    with path.open("wb") as file:
        for number in range(FILE_BYTES // len(row)):
            file.write(number.to_bytes(8, "big") + row[8:])
    cid_of_file(path)  # into the page cache
    yield path
    path.unlink()


def hash_blocks(block: bytes, count: int) -> None:
    for _ in range(count):
        hashlib.sha256(block).digest()


def hashlib_in_memory() -> None:
    """The yardstick: FILE_BYTES through hashlib, by THREADS threads."""
    block = bytes(CHUNK_BYTES)
    each = FILE_BYTES // CHUNK_BYTES // THREADS
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(hash_blocks, [block] * THREADS, [each] * THREADS))


def report(benchmark) -> None:
    if benchmark.stats is not None:
        benchmark.extra_info["GB_per_s"] = round(FILE_BYTES / benchmark.stats["min"] / 1e9, 2)


@pytest.mark.parametrize("threads", [1, THREADS])
@pytest.mark.parametrize("version", [0, 1])
def test_cid_of_file(benchmark, large_file, version, threads):
    benchmark.pedantic(
        cid_of_file, (large_file,), {"cid_version": version, "threads": threads}, rounds=5, warmup_rounds=1
    )
    report(benchmark)


def test_hashlib_in_memory(benchmark):
    benchmark.pedantic(hashlib_in_memory, rounds=5, warmup_rounds=1)
    report(benchmark)


def test_naive_twin(benchmark, large_file):
    data = large_file.read_bytes()
    expected = benchmark.pedantic(twin.import_file, (data,), rounds=1)
    assert expected == str(cid_of_file(large_file))
    report(benchmark)


def seconds(run) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def test_at_least_nine_tenths_of_hashlib(large_file):
    """Rounds in turn, the best of each: what else runs here slows both. Portable code has only a floor."""
    wanted = 0.9 if _sha256.BACKEND != "portable" else 0.2
    ours = twins = float("inf")
    for _ in range(8):
        twins = min(twins, seconds(hashlib_in_memory))
        ours = min(ours, seconds(lambda: cid_of_file(large_file, threads=THREADS)))
    assert twins / ours >= wanted, f"{twins / ours:.2f} of hashlib"


def test_memory_does_not_grow_with_the_file(large_file):
    """The chunks of the compiled reader are counted too: they come from an allocator tracemalloc sees."""
    tracemalloc.start()
    try:
        cid_of_file(large_file, threads=THREADS)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * 1024 * 1024


@pytest.fixture(scope="module")
def small_files(tmp_path_factory):
    """Of 1 byte to 32 KiB, 16 on average, in directories of 100."""
    root = tmp_path_factory.mktemp("small")
    chance = random.Random(4)
    paths = []
    for number in range(SMALL_FILES):
        if not number % 100:
            (root / f"{number // 100}").mkdir()
        path = root / f"{number // 100}" / f"{number}"
        path.write_bytes(chance.randbytes(chance.randint(1, 32 * 1024)))
        paths.append(str(path))
    return paths


def by_threads(work, items: list, threads: int = THREADS) -> None:
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, [items[number::threads] for number in range(threads)]))


def read_files(paths: list[str]) -> None:
    room = [bytearray(CHUNK_BYTES)]
    for path in paths:
        fd = os.open(path, os.O_RDONLY)
        os.readv(fd, room)
        os.close(fd)


def hash_all(contents: list[bytes]) -> None:
    for content in contents:
        hashlib.sha256(content).digest()


def test_small_files(benchmark, small_files):
    """Rounds in turn, the best of each: what else runs here slows both."""
    contents = [Path(path).read_bytes() for path in small_files]
    best = {"reading": float("inf"), "hashlib": float("inf")}

    def ceiling() -> None:
        for threads in (1, THREADS):
            took = seconds(lambda threads=threads: by_threads(read_files, small_files, threads))
            best["reading"] = min(best["reading"], took)
        best["hashlib"] = min(best["hashlib"], seconds(lambda: by_threads(hash_all, contents)))

    cids = benchmark.pedantic(
        lambda: list(cids_of_files(small_files, threads=THREADS)), setup=ceiling, rounds=12, warmup_rounds=1
    )
    assert cids[:100] == [str(cid_of_file(path)) for path in small_files[:100]]
    ours = benchmark.stats.stats.min
    benchmark.extra_info |= {name: round(took * 1e3, 1) for name, took in best.items()}
    report_ratio(
        benchmark,
        ours / SMALL_FILES * 1e6,
        sum(best.values()) / SMALL_FILES * 1e6,
        "reading the files, then hashing their bytes by two threads",
        Mark(0.9, "of the limit"),
    )
