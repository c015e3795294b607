"""Tabs on disk: one SQLite database in WAL mode, a row for each buyer and for each seller.

A write that returned survives SIGKILL and power loss. One connection reads, in the event loop; the other one
writes, in a thread, and all that waits for it is written together.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TypeVar

from fastmarket.errors import NodeFault, StorageFault
from fastmarket.payments.ledger import EARLIER, month_of
from fastmarket.payments.rows import BuyerRow, SellerRow
from fastmarket.sqlite_format import EarlierLog, SqliteFormat, pragma
from fastmarket.storage.tab_text import DamagedTab, row_of
from fastmarket.storage.tab_writing import fill_in, fold_months, put_rows

FILE = "payments.db"
APPLICATION_ID = 0x666D7062  # "fmpb", in the file's header
# `user_version` of the file. A newer program upgrades an older file, one step at a time.
MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE buyers (
        peer BLOB NOT NULL,
        currency TEXT NOT NULL,
        row TEXT NOT NULL,
        PRIMARY KEY (peer, currency)
    ) WITHOUT ROWID;
    CREATE TABLE sellers (
        peer BLOB NOT NULL,
        currency TEXT NOT NULL,
        day INTEGER NOT NULL,
        day_amount INTEGER NOT NULL,
        row TEXT NOT NULL,
        PRIMARY KEY (peer, currency)
    ) WITHOUT ROWID;
    CREATE INDEX sellers_by_day ON sellers (day);
    """,
    # What is told of tabs, beside the rows that are kept of them; NULL: not yet filled in from the row.
    """
    ALTER TABLE buyers ADD COLUMN paid_bytes INTEGER;
    ALTER TABLE buyers ADD COLUMN paid_amount INTEGER;
    ALTER TABLE buyers ADD COLUMN unpaid_bytes INTEGER;
    ALTER TABLE buyers ADD COLUMN unpaid_amount INTEGER;
    ALTER TABLE buyers ADD COLUMN lost_bytes INTEGER;
    ALTER TABLE buyers ADD COLUMN lost_amount INTEGER;
    ALTER TABLE buyers ADD COLUMN defaults INTEGER;
    ALTER TABLE buyers ADD COLUMN blocked INTEGER;
    ALTER TABLE sellers ADD COLUMN paid_bytes INTEGER;
    ALTER TABLE sellers ADD COLUMN paid_amount INTEGER;
    ALTER TABLE sellers ADD COLUMN unpaid_bytes INTEGER;
    ALTER TABLE sellers ADD COLUMN unpaid_amount INTEGER;
    CREATE TABLE months (
        side INTEGER NOT NULL,
        month INTEGER NOT NULL,
        peer BLOB NOT NULL,
        currency TEXT NOT NULL,
        receipts INTEGER NOT NULL,
        bytes INTEGER NOT NULL,
        amount INTEGER NOT NULL,
        PRIMARY KEY (side, month, peer, currency)
    ) WITHOUT ROWID;
    """,
)
FORMAT = SqliteFormat(APPLICATION_ID, "has no tabs of fastmarket", MIGRATIONS)
BUSY_TIMEOUT_S = 10.0  # another program, which has no business here, holds the file
READ_TIMEOUT_S = 0.05  # likewise, in the event loop, where others wait; a read itself takes some 0.1 ms
# Beyond it, buyers that are not known get no account: some 185,000 with a receipt, 1.4 kB each
MAX_FILE_BYTES = 256 << 20
# A row with a receipt takes 0.9 kB, and one above a quarter of a page gets pages of its own: with pages of
# 4 KiB it took 4.7 kB, and 0.2 ms to write in place of 0.14
PAGE_BYTES = 16_384
MAX_LOG_BYTES = 16 << 20  # to which the write-ahead log is cut after it was longer

AnyRow = SellerRow | BuyerRow
Kind = TypeVar("Kind", SellerRow, BuyerRow)


class TabDatabase:
    """The file, with both its connections."""

    def __init__(self, directory: Path) -> None:
        """Opens or creates it. NodeFault names a file that is damaged or from a newer version."""
        self.path = directory / FILE
        self._folded = EARLIER  # the month in which old ones were last made one
        with self._faults("open"):
            if not self.path.exists():
                os.close(os.open(self.path, os.O_CREAT | os.O_WRONLY, 0o600))
            self._writer = self._connect()
            self._earlier = EarlierLog(self._writer, self.path)
        try:
            with self._faults("open"):
                self._check()
                self._migrate()
                self._reader = self._connect(READ_TIMEOUT_S)
                self._reader.execute("PRAGMA query_only=1")
        except BaseException:
            self._writer.close()
            raise

    def write(self, rows: Sequence[AnyRow], now: float) -> None:
        """All of them, or none: on disk when it returns; what they add counts for the month of `now`, in Unix
        seconds. In one thread at a time. Raises StorageFault."""
        month = month_of(now)
        with self._faults("write"), self._changing() as connection:
            put_rows(connection, rows, month)
            if month != self._folded:
                fold_months(connection)
        self._folded = month

    def find_buyer(self, buyer: bytes, currency: str) -> SellerRow | None:
        """What a seller knows of a buyer. Raises NodeFault."""
        return self._find(SellerRow, "buyers", buyer, currency)

    def find_seller(self, seller: bytes, currency: str) -> BuyerRow | None:
        """What a buyer knows of a seller. Raises NodeFault."""
        return self._find(BuyerRow, "sellers", seller, currency)

    def buyers(self) -> Iterator[SellerRow]:
        """All of them, by peer id. Raises NodeFault."""
        return self._all(SellerRow, "buyers")

    def sellers(self) -> Iterator[BuyerRow]:
        """Likewise."""
        return self._all(BuyerRow, "sellers")

    def unpaid_sellers(self, most: int) -> list[bytes]:
        """Up to so many that lack a receipt, or were not yet signed one for what came. Raises NodeFault."""
        found = (row.seller for row in self.sellers() if row.due or (row.receipt and not row.is_accepted))
        return list(islice(found, most))

    def spent(self, day: int) -> int:
        """Amounts of receipts that were signed on that day of UTC. Raises NodeFault."""
        with self._faults("read"):
            rows = self._reader.execute("SELECT day_amount FROM sellers WHERE day = ?", (day,)).fetchall()
        return sum(int(row[0]) for row in rows)

    def takes_new(self) -> bool:
        """Whether the file is below the size from which no rows of further parties are added. Raises
        NodeFault."""
        with self._faults("read"):
            pages, size = (pragma(self._reader, name) for name in ("page_count", "page_size"))
        return pages * size < MAX_FILE_BYTES

    def close(self) -> None:
        """Writes the log into the file."""
        self._reader.close()
        self._writer.close()

    def _find(self, kind: type[Kind], table: str, peer: bytes, currency: str) -> Kind | None:
        with self._faults("read"):
            found = self._reader.execute(
                f"SELECT row FROM {table} WHERE peer = ? AND currency = ?", (peer, currency)
            ).fetchone()
        return None if found is None else self._read(kind, found[0])

    def _all(self, kind: type[Kind], table: str) -> Iterator[Kind]:
        with self._faults("read"):
            rows = self._reader.execute(f"SELECT row FROM {table} ORDER BY peer, currency").fetchall()
        return (self._read(kind, row[0]) for row in rows)

    def _read(self, kind: type[Kind], text: object) -> Kind:
        try:
            return row_of(kind, str(text))
        except DamagedTab as error:
            raise self._damaged(f"a row that no fastmarket wrote: {error}") from None

    def _connect(self, timeout_s: float = BUSY_TIMEOUT_S) -> sqlite3.Connection:
        return sqlite3.connect(self.path, timeout=timeout_s, isolation_level=None, check_same_thread=False)

    def _check(self) -> None:
        FORMAT.check(self._writer, self.path)

    def _migrate(self) -> None:
        self._writer.execute(f"PRAGMA page_size={PAGE_BYTES}")  # for a new file; existing files keep theirs
        self._writer.execute("PRAGMA journal_mode=WAL")
        self._writer.execute("PRAGMA synchronous=FULL")
        self._writer.execute(f"PRAGMA journal_size_limit={MAX_LOG_BYTES}")
        FORMAT.migrate(self._writer)
        try:
            with self._changing() as connection:
                fill_in(connection)
        except DamagedTab as error:
            raise self._damaged(f"a row that no fastmarket wrote: {error}") from None

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        """One transaction: all or nothing."""
        self._earlier.settle()
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            yield self._writer
            self._writer.execute("COMMIT")
        except BaseException:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            raise

    def _damaged(self, why: str) -> NodeFault:
        return NodeFault(
            f"{self.path}: {why}; it was not changed. Restore it from a backup, or move it away: then what "
            "was owed is forgotten"
        )

    @contextmanager
    def _faults(self, doing: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            code = int(getattr(error, "sqlite_errorcode", 0)) & 0xFF
            if doing == "open" or code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                raise self._damaged(f"cannot {doing}: {error}") from None
            raise StorageFault(f"cannot {doing} {self.path.name}: {error}") from None


class BuyerTable:
    """`payments.rows.SellerRows` of a database: buyers, as their seller knows them."""

    def __init__(self, database: TabDatabase) -> None:
        self._database = database

    def find(self, buyer: bytes, currency: str) -> SellerRow | None:
        """See `SellerRows`."""
        return self._database.find_buyer(buyer, currency)

    def takes_new(self) -> bool:
        """See `SellerRows`."""
        return self._database.takes_new()


class SellerTable:
    """`payments.rows.BuyerRows` of a database: sellers, as their buyer knows them."""

    def __init__(self, database: TabDatabase) -> None:
        self._database = database

    def find(self, seller: bytes, currency: str) -> BuyerRow | None:
        """See `BuyerRows`."""
        return self._database.find_seller(seller, currency)

    def spent(self, day: int) -> int:
        """See `BuyerRows`."""
        return self._database.spent(day)


class TabJournal:
    """Group commit: what comes while a write is in progress is written together with the next."""

    def __init__(self, database: TabDatabase, now: Callable[[], float]) -> None:
        """`now`: Unix seconds."""
        self._database = database
        self._now = now
        self._thread = ThreadPoolExecutor(1, "fastmarket-tabs")
        self._waiting: list[tuple[Sequence[AnyRow], asyncio.Future[None]]] = []
        self._writing: asyncio.Future[None] | None = None
        self.commits = 0
        """Successful writes."""

    def put(self, rows: Sequence[AnyRow]) -> asyncio.Future[None]:
        """Completes when the rows are on disk, in the order of calls; raises StorageFault."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((rows, done))
        if self._writing is None:
            self._begin()
        return done

    async def close(self) -> None:
        """Writes what waits, and then nothing more."""
        while self._writing is not None:
            await asyncio.wait({self._writing})
            await asyncio.sleep(0)  # its end begins the next
        self._thread.shutdown(wait=False)

    def _begin(self) -> None:
        batch, self._waiting = self._waiting, []
        rows = [row for some, _ in batch for row in some]
        loop = asyncio.get_running_loop()
        self._writing = loop.run_in_executor(self._thread, self._database.write, rows, self._now())
        self._writing.add_done_callback(lambda writing: self._on_written(writing, batch))

    def _on_written(
        self, writing: asyncio.Future[None], batch: Sequence[tuple[Sequence[AnyRow], asyncio.Future[None]]]
    ) -> None:
        fault = StorageFault("the node is shutting down") if writing.cancelled() else writing.exception()
        self._writing = None
        self.commits += fault is None
        if self._waiting:
            self._begin()
        for _, done in batch:
            if done.cancelled():
                continue
            if fault is None:
                done.set_result(None)
            else:
                done.set_exception(fault)
                done.exception()  # whether or not anybody waits for it
