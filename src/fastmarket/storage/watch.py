"""Checks that a node's open files are still where its next start will look for them.

A deleted or replaced file keeps accepting writes while it is open; they are lost when the process ends. So
each commit is checked before it is acknowledged: one stat(2) per path, 1 µs. Nothing here repairs anything.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple, TypeAlias, TypeVar

from fastmarket.errors import StorageFault
from fastmarket.native.sha256 import sha256

T = TypeVar("T")
_Stamp: TypeAlias = tuple[int, int, int, int]  # device, inode, bytes, ns of the last change
WHAT_TO_DO = (
    "new registrations would be lost when this process ends, so they are refused. Stop the node, put its "
    "data directory back, including identity.pem, and start it again"
)
# The lock that a writer holds in WAL mode: a byte of the -shm file (sqlite.org/walformat.html, 2.2).
_WAL_WRITE_LOCK = 120
MAX_WANTED_BYTES = 64 * 1024  # of a file that must not change: a key
_LOCKS = Path("/proc/locks")  # Linux; elsewhere the lock holder is not named
MAX_LOCK_BYTES = 1 << 20


class Misplaced(StorageFault):
    """A file of the data directory is not where it was opened. The text goes to callers: it has no paths."""


class _Place(NamedTuple):
    """The identity of a file: device and inode."""

    device: int
    inode: int


class FileWatch:
    """The paths of one data directory, as first found. Usable from any thread."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory = directory.absolute()
        self._known: dict[Path, _Place] = {}
        # These files must exist with the same contents; the inode may change.
        self._wanted: dict[Path, tuple[_Stamp, bytes]] = {}
        self.take((directory,))

    def take(self, paths: Iterable[Path]) -> None:
        """Watches files we have open; missing ones are skipped."""
        for path in paths:
            with suppress(FileNotFoundError):
                self._known[path.absolute()] = _place(path)

    def want(self, paths: Iterable[Path]) -> None:
        """Watches files that must keep their contents, under any inode; missing ones are skipped."""
        for path in paths:
            with suppress(FileNotFoundError):
                self._wanted[path.absolute()] = _stamp(path), _digest(path)

    def check(self) -> None:
        """Raises Misplaced with what is missing or replaced, and what to do."""
        for path, known in self._known.items():
            found = _found(path)
            if found != known:
                raise Misplaced(f"{self._told(path, found)}: {WHAT_TO_DO}")
        for path, (stamp, digest) in self._wanted.items():
            now = _looked_at(path, _stamp)
            if now == stamp:
                continue
            if now is None:
                raise Misplaced(f"{self._told(path, None)}: {WHAT_TO_DO}")
            if _looked_at(path, _digest) != digest:
                raise Misplaced(f"{path.name} has changed since the start: {WHAT_TO_DO}")
            self._wanted[path] = now, digest

    def holds(self, path: Path) -> bool:
        """Whether the path is still our file, or does not exist."""
        found = _found(path)
        return found is None or found == self._known.get(path.absolute())

    def _told(self, path: Path, found: _Place | None) -> str:
        what = "the data directory" if path == self._directory else path.name
        how = "was removed or renamed" if found is None else "was replaced by another"
        return f"{what} {how}"


class Lying(NamedTuple):
    """What the main file of a database contains, without its log."""

    mark: int  # random, chosen when the database was created
    writes: int  # our transactions up to the last checkpoint
    schema: int  # differs in a copy made by VACUUM INTO


class Contents:
    """Checks that the main file of a database in WAL mode contains what its only writer left there.

    Copying a backup over it changes neither inode nor directory. But only a checkpoint writes to it, ours or
    that of a tool; so after it was written to, its contents are read. Another database has another mark. A
    copy older than the last checkpoint seen has fewer writes, and the log no longer has what it lacks; over a
    copy that is not older, the log restores everything, if it has the same pages.
    """

    def __init__(self, path: Path, schema: Callable[[], int]) -> None:
        """`schema` returns the connection's schema version, log included; VACUUM changes it."""
        self._path = path
        self._schema = schema
        self._schemas = {schema()}
        self._seen: Lying | None = None  # None: nothing to compare with, it is only in the log
        self._stamp: tuple[int, int] | None = None
        self.check()

    def check(self) -> None:
        """Raises Misplaced if the file was overwritten."""
        stamp = self._stamp_now()
        if stamp == self._stamp:
            return
        lying = read_lying(self._path)
        if self._seen is not None and (lying is None or not self._follows(lying, self._seen)):
            raise Misplaced(
                f"{self._path.name} was overwritten by another file: {WHAT_TO_DO}. Before that, remove "
                f"{self._path.name}-wal and {self._path.name}-shm, which belong to the overwritten file"
            )
        self._seen, self._stamp = lying, stamp

    def _follows(self, lying: Lying, seen: Lying) -> bool:
        if lying.mark != seen.mark or lying.writes < seen.writes:
            return False
        if lying.schema not in self._schemas:
            self._schemas.add(self._schema())
        return lying.schema in self._schemas

    def _stamp_now(self) -> tuple[int, int] | None:
        try:
            status = os.stat(self._path)
        except OSError:
            return None  # reported by `FileWatch`
        return status.st_mtime_ns, status.st_size


def read_lying(path: Path) -> Lying | None:
    """Reads the main file only; None if it cannot be read or has no mark."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True)) as lying:
            numbers = dict(lying.execute("SELECT name, value FROM numbers"))
            (schema,) = lying.execute("PRAGMA schema_version").fetchone()
    except sqlite3.Error:
        return None
    return Lying(numbers["mark"], numbers.get("writes", 0), schema) if "mark" in numbers else None


def lock_holder(database: Path) -> str:
    """The process that has the database locked, "process 123 (sqlite3)"; "" if that is unknown."""
    shared = database.with_name(database.name + "-shm")
    inodes = {found.inode for path in (shared, database) if (found := _found(path)) is not None}
    try:
        with _LOCKS.open() as file:
            lines = file.read(MAX_LOCK_BYTES).splitlines()
    except OSError:
        return ""
    for line in lines:
        # 1: POSIX  ADVISORY  WRITE 1234 08:01:5678 120 120
        words = line.split()
        if len(words) != 8 or words[3] != "WRITE" or not words[4].isdecimal():
            continue
        first, last, pid = words[6], words[7], int(words[4])
        covers = first.isdecimal() and int(first) <= _WAL_WRITE_LOCK <= (
            int(last) if last.isdecimal() else 1 << 62
        )
        main = first.isdecimal() and int(first) >= 1 << 30  # SQLite's locks on the main file
        if pid != os.getpid() and words[5].rpartition(":")[2] in map(str, inodes) and (covers or main):
            return f"process {pid}{_name_of(pid)}"
    return ""


def _name_of(pid: int) -> str:
    try:
        return f" ({Path(f'/proc/{pid}/comm').read_text().strip()})"
    except OSError:
        return ""


def _found(path: Path) -> _Place | None:
    return _looked_at(path, _place)


def _looked_at(path: Path, look: Callable[[Path], T]) -> T | None:
    try:
        return look(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise Misplaced(
            f"cannot examine {path.name}: {(error.strerror or str(error)).lower()}; {WHAT_TO_DO}"
        ) from None


def _place(path: Path) -> _Place:
    status = os.stat(path)
    return _Place(status.st_dev, status.st_ino)


def _stamp(path: Path) -> _Stamp:
    """A change of it means that the file is worth reading again."""
    status = os.stat(path)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _digest(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        return sha256(os.read(descriptor, MAX_WANTED_BYTES))
    finally:
        os.close(descriptor)
