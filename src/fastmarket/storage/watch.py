"""Whether what a node has open still stands where the next start would look for it.

A file that was removed, or had another put in its place, goes on taking writes as long as somebody has it
open; they are gone with the process. So each commit is looked at before it is acknowledged: a stat(2) of each
path, 1 µs. Nothing here repairs anything.
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
    "what is registered now would be gone with this process, so nothing is. Stop the node, put its data "
    "directory back, identity.pem too, and start it again"
)
# The lock that a writer holds in WAL mode: a byte of the -shm file (sqlite.org/walformat.html, 2.2).
_WAL_WRITE_LOCK = 120
MAX_WANTED_BYTES = 64 * 1024  # of a file that has to stay as it is: a key
_LOCKS = Path("/proc/locks")  # Linux; elsewhere nobody is named
MAX_LOCK_BYTES = 1 << 20


class Misplaced(StorageFault):
    """Something of the data directory is not where it was opened."""


class _Place(NamedTuple):
    """Which file it is: device and inode."""

    device: int
    inode: int


class FileWatch:
    """The paths of one data directory, as they were found. For any thread."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory = directory.absolute()
        self._known: dict[Path, _Place] = {}
        # There has to be such a file, with the same in it; another may take its place.
        self._wanted: dict[Path, tuple[_Stamp, bytes]] = {}
        self.take((directory,))

    def take(self, paths: Iterable[Path]) -> None:
        """Files of ours that are open; those that are not there are left out."""
        for path in paths:
            with suppress(FileNotFoundError):
                self._known[path.absolute()] = _place(path)

    def want(self, paths: Iterable[Path]) -> None:
        """Files that have to be there as they are, by whatever inode; those that are not are left out."""
        for path in paths:
            with suppress(FileNotFoundError):
                self._wanted[path.absolute()] = _stamp(path), _digest(path)

    def check(self) -> None:
        """Raises Misplaced with what is gone, or replaced, and what to do."""
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
                raise Misplaced(f"{path} holds something else than at the start: {WHAT_TO_DO}")
            self._wanted[path] = now, digest

    def holds(self, path: Path) -> bool:
        """Whether a path is still ours, or nobody's."""
        found = _found(path)
        return found is None or found == self._known.get(path.absolute())

    def _told(self, path: Path, found: _Place | None) -> str:
        what = "the data directory " if path == self._directory else ""
        how = "was removed or renamed" if found is None else "has another in its place"
        return f"{what}{path} {how}"


class Lying(NamedTuple):
    """What the main file of a database says of itself, whatever is in its log."""

    mark: int  # made at random with the database
    writes: int  # transactions of ours up to the last checkpoint
    schema: int  # a copy by VACUUM INTO has another


class Contents:
    """Whether the main file of a database in WAL mode holds what its one writer left there.

    Copying a backup over it changes neither inode nor directory. But only a checkpoint, which is ours but for
    tools that make one, writes there at all; so where it was written to it is read as it lies there. Another
    database has another mark. A copy that is behind the last checkpoint seen has fewer writes, and the log no
    longer holds what it lacks; over one that is not behind the log restores everything, if it has the same
    pages.
    """

    def __init__(self, path: Path, schema: Callable[[], int]) -> None:
        """`schema`: that of the connection, log included; it changes when somebody runs VACUUM."""
        self._path = path
        self._schema = schema
        self._schemas = {schema()}
        self._seen: Lying | None = None  # None: nothing to compare with, the log alone has it
        self._stamp: tuple[int, int] | None = None
        self.check()

    def check(self) -> None:
        """Raises Misplaced when somebody has written over the file."""
        stamp = self._stamp_now()
        if stamp == self._stamp:
            return
        lying = read_lying(self._path)
        if self._seen is not None and (lying is None or not self._follows(lying, self._seen)):
            raise Misplaced(
                f"{self._path} was written over by another file: {WHAT_TO_DO}. Before that start remove "
                f"{self._path.name}-wal and {self._path.name}-shm, which belong to the file that was there"
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
            return None  # `FileWatch` tells of that
        return status.st_mtime_ns, status.st_size


def read_lying(path: Path) -> Lying | None:
    """None: it cannot be read, or has no mark."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True)) as lying:
            numbers = dict(lying.execute("SELECT name, value FROM numbers"))
            (schema,) = lying.execute("PRAGMA schema_version").fetchone()
    except sqlite3.Error:
        return None
    return Lying(numbers["mark"], numbers.get("writes", 0), schema) if "mark" in numbers else None


def lock_holder(database: Path) -> str:
    """Who else has the database locked for writing, "process 123 (sqlite3)"; "" where that is not known."""
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
            f"cannot look at {path}: {(error.strerror or str(error)).lower()}; {WHAT_TO_DO}"
        ) from None


def _place(path: Path) -> _Place:
    status = os.stat(path)
    return _Place(status.st_dev, status.st_ino)


def _stamp(path: Path) -> _Stamp:
    """Another one: it is worth reading again."""
    status = os.stat(path)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _digest(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        return sha256(os.read(descriptor, MAX_WANTED_BYTES))
    finally:
        os.close(descriptor)
