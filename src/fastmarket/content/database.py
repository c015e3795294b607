"""The catalogue's file: one SQLite database in WAL mode, in the data directory, apart from the offers.

One connection reads, in the event loop: a commit by another never keeps it waiting. The other one writes,
from any thread, one at a time.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastmarket.content.cells import DamagedCells, check_cells
from fastmarket.errors import NodeFault, StorageFault
from fastmarket.sqlite_format import EarlierLog, SqliteFormat

FILE = "content.db"
APPLICATION_ID = 0x666D6B63  # "fmkc", in the file's header
# `user_version` of the file. A newer program upgrades an older file, one step at a time.
MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE orders (
        id INTEGER PRIMARY KEY,
        path BLOB NOT NULL,
        profile TEXT NOT NULL,
        each_file INTEGER NOT NULL,
        watched INTEGER NOT NULL,
        price INTEGER NOT NULL,
        user_id BLOB NOT NULL,
        user_name TEXT NOT NULL,
        finished INTEGER NOT NULL,
        UNIQUE (path, profile)
    );
    CREATE TABLE goods (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        path BLOB NOT NULL,
        ordered INTEGER NOT NULL,
        directory INTEGER NOT NULL,
        prefix BLOB NOT NULL,
        digest BLOB NOT NULL,
        size INTEGER NOT NULL,
        blocks INTEGER NOT NULL,
        state INTEGER NOT NULL,
        UNIQUE (path, ordered)
    );
    CREATE INDEX goods_by_order ON goods (ordered);
    CREATE INDEX goods_by_root ON goods (digest);
    CREATE TABLE files (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        path BLOB NOT NULL,
        profile TEXT NOT NULL,
        stamp BLOB NOT NULL,
        prefix BLOB NOT NULL,
        digest BLOB NOT NULL,
        tree_bytes INTEGER NOT NULL,
        blocks INTEGER NOT NULL,
        state INTEGER NOT NULL,
        UNIQUE (path, profile)
    );
    CREATE INDEX files_by_root ON files (digest);
    CREATE TABLE members (
        good INTEGER NOT NULL,
        file INTEGER NOT NULL,
        PRIMARY KEY (good, file)
    ) WITHOUT ROWID;
    CREATE INDEX members_by_file ON members (file);
    CREATE TABLE blocks (
        digest BLOB NOT NULL,
        owner INTEGER NOT NULL,
        place INTEGER NOT NULL,
        PRIMARY KEY (digest, owner)
    ) WITHOUT ROWID;
    CREATE TABLE nodes (
        id INTEGER PRIMARY KEY,
        block BLOB NOT NULL
    );
    CREATE TABLE imports (
        file INTEGER PRIMARY KEY,
        path BLOB NOT NULL,
        profile TEXT NOT NULL,
        stamp BLOB NOT NULL,
        UNIQUE (path, profile)
    );
    CREATE TABLE dropped (
        owner INTEGER PRIMARY KEY,
        digest BLOB NOT NULL
    );
    """,
)
FORMAT = SqliteFormat(APPLICATION_ID, "is not a fastmarket catalogue", MIGRATIONS)
PAGE_BYTES = 8192
"""A block's row has some 48 bytes: of 4 million, the nodes above the pages of rows fit into the cache."""
CACHE_KIB = 4096  # of each of the two connections
MAX_LOG_BYTES = 64 << 20  # to which the write-ahead log is cut after it was longer
BUSY_TIMEOUT_S = 10.0  # another program, which has no business here, holds the file


class ContentDatabase:
    """The file with both its connections."""

    def __init__(self, directory: Path) -> None:
        """Opens or creates it. NodeFault names a file that is damaged or from a newer version."""
        self.path = directory / FILE
        self._lock = threading.RLock()
        self.commits = 0
        """Writes so far: what was read before another one may no longer be right."""
        with self._faults("open"):
            if not self.path.exists():
                os.close(os.open(self.path, os.O_CREAT | os.O_WRONLY, 0o600))
            self._writer = self._connect()
            self._earlier = EarlierLog(self._writer, self.path)
        try:
            with self._faults("read"):
                self._check()
                self._migrate()
                self._earlier.settle_now()
                check_cells(self._writer)
                self.reader = self._connect()
                self.reader.execute("PRAGMA query_only=1")
        except BaseException:
            self._writer.close()
            raise

    @contextmanager
    def writing(self, *, durable: bool = False) -> Iterator[sqlite3.Connection]:
        """A transaction: everything in it is written, or nothing. Raises StorageFault.

        It survives the end of the process, and power loss if `durable`, with all that was written before.
        """
        with self._lock, self._faults("write"):
            self._earlier.settle()
            self._writer.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
                self.commits += 1
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection that writes, for a thread that reads: nothing is written meanwhile."""
        with self._lock, self._faults("read"):
            yield self._writer

    def rows(self, query: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """The rows of a query, for the event loop: no writer keeps it waiting. Raises NodeFault."""
        with self._faults("read"):
            return self.reader.execute(query, parameters).fetchall()

    def close(self) -> None:
        """Writes the log into the file."""
        with self._lock:
            self.reader.close()
            self._writer.close()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        connection.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
        return connection

    def _check(self) -> None:
        FORMAT.check(self._writer, self.path)

    def _migrate(self) -> None:
        self._writer.execute(f"PRAGMA page_size={PAGE_BYTES}")  # for a new file; existing files keep theirs
        self._writer.execute("PRAGMA journal_mode=WAL")
        self._writer.execute(f"PRAGMA journal_size_limit={MAX_LOG_BYTES}")
        FORMAT.migrate(self._writer)

    @contextmanager
    def _faults(self, doing: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            if doing == "open" or (isinstance(error, sqlite3.DatabaseError) and _is_damaged(error)):
                raise NodeFault(
                    f"cannot {doing} {self.path}: {error}; it was not changed. Restore it from a backup, or "
                    "move it away and sell again"
                ) from None
            # Goes to callers, who are not told where.
            raise StorageFault(f"cannot {doing} {self.path.name}: {error}") from None


def _is_damaged(error: sqlite3.DatabaseError) -> bool:
    code = int(getattr(error, "sqlite_errorcode", 0)) & 0xFF
    return isinstance(error, DamagedCells) or code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
