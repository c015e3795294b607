"""Offers on disk: SQLite, as shipped, against LMDB (`pip install lmdb`; left out without it).

`python bench/bench_storage.py`: one commit of one offer, commits of 64, 100,000 offers at once, and reading
them at a start. All on the file system of the working directory, every commit synced.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from fastmarket.storage.database import KEY_BYTES, OfferDatabase, Row

OFFERS = 100_000
SIGNED_BYTES = 650  # an offer of a full batch
SINGLE, GROUPS, GROUP = 300, 100, 64


class Store(Protocol):
    """What both are asked to do."""

    def put(self, rows: Sequence[Row]) -> None: ...

    def offers(self) -> Iterator[tuple[bytes, int]]: ...


class Lmdb:
    """Key and value, one write transaction a call, synced."""

    def __init__(self, directory: Path) -> None:
        import lmdb

        self._env = lmdb.open(str(directory / "offers.mdb"), map_size=1 << 30, subdir=False)

    def put(self, rows: Sequence[Row]) -> None:
        with self._env.begin(write=True) as transaction:
            for row in rows:
                transaction.put(row[0], bytes((row[1],)) + row[4])

    def offers(self) -> Iterator[tuple[bytes, int]]:
        with self._env.begin() as transaction:
            for _, value in transaction.cursor():
                yield value[1:], value[0]


def main() -> None:
    """Prints a line for each store."""
    rows = [
        (hashlib.sha256(b"%d" % n).digest()[:KEY_BYTES], 1, 0, 2**31, os.urandom(SIGNED_BYTES))
        for n in range(OFFERS)
    ]
    print(f"{'':8}{'one a commit':>16}{'64 a commit':>16}{'100,000':>12}{'read all':>12}")
    for name, make in (("sqlite3", OfferDatabase), ("lmdb", Lmdb)):
        with tempfile.TemporaryDirectory(dir=".") as directory:
            try:
                store: Store = make(Path(directory))  # type: ignore[assignment]
            except ModuleNotFoundError:
                print(f"{name:8} not installed")
                continue
            single, groups, bulk, read = figures(store, rows)
            print(f"{name:8}{single * 1e6:13.0f} us{groups * 1e6:13.0f} us{bulk:10.2f} s{read:10.2f} s")


def figures(store: Store, rows: Sequence[Row]) -> tuple[float, float, float, float]:
    """Seconds for a commit of one, a commit of GROUP, all in one commit, and reading all."""
    single = took(lambda: [store.put(rows[n : n + 1]) for n in range(SINGLE)]) / SINGLE
    groups = took(lambda: [store.put(rows[n * GROUP :][:GROUP]) for n in range(GROUPS)]) / GROUPS
    return single, groups, took(lambda: store.put(rows)), took(lambda: sum(1 for _ in store.offers()))


def took(action: Callable[[], object]) -> float:
    """Seconds."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
