"""What a node keeps: one SQLite database in WAL mode. A write that returned survives SIGKILL and power loss.

SQLite and not LMDB: as quick for commits as they come, of one offer or of 64 (bench/bench_storage.py; LMDB is
three times as quick where 100,000 come at once), in the standard library, and its file needs no size given
beforehand. What cannot be read is never written over.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import NamedTuple, TypeAlias

from fastmarket.errors import NodeFault, StorageFault

FILE = "offers.db"
APPLICATION_ID = 0x666D6B74  # "fmkt", in the file's header
# `user_version` of the file. A newer program brings an older file up to date, one step after the other.
MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE offers (
        key BLOB PRIMARY KEY,
        own INTEGER NOT NULL,
        withdrawn INTEGER NOT NULL,
        not_after INTEGER NOT NULL,
        signed BLOB NOT NULL
    );
    """,
    """
    CREATE TABLE records (
        key BLOB PRIMARY KEY,
        own INTEGER NOT NULL,
        value BLOB NOT NULL,
        publisher BLOB NOT NULL,
        received REAL NOT NULL,
        expires REAL NOT NULL
    );
    """,
    # Offers that were put as a whole batch, but for those in the slots that are dead: a later version is kept
    # elsewhere.
    """
    CREATE TABLE batches (
        number INTEGER PRIMARY KEY,
        own INTEGER NOT NULL,
        not_after INTEGER NOT NULL,
        signed BLOB NOT NULL
    );
    CREATE TABLE dead (
        batch INTEGER NOT NULL,
        slot INTEGER NOT NULL,
        PRIMARY KEY (batch, slot)
    ) WITHOUT ROWID;
    CREATE TABLE numbers (
        name TEXT PRIMARY KEY,
        value INTEGER NOT NULL
    );
    """,
)
VERSION = len(MIGRATIONS)
# Short keys in an index of their own: rows of offers in the order of their full keys, which are random, take
# five times as long to write.
KEY_BYTES = 16
# Offers of 600 bytes fill 4 KiB pages badly: a third less work for thousands of them, the same for one.
PAGE_BYTES = 16_384
MAX_NUMBER = 2**63 - 1  # that SQLite holds
# A writer waits so long for a reader of the file from outside (a backup).
BUSY_TIMEOUT_S = 5.0
# A step of a statement lets other threads run, and has to get back in: with many rows a step that is seldom.
_ROWS_A_STEP = 64
_PUT = "INSERT OR REPLACE INTO offers VALUES (?, ?, ?, ?, ?)"
_PUT_MANY = _PUT + ", (?, ?, ?, ?, ?)" * (_ROWS_A_STEP - 1)
# Own offers are renewed however late; what others must not see again ends with its tombstone.
_SWEEP_RECORDS = "DELETE FROM records WHERE expires < ? AND NOT own"
_SWEEP = "DELETE FROM offers WHERE not_after < ? AND (withdrawn OR NOT own)"
_RAISE = (
    "INSERT INTO numbers VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)"
)
_SEQ = "seq"
_GONE = "DELETE FROM offers WHERE key = ?"
_SWEEP_BATCHES = "DELETE FROM batches WHERE not_after < ? AND NOT own"
_NEXT_NUMBER = """
SELECT max((SELECT coalesce(max(number), 0) FROM batches), (SELECT coalesce(max(batch), 0) FROM dead)) + 1
"""
_SWEEP_DEAD = "DELETE FROM dead WHERE batch NOT IN (SELECT number FROM batches)"


Row: TypeAlias = tuple[bytes, int, int, int, bytes]
"""One offer, a tombstone perhaps: KEY_BYTES of a hash of what makes two offers versions of one; 1 for an own
one; 1 for a tombstone; its end in unix seconds; the offer as it was signed. Plain tuples of plain integers:
SQLite's adapters take, and sorting puts, anything else in order at twice the price."""


class BatchRow(NamedTuple):
    """A whole batch, as it travels. `not_after`: the end of the last of its offers."""

    number: int
    own: int
    not_after: int
    signed: bytes


@dataclass(frozen=True, slots=True)
class BatchWrites:
    """What is written together with rows of single offers.

    `gone`: keys of single offers that a batch replaces; `dead`: (batch, slot) of offers that something
    replaces; `over`: batches all of whose offers are dead. `seq`: of own offers among all this the highest.
    """

    gone: Sequence[bytes] = ()
    batches: Sequence[BatchRow] = ()
    dead: Sequence[tuple[int, int]] = ()
    over: Sequence[int] = ()
    seq: int = 0


NO_BATCHES = BatchWrites()


class RecordRow(NamedTuple):
    """A value of the DHT as it is held; `own`: put by this node. Times in unix seconds."""

    key: bytes
    own: bool
    value: bytes
    publisher: bytes
    received: float
    expires: float


class OfferDatabase:
    """Offers and values of one data directory. For any thread, but one at a time."""

    def __init__(self, directory: Path) -> None:
        """Opens or creates it. NodeFault names a file that is damaged, or written by a newer version."""
        self.path = directory / FILE
        with self._faults("open"):
            new = not self.path.exists()
            if new:
                os.close(os.open(self.path, os.O_CREAT | os.O_WRONLY, 0o600))
            self._connection = sqlite3.connect(
                self.path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
        try:
            with self._faults("read"):
                self._check()
                self._migrate()
        except BaseException:
            self._connection.close()
            raise

    def offers(self) -> Iterator[tuple[bytes, int]]:
        """All of them as they were signed, and whether they are own ones (1 or 0)."""
        with self._faults("read"), closing(self._connection.cursor()) as cursor:
            yield from cursor.execute("SELECT signed, own FROM offers")

    def batches(self) -> list[tuple[BatchRow, Collection[int]]]:
        """Whole batches, and which of their slots are dead."""
        with self._faults("read"), closing(self._connection.cursor()) as cursor:
            dead: dict[int, list[int]] = {}
            for number, slot in cursor.execute("SELECT batch, slot FROM dead"):
                dead.setdefault(number, []).append(slot)
            rows = cursor.execute("SELECT number, own, not_after, signed FROM batches")
            return [(row, dead.get(row.number, ())) for row in map(BatchRow._make, rows)]

    def next_number(self) -> int:
        """Above that of any batch, and of any that a mark is left of."""
        with self._faults("read"):
            row = self._connection.execute(_NEXT_NUMBER).fetchone()
            return int(row[0])

    def seq_floor(self) -> int:
        """The highest seq of an own offer ever written, tombstones that are forgotten included."""
        with self._faults("read"):
            row = self._connection.execute("SELECT value FROM numbers WHERE name = ?", (_SEQ,)).fetchone()
            return int(row[0]) if row else 0

    def put(self, rows: Iterable[Row], ended: int | None = None, together: BatchWrites = NO_BATCHES) -> None:
        """Writes all of it or nothing, each row in the place of an earlier version; durable on return.

        What ended before `ended` (unix seconds) is forgotten, but for own offers. Raises StorageFault.
        """
        with self._faults("write"), self._transaction():
            self._connection.executemany(_GONE, [(key,) for key in together.gone])
            # In the order of the index: neighbours share its pages.
            ordered = sorted(rows)
            single = len(ordered) % _ROWS_A_STEP
            self._connection.executemany(_PUT, ordered[:single])
            for at in range(single, len(ordered), _ROWS_A_STEP):
                many = ordered[at : at + _ROWS_A_STEP]
                self._connection.execute(_PUT_MANY, tuple(chain.from_iterable(many)))
            self._put_batches(together)
            if ended is not None:
                for sweep in (_SWEEP, _SWEEP_BATCHES):
                    self._connection.execute(sweep, (ended,))
                self._connection.execute(_SWEEP_DEAD)

    def _put_batches(self, together: BatchWrites) -> None:
        connection = self._connection
        connection.executemany("INSERT OR REPLACE INTO batches VALUES (?, ?, ?, ?)", together.batches)
        connection.executemany("INSERT OR IGNORE INTO dead VALUES (?, ?)", together.dead)
        for statement in ("DELETE FROM batches WHERE number = ?", "DELETE FROM dead WHERE batch = ?"):
            connection.executemany(statement, [(number,) for number in together.over])
        if together.seq:
            connection.execute(_RAISE, (_SEQ, together.seq))

    def records(self) -> list[RecordRow]:
        """All values."""
        with self._faults("read"), closing(self._connection.cursor()) as cursor:
            return [RecordRow(*row) for row in cursor.execute("SELECT * FROM records")]

    def put_records(self, records: Iterable[RecordRow], ended: float) -> None:
        """Adds values, and drops those of others that ended before `ended`."""
        with self._faults("write"), self._transaction():
            self._connection.executemany("INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?, ?, ?)", records)
            self._connection.execute(_SWEEP_RECORDS, (ended,))

    def close(self) -> None:
        """Folds the log into the file."""
        with self._faults("close"):
            self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def _check(self) -> None:
        """Whose file it is, how old, and whether it is whole; before anything is written."""
        application, version = (self._pragma(name) for name in ("application_id", "user_version"))
        empty = not self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if empty and application == 0 and version == 0:
            return
        if application != APPLICATION_ID:
            raise NodeFault(f"{self.path} is no offer database of fastmarket; move it away to start anew")
        if version > VERSION:
            raise NodeFault(
                f"{self.path} was written by a newer fastmarket (format {version}, this one knows "
                f"{VERSION}); nothing was changed"
            )
        found = self._connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise sqlite3.DatabaseError(str(found))

    def _migrate(self) -> None:
        connection = self._connection
        connection.execute(f"PRAGMA page_size={PAGE_BYTES}")  # of a new file; others keep theirs
        connection.execute("PRAGMA journal_mode=WAL")
        # FULL: the log is synced at every commit; NORMAL would lose the last ones with the power.
        connection.execute("PRAGMA synchronous=FULL")
        for version in range(self._pragma("user_version"), VERSION):
            connection.executescript(
                f"BEGIN IMMEDIATE; {MIGRATIONS[version]} PRAGMA application_id={APPLICATION_ID}; "
                f"PRAGMA user_version={version + 1}; COMMIT;"
            )

    def _pragma(self, name: str) -> int:
        return int(self._connection.execute(f"PRAGMA {name}").fetchone()[0])

    @contextmanager
    def _faults(self, doing: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            if doing in ("open", "read") and not _for_now(error):
                raise NodeFault(
                    f"cannot {doing} {self.path}: {error}; nothing was changed. Restore it from a backup, or "
                    "move it away to start with no offers"
                ) from None
            raise StorageFault(f"cannot {doing} {self.path}: {error}") from None


def _for_now(error: Exception) -> bool:
    """Something that passes: a full disk, a locked file."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
