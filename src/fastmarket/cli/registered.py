"""What `register --recursive` has done: a list on disk, by which a run that was interrupted goes on."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from fastmarket.errors import NodeFault

FILE = "registered.db"
FORMAT = 1  # `user_version` of the file
_SCHEMA = """
CREATE TABLE files (
    node TEXT, user BLOB, path BLOB, size INTEGER, changed_ns INTEGER, terms TEXT, cid TEXT,
    PRIMARY KEY (node, user, path)
) WITHOUT ROWID;
CREATE INDEX files_by_cid ON files (cid);
"""


class Stamp(NamedTuple):
    """A file as it was registered: when it or the `terms` change it is registered anew."""

    path: bytes
    size: int
    changed_ns: int
    terms: str


class RegisteredList:
    """Files registered at one node in one user's name. Raises `NodeFault` naming the file."""

    def __init__(self, directory: Path, node: str, user: bytes) -> None:
        """`node`: its peer id."""
        self.path = directory / FILE
        self._whose = (node, user)
        with self._faults():
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.close(os.open(self.path, os.O_CREAT | os.O_WRONLY, 0o600))
            self._connection = _open(self.path)

    def holds(self, stamp: Stamp) -> bool:
        """Whether the file was registered as it is now, under these terms."""
        with self._faults():
            found = self._connection.execute(
                "SELECT size, changed_ns, terms FROM files WHERE node=? AND user=? AND path=?",
                (*self._whose, stamp.path),
            ).fetchone()
        return found is not None and tuple(found) == stamp[1:]

    def add(self, done: Iterable[tuple[Stamp, str]]) -> None:
        """These, with their CIDs, are registered."""
        rows = [(*self._whose, *stamp, cid) for stamp, cid in done]
        with self._faults(), self._connection:
            self._connection.executemany("INSERT OR REPLACE INTO files VALUES (?,?,?,?,?,?,?)", rows)

    def close(self) -> None:
        """Nothing is lost without it."""
        self._connection.close()

    @staticmethod
    def forget(directory: Path, cid: str, user: bytes) -> None:
        """An offer was withdrawn: its files are none that need not be registered."""
        path = directory / FILE
        if path.exists():
            with _named(path), closing(_open(path)) as connection, connection:
                connection.execute("DELETE FROM files WHERE cid=? AND user=?", (cid, user))

    def _faults(self) -> AbstractContextManager[None]:
        return _named(self.path)


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path)
    # A list that is behind after a power failure costs registering some files twice, which is harmless.
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > FORMAT:
        connection.close()
        raise sqlite3.DatabaseError(f"format {version} of a newer version")
    if version == 0:
        connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version={FORMAT}; COMMIT;")
    return connection


@contextmanager
def _named(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise NodeFault(f"cannot use the list {path}: {error}; move it away to begin anew") from None
