"""A node's storage: one SQLite database in WAL mode. A write that returned survives SIGKILL and power loss.

SQLite, not LMDB: it commits single offers or 64 at a time as fast (bench/bench_storage.py; LMDB is three
times as fast for 100,000 at once), is in the standard library, and needs no file size given in advance. A
file that cannot be read is never overwritten.
"""

from __future__ import annotations

import errno
import os
import secrets
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import NamedTuple, TypeAlias

from fastmarket.errors import NodeFault, StorageFault
from fastmarket.sqlite_format import EarlierLog, SqliteFormat, pragma
from fastmarket.storage import reading
from fastmarket.storage.directory import KEY_FILE, LOCK_FILE
from fastmarket.storage.watch import Contents, FileWatch, Misplaced, lock_holder

FILE = "offers.db"
APPLICATION_ID = 0x666D6B74  # "fmkt", in the file's header
# `user_version` of the file. A newer program upgrades an older file, one step at a time.
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
    # Offers stored as whole batches, except those in dead slots: a later version of these is stored
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
FORMAT = SqliteFormat(APPLICATION_ID, "is not a fastmarket offer database", MIGRATIONS)
# Short keys in a separate index: rows ordered by their full keys, which are random, take five times as long
# to write.
KEY_BYTES = 16
# Offers of 600 bytes fill 4 KiB pages badly: larger pages save a third of the work for thousands, and cost
# one nothing.
PAGE_BYTES = 16_384
MAX_NUMBER = 2**63 - 1  # the largest SQLite integer
_LAST_NUMBER = 2**62  # of a batch: half of what there is stays for later ones
# One attempt of a writer while another program holds the write lock. The journal retries, and its callers
# wait as long as they like; meanwhile nothing else is written or checked.
BUSY_TIMEOUT_S = 0.25
# Each step of a statement lets other threads run, and then has to reacquire the GIL: many rows per step.
_ROWS_A_STEP = 64
_PUT = "INSERT OR REPLACE INTO offers VALUES (?, ?, ?, ?, ?)"
_PUT_MANY = _PUT + ", (?, ?, ?, ?, ?)" * (_ROWS_A_STEP - 1)
# Own offers are renewed however late; a withdrawn offer must not reappear before its tombstone expires.
_SWEEP_RECORDS = "DELETE FROM records WHERE expires < ? AND NOT own"
_SWEEP = "DELETE FROM offers WHERE not_after < ? AND (withdrawn OR NOT own)"
_RAISE = (
    "INSERT INTO numbers VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)"
)
_SEQ = "seq"
_MARK = "mark"  # a random mark of this database; `writes` counts its transactions: see `storage.watch`
_MADE = "INSERT OR IGNORE INTO numbers VALUES (?, ?)"
_WRITTEN = "INSERT INTO numbers VALUES ('writes', 1) ON CONFLICT (name) DO UPDATE SET value = value + 1"
_GONE = "DELETE FROM offers WHERE key = ?"
_SWEEP_BATCHES = "DELETE FROM batches WHERE not_after < ? AND NOT own"
_SWEEP_DEAD = "DELETE FROM dead WHERE batch NOT IN (SELECT number FROM batches)"


Row: TypeAlias = tuple[bytes, int, int, int, bytes]
"""One offer or tombstone: KEY_BYTES of a hash of the offer's key; 1 for an own one; 1 for a tombstone; its
expiry in Unix seconds; the signed offer. Plain tuples of plain integers: anything else costs SQLite's
adapters, and sorting, twice as much."""


class BatchRow(NamedTuple):
    """A whole batch in wire form. `not_after` is the latest expiry of its offers."""

    number: int
    own: int
    not_after: int
    signed: bytes


@dataclass(frozen=True, slots=True)
class BatchWrites:
    """What is written in the same transaction as rows of single offers.

    `gone`: keys of single offers that a batch replaces; `dead`: (batch, slot) of replaced offers; `over`:
    batches whose offers are all dead; `seq`: the highest seq of own offers among all these.
    """

    gone: Sequence[bytes] = ()
    batches: Sequence[BatchRow] = ()
    dead: Sequence[tuple[int, int]] = ()
    over: Sequence[int] = ()
    seq: int = 0


NO_BATCHES = BatchWrites()


class RecordRow(NamedTuple):
    """A stored DHT value; `own`: put by this node. Times in Unix seconds."""

    key: bytes
    own: bool
    value: bytes
    publisher: bytes
    received: float
    expires: float


class Locked(StorageFault):
    """Another program holds the database's write lock; it may release it at any time."""


class OfferDatabase:
    """The offers and values of one data directory. Usable from any thread, one at a time.

    Nothing is written, and no write succeeds, unless the files are still where they were opened
    (`storage.watch`).
    """

    def __init__(self, directory: Path) -> None:
        """Opens or creates it. NodeFault names a file that is damaged or from a newer version."""
        self.path = directory / FILE
        with self._faults("open"):
            new = not self.path.exists()
            if new:
                os.close(os.open(self.path, os.O_CREAT | os.O_WRONLY, 0o600))
            self._connection = sqlite3.connect(
                self.path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
        self._earlier = EarlierLog(self._connection, self.path)
        try:
            with self._faults("read"):
                self._check()
                self._migrate()
                self._earlier.settle_now()
                self._mark()
        except BaseException:
            self._connection.close()
            raise
        self._log, self._index = (self.path.with_name(FILE + end) for end in ("-wal", "-shm"))
        self._watch = FileWatch(directory)
        self._watch.take((self.path, self._log, self._index, directory / LOCK_FILE))
        self._watch.want((directory / KEY_FILE,))
        self._contents = Contents(self.path, lambda: pragma(self._connection, "schema_version"))

    def offers(self) -> Iterator[tuple[bytes, int]]:
        """All signed offers, and whether they are own ones (1 or 0); no bytes for one that is damaged."""
        with self._faults("read"), closing(self._connection.cursor()) as cursor:
            yield from cursor.execute(reading.OFFERS)

    def batches(self) -> list[tuple[BatchRow, Collection[int]]]:
        """Whole batches, with their dead slots."""
        with self._faults("read"), closing(self._connection.cursor()) as cursor:
            dead: dict[int, list[int]] = {}
            for number, slot in cursor.execute(reading.DEAD):
                dead.setdefault(number, []).append(slot)
            rows = cursor.execute(reading.BATCHES)
            return [(row, dead.get(row.number, ())) for row in map(BatchRow._make, rows)]

    def next_number(self) -> int:
        """A number above those of all batches, and of all dead marks left."""
        with self._faults("read"):
            last = int(self._connection.execute(reading.NEXT_NUMBER).fetchone()[0])
            if last > _LAST_NUMBER:
                raise sqlite3.DatabaseError(f"a batch of number {last}")
            return last + 1

    def seq_floor(self) -> int:
        """The highest seq of any own offer ever written, including forgotten tombstones."""
        with self._faults("read"):
            row = self._connection.execute(reading.NUMBER, (_SEQ,)).fetchone()
            if row and not isinstance(row[0], int):
                raise sqlite3.DatabaseError("the number of the latest offer is not a number")
            return row[0] if row else 0

    def put(self, rows: Iterable[Row], ended: int | None = None, together: BatchWrites = NO_BATCHES) -> None:
        """Writes everything or nothing, each row replacing an earlier version; durable on return.

        Offers that expired before `ended` (Unix seconds) are deleted, except own ones. Raises StorageFault.
        """
        with self._faults("write"), self._in_place(), self._transaction():
            self._connection.executemany(_GONE, [(key,) for key in together.gone])
            # In index order: neighbours share its pages.
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
        """All values that can be read."""
        with self._faults("read"), closing(self._connection.cursor()) as cursor:
            return [RecordRow(*row) for row in cursor.execute(reading.RECORDS)]

    def put_records(self, records: Iterable[RecordRow], ended: float) -> None:
        """Adds values, and deletes those of other nodes that expired before `ended`."""
        with self._faults("write"), self._in_place(), self._transaction():
            self._connection.executemany("INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?, ?, ?)", records)
            self._connection.execute(_SWEEP_RECORDS, (ended,))

    def check(self) -> None:
        """Checks that the files are those that were opened. Raises Misplaced."""
        self._watch.check()
        self._contents.check()

    def close(self) -> None:
        """Checkpoints the log into the file, if both are still ours to write to."""
        if self._ours():
            with self._faults("close"):
                self._connection.close()
        else:
            _leave_open(self._connection)

    def _ours(self) -> bool:
        """Closing writes the log into the main file and unlinks it by name. If another file has that name, or
        was copied over the main one, both would be lost."""
        try:
            if not all(map(self._watch.holds, (self._log, self._index))):
                return False
            if self._watch.holds(self.path):
                self._contents.check()
        except Misplaced:
            return False
        return True

    def _mark(self) -> None:
        """Marks the database at its first opening, and in the main file; or later, if it is locked now."""
        if self._connection.execute("SELECT 1 FROM numbers WHERE name = ?", (_MARK,)).fetchone():
            return
        try:
            with self._transaction():
                self._connection.execute(_MADE, (_MARK, secrets.randbits(62)))
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            if not _for_now(error):
                raise

    @contextmanager
    def _in_place(self) -> Iterator[None]:
        self.check()
        yield
        self.check()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._earlier.settle()
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute(_WRITTEN)
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def _check(self) -> None:
        """Checks the file's type, version and integrity before anything is written."""
        FORMAT.check(self._connection, self.path)
        found = self._connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise sqlite3.DatabaseError(str(found))

    def _migrate(self) -> None:
        connection = self._connection
        connection.execute(f"PRAGMA page_size={PAGE_BYTES}")  # for a new file; existing files keep theirs
        connection.execute("PRAGMA journal_mode=WAL")
        # FULL syncs the log at every commit; NORMAL would lose the last commits on power loss.
        connection.execute("PRAGMA synchronous=FULL")
        FORMAT.migrate(connection)

    @contextmanager
    def _faults(self, doing: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            why = reason(error, self.path)
            if doing in ("open", "read") and not _for_now(error):
                raise NodeFault(
                    f"cannot {doing} {self.path}: {why}; it was not changed. Restore it from a backup, or "
                    "move it away to start with no offers"
                ) from None
            # Goes to callers, who are not told where.
            fault = Locked if _code(error) in _LOCKED else StorageFault
            raise fault(f"cannot {doing} {self.path.name}: {why}") from None


_LOCKED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_WORDS = {
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_READONLY: "the file, its directory or its file system cannot be written to",
    sqlite3.SQLITE_IOERR: "the disk reports an error; check the system's log (dmesg)",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; check the directory's permissions and the open file limit",
    sqlite3.SQLITE_PERM: "this user lacks permission",
    sqlite3.SQLITE_CORRUPT: "it is damaged",
    sqlite3.SQLITE_NOTADB: "it is damaged, or is not a database",
}


def reason(error: Exception, path: Path) -> str:
    """Explains a fault of the database at `path` to people."""
    if isinstance(error, OSError):
        return (error.strerror or str(error)).lower()
    if _code(error) in _LOCKED:
        who = lock_holder(path)
        return f"the database is locked by another program{f', {who}' if who else ''}; it must release it"
    words = _WORDS.get(_code(error))
    name = getattr(error, "sqlite_errorname", None)
    return f"{words} ({name or error}: {error})" if words else str(error)


def _code(error: Exception) -> int:
    """SQLite's primary result code; 0 if the error is not SQLite's."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _for_now(error: Exception) -> bool:
    """Whether the fault may pass: a full disk, a locked file."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return _code(error) in (sqlite3.SQLITE_FULL, *_LOCKED)


def _leave_open(connection: sqlite3.Connection) -> None:
    """Leaks the connection until the process ends: one that is garbage-collected closes itself."""
    import ctypes

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))
