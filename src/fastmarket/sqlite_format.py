"""The format of our SQLite files: by whom a file was written, by its header, and its upgrade step by step.

Connections have `isolation_level=None`. The version (`user_version`) is the number of migrations made so far.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fastmarket.errors import NodeFault


def pragma(connection: sqlite3.Connection, name: str) -> int:
    """The value of a pragma that is a number."""
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


@dataclass(frozen=True, slots=True)
class SqliteFormat:
    """One kind of file. `application_id`: in its header; `what`: "is not a catalogue of ours", for people."""

    application_id: int
    what: str
    migrations: Sequence[str]

    def check(self, connection: sqlite3.Connection, path: Path) -> None:
        """Raises NodeFault unless the file is new, or was written by this or an earlier version."""
        application, version = (pragma(connection, name) for name in ("application_id", "user_version"))
        empty = not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if empty and application == 0 and version == 0:
            return
        if application != self.application_id or version < 1:
            raise NodeFault(f"{path} {self.what}; move it away to start over")
        newest = len(self.migrations)
        if version > newest:
            raise NodeFault(
                f"{path} was written by a newer fastmarket (format {version}, this one supports {newest}); "
                "it was not changed"
            )

    def migrate(self, connection: sqlite3.Connection) -> None:
        """Makes what is missing, each step whole or not at all."""
        for version in range(pragma(connection, "user_version"), len(self.migrations)):
            connection.executescript(
                f"BEGIN IMMEDIATE; {self.migrations[version]} PRAGMA application_id={self.application_id}; "
                f"PRAGMA user_version={version + 1}; COMMIT;"
            )


class EarlierLog:
    """Commits of an earlier process, which are in the log still.

    A sync of some may have failed there. What it was to write can be read for as long as the system keeps it
    in memory, and no later sync writes it (Rebello et al., "Can Applications Recover from fsync Failures?",
    USENIX ATC 2020). So all of them are written once more, into the main file, and the log is begun anew.
    """

    __slots__ = ("_connection", "_is_there")

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        """`path`: of the main file, before anything is written through the connection."""
        self._connection = connection
        self._is_there = path.with_name(f"{path.name}-wal").exists()  # a clean end deletes it

    def settle(self) -> None:
        """Does it, unless it is done; while another program reads, it is left for later. Outside of
        transactions. Raises sqlite3.Error."""
        if not self._is_there:
            return
        connection = self._connection
        connection.execute("PRAGMA synchronous=FULL")
        if connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
            return
        # The first commit in the new log, synced: were the old one found again, its pages would be older.
        connection.execute(f"PRAGMA user_version={pragma(connection, 'user_version')}")
        self._is_there = False

    def settle_now(self) -> None:
        """The same at the start, where what cannot be written is left for the next write."""
        with suppress(sqlite3.Error):
            self.settle()
