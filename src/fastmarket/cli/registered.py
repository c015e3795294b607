"""The list on disk of what was registered from which files; an interrupted run continues from it.

Content is offered once, however many paths have it; its offer is withdrawn when the last of them is gone.
A path's former content stays among the old contents until its offer is withdrawn.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

from fastmarket.cli.presence import Presence, presence
from fastmarket.errors import CallerFault, NodeFault
from fastmarket.formats.cid import SHA2_256_PREFIX, Cid, Codec, content_multihash
from fastmarket.hashing import FileState

FILE = "registered.db"
LOCK = "registered.lock"  # held while opening the file: SQLite does not wait while another process creates it
FORMAT = 2  # `user_version` of the file
BUSY_S = 30.0  # to wait for other runs, which lock the file for one batch at a time
# FAT has the coarsest timestamps of all file systems. A file changed this shortly before it was examined is
# hashed again next time: a further change might not show in its timestamp.
SETTLED_NS = 2_000_000_000
_UNSETTLED = "~"  # prefix of a state
BY_NAME = b"name:"  # instead of a path (which begins with a slash): registered by CID or hash
_SCHEMA = (
    """CREATE TABLE files (
        node TEXT, user BLOB, path BLOB, state TEXT, terms TEXT, cid TEXT, PRIMARY KEY (node, user, path)
    ) WITHOUT ROWID""",
    "CREATE INDEX files_by_cid ON files (cid)",
    """CREATE TABLE old (
        node TEXT, user BLOB, path BLOB, cid TEXT, PRIMARY KEY (node, user, path, cid)
    ) WITHOUT ROWID""",
)
# The first format identified a file by its size and one timestamp: the next run hashes each file once.
_FROM_FIRST = (
    "ALTER TABLE files RENAME TO first",
    "DROP INDEX files_by_cid",
    *_SCHEMA,
    "INSERT INTO files SELECT node, user, path, '', terms, cid FROM first",
    "DROP TABLE first",
)


class Entry(NamedTuple):
    """A path as registered under these terms; `state` is empty if unknown."""

    path: bytes
    state: str
    terms: str
    cid: str

    @property
    def device(self) -> int | None:
        """The file's device."""
        return _device(self.state)

    def sent(self) -> Entry:
        """The entry while the node's answer is outstanding: its state equals no state of a file."""
        return self if self.state.startswith(_UNSETTLED) else self._replace(state=_UNSETTLED + self.state)


def state_text(state: FileState, now_ns: int) -> str:
    """The form the list stores; prefixed with `~`, which never compares equal, if the file may change
    unseen."""
    unsettled = now_ns - state.changed_ns < SETTLED_NS
    return _UNSETTLED * unsettled + exact(state)


def _device(state: str) -> int | None:
    number = state.lstrip(_UNSETTLED).partition(" ")[0]
    return int(number) if number else None


def exact(state: FileState) -> str:
    """The form to compare with the list."""
    return " ".join(map(str, state))


def content_name(text: str) -> str:
    """One canonical name for all names of the content: its CIDv0, or its multihash in hex."""
    try:
        multihash = content_multihash(text)
    except CallerFault:
        return text
    if multihash.startswith(SHA2_256_PREFIX):
        return str(Cid(0, Codec.DAG_PB, multihash))
    return multihash.hex()


def path_key(path: Path) -> bytes:
    """The file's absolute path with links resolved, except the file itself if it is a link."""
    return os.fsencode(os.path.join(os.path.realpath(path.parent), path.name))


class RegisteredList:
    """What was registered at one node in one user's name. Raises `NodeFault` with the file's name."""

    def __init__(self, directory: Path, node: str, user: bytes) -> None:
        """`node` is the node's peer id."""
        self.path = directory / FILE
        self._whose = (node, user)
        with self._faults():
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._connection = _open(self.path)

    def __enter__(self) -> RegisteredList:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def entry(self, path: bytes) -> Entry | None:
        """The entry of that path."""
        with self._faults():
            found = self._connection.execute(
                "SELECT path, state, terms, cid FROM files WHERE node=? AND user=? AND path=?",
                (*self._whose, path),
            ).fetchone()
        return None if found is None else Entry(*found)

    def under(self, root: bytes) -> list[Entry]:
        """The entries of files below a directory, or of the path itself."""
        with self._faults():
            rows = self._connection.execute(
                f"SELECT path, state, terms, cid FROM files WHERE node=? AND user=? AND {_UNDER}",
                (*self._whose, *_bounds(root)),
            ).fetchall()
        return [Entry(*row) for row in rows]

    def add(self, entries: Iterable[Entry]) -> None:
        """Adds registered or in-flight entries; different contents that their paths had become old."""
        rows = [(*self._whose, *entry) for entry in entries]
        before = [(node, user, path, cid) for node, user, path, _, _, cid in rows]
        with self._faults(), self._change() as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO old SELECT node, user, path, cid FROM files "
                "WHERE node=? AND user=? AND path=? AND cid<>?",
                before,
            )
            connection.executemany("INSERT OR REPLACE INTO files VALUES (?,?,?,?,?,?)", rows)

    def drop(self, paths: Iterable[bytes]) -> None:
        """Removes paths whose files are gone; their contents become old."""
        rows = [(*self._whose, path) for path in paths]
        with self._faults(), self._change() as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO old SELECT node, user, path, cid FROM files "
                "WHERE node=? AND user=? AND path=?",
                rows,
            )
            connection.executemany("DELETE FROM files WHERE node=? AND user=? AND path=?", rows)

    def old_under(self, root: bytes) -> list[str]:
        """The old contents of a path and of paths below it."""
        with self._faults():
            rows = self._connection.execute(
                f"SELECT DISTINCT cid FROM old WHERE node=? AND user=? AND {_UNDER}",
                (*self._whose, *_bounds(root)),
            ).fetchall()
        return [cid for (cid,) in rows]

    def needed(self, cid: str) -> bool:
        """Whether an existing file has that content, or it was registered by name.

        A path in the list may belong to a tree that has been moved since.
        """
        with self._faults():
            paths = self._connection.execute(
                "SELECT path, state FROM files WHERE node=? AND user=? AND cid=?", (*self._whose, cid)
            ).fetchall()
        return any(
            path.startswith(BY_NAME) or presence(path, _device(state)) is not Presence.GONE
            for path, state in paths
        )

    def settle(self, root: bytes, cid: str) -> None:
        """Removes an old content of the path or those below: its offer is withdrawn, or still needed."""
        with self._faults(), self._change() as connection:
            connection.execute(
                f"DELETE FROM old WHERE node=? AND user=? AND cid=? AND {_UNDER}",
                (*self._whose, cid, *_bounds(root)),
            )

    def forget(self, cid: str) -> None:
        """Removes the content for all paths: it is no longer offered."""
        with self._faults(), self._change() as connection:
            for table in ("files", "old"):
                connection.execute(
                    f"DELETE FROM {table} WHERE node=? AND user=? AND cid=?", (*self._whose, cid)
                )

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        """One transaction: all or nothing."""
        self._connection.execute("BEGIN IMMEDIATE")
        with self._connection:
            yield self._connection

    def _faults(self) -> AbstractContextManager[None]:
        return _named(self.path)


_UNDER = "(path=? OR (path>? AND path<?))"


def _bounds(root: bytes) -> tuple[bytes, bytes, bytes]:
    below = root.rstrip(b"/") + b"/"
    return root, below, below[:-1] + b"0"  # "0" follows "/" in ASCII


def _open(path: Path) -> sqlite3.Connection:
    number = os.open(path.with_name(LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(number, fcntl.LOCK_EX)
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        return _connected(path)
    finally:
        os.close(number)


def _connected(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
    try:
        # A list that is stale after a power failure only means registering some files twice, which is
        # harmless.
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > FORMAT:
            raise sqlite3.DatabaseError(f"format {version} is from a newer version")
        if version < FORMAT:
            _upgrade(connection, version)
    except BaseException:
        connection.close()
        raise
    return connection


def _upgrade(connection: sqlite3.Connection, version: int) -> None:
    connection.execute("BEGIN IMMEDIATE")
    with connection:
        for statement in _SCHEMA if version == 0 else _FROM_FIRST:
            connection.execute(statement)
        # Paths of the first format may contain links.
        for (path,) in connection.execute("SELECT DISTINCT path FROM files").fetchall():
            real = path_key(Path(os.fsdecode(path)))
            if real != path:
                connection.execute("UPDATE OR REPLACE files SET path=? WHERE path=?", (real, path))
        connection.execute(f"PRAGMA user_version={FORMAT}")


@contextmanager
def _named(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise NodeFault(f"cannot use the list {path}: {error}; move it away to start over") from None
