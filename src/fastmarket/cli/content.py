"""Resolves a FILE|CID|HASH argument."""

from __future__ import annotations

import re
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from errno import ENAMETOOLONG
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from fastmarket.errors import CallerFault, NodeFault
from fastmarket.formats.cid import IPFS_PATH, NamedBy, named
from fastmarket.formats.unixfs.profile import UNIXFS_V0_2015, CidProfile

if TYPE_CHECKING:
    from fastmarket.hashing import FileState

# Smaller files are hashed before anybody could read a progress bar.
PROGRESS_FROM_BYTES = 64 * 1024 * 1024
_PLAINLY_A_PATH = ("/", "./", "../", "~")
# A mistyped or truncated CID. Rejected for people only: programs have always been able to register any text.
_LIKE_A_CID = re.compile(r"Qm[0-9A-Za-z]{12,60}|(bafy|bafk)[a-z2-7]{12,80}|(baf|k[25])[0-9a-z]{36,80}")


class HashReport(Protocol):
    """Shows how far the work is, in bytes."""

    def __call__(self, done: int, total: int | None) -> None: ...


@dataclass(frozen=True, slots=True)
class Content:
    """`text` is the content requested from the node: the CID of the file, or the argument itself."""

    text: str
    path: Path | None = None
    size: int | None = None
    hashed_in_s: float | None = None
    state: FileState | None = None  # of the file when hashed; seen_ns: Unix time in ns when hashing began
    seen_ns: int = 0
    named_by: NamedBy = NamedBy.CID

    @property
    def file_name(self) -> str | None:
        """The file's base name, with bytes that are not UTF-8 replaced."""
        return None if self.path is None else self.path.name.encode("utf-8", "replace").decode()


def resolve(argument: str) -> Content:
    """Hashes an existing path; anything else stands for itself.

    Raises CallerFault for a directory, for an unusable CID, and for an argument that is clearly a path but
    does not exist (a typo would otherwise register the hash of the path's text); NodeFault for a file that
    cannot be read or changes while it is read.
    """
    if not argument:
        raise CallerFault("FILE|CID|HASH", "is empty")
    path = path_of(argument)
    if _is_there(argument, path):
        return hash_file(path)
    try:
        argument.encode()
    except UnicodeEncodeError:
        raise CallerFault(argument, "no such file, and not UTF-8") from None
    try:
        named_by = named(argument).by
    except CallerFault as fault:
        if argument.startswith(_PLAINLY_A_PATH) and not argument.startswith(IPFS_PATH):
            raise CallerFault(argument, "no such file") from None
        raise CallerFault("content", fault.reason) from None
    if named_by is NamedBy.TEXT_HASH:
        if argument.startswith(_PLAINLY_A_PATH):
            raise CallerFault(argument, "no such file")
        if _LIKE_A_CID.fullmatch(argument):
            raise CallerFault(argument, "looks like a CID, but is not one; was it copied whole?")
    return Content(argument, named_by=named_by)


def cid_line(argument: str, profile: CidProfile = UNIXFS_V0_2015, *, hidden: bool = False) -> str:
    """The CID of a file or directory under a profile; for a CID in any form, its canonical text and a
    description. `hidden`: with the entries of a directory whose names begin with a dot.

    Raises CallerFault and NodeFault.
    """
    path = path_of(argument)
    if not _is_there(argument, path) and (said := _explained(argument)):
        return said
    if path.is_dir():
        return _hash_directory(path, profile, hidden)
    return hash_file(path, profile).text


def _hash_directory(path: Path, profile: CidProfile, hidden: bool) -> str:
    from fastmarket.directories import hashed_directory

    with _bar(path.name, None) as progress:
        report = None if progress is None else partial(progress, total=None)
        try:
            return str(hashed_directory(path, profile=profile, hidden=hidden, progress=report).cid)
        except CallerFault as fault:
            if fault.field != "file":
                raise
            raise NodeFault(f"cannot read: {fault.reason}") from None


def _explained(argument: str) -> str:
    """The CID specification's human-readable form; "" if `argument` is not a CID."""
    try:
        name = named(argument)
    except CallerFault as fault:
        raise CallerFault("content", fault.reason) from None
    except UnicodeEncodeError:
        return ""
    if name.by is NamedBy.TEXT_HASH:
        return ""
    from multiformats import CID  # imported here: it takes a tenth of a second

    try:
        return f"{name.cid}  {CID.decode(name.cid).human_readable}"
    except KeyError:  # a codec missing from its tables
        return name.cid


def _is_there(argument: str, path: Path) -> bool:
    """Whether something has that name.

    Raises NodeFault if that cannot be determined, and CallerFault for a dangling link: nobody wants the hash
    of its name registered.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        if path.is_symlink():
            raise CallerFault(argument, "is a dangling link") from None
        return False
    except ValueError:  # a NUL in the path
        return False
    except OSError as error:
        if error.errno == ENAMETOOLONG:  # too long for a path
            return False
        raise NodeFault(f"cannot read {path}: {error.strerror}") from None
    return True


def path_of(argument: str) -> Path:
    """The path an argument may mean; `~` is the home directory."""
    try:
        return Path(argument).expanduser()
    except RuntimeError:  # ~unknown-user
        return Path(argument)


def is_bare_text(content: Content) -> bool:
    """Neither a file, a CID nor a SHA-256: the network knows it by the hash of its text."""
    return content.named_by is NamedBy.TEXT_HASH


def hash_file(path: Path, profile: CidProfile = UNIXFS_V0_2015) -> Content:
    """The CID `ipfs add` would print for `path`; shows a bar on stderr for a large file on a terminal."""
    from fastmarket.hashing import hashed_file

    started, seen_ns = time.perf_counter(), time.time_ns()
    size = _size(path)
    with _bar(path.name, size) as progress:
        try:
            done = hashed_file(path, profile=profile, progress=progress)
        except CallerFault as fault:
            if fault.field != "file":
                raise
            raise NodeFault(f"cannot read: {fault.reason}") from None
    return Content(str(done.cid), path, done.size, time.perf_counter() - started, done.state, seen_ns)


def _size(path: Path) -> int:
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError, ValueError):
        raise CallerFault(str(path), "no such file") from None
    except OSError as error:
        if error.errno == ENAMETOOLONG:
            raise CallerFault(str(path), "no such file") from None
        raise NodeFault(f"cannot read {path}: {error.strerror}") from None
    if stat.S_ISDIR(status.st_mode):
        raise CallerFault(str(path), "is a directory; expects a file (or register --recursive)")
    return status.st_size


@contextmanager
def _bar(name: str, size: int | None) -> Iterator[HashReport | None]:
    """`size` is None if it is unknown until the end."""
    if not sys.stderr.isatty() or (size is not None and size < PROGRESS_FROM_BYTES):
        yield None
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    columns = ("[bold]{task.description}", BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(f"hashing {escape(name)}", total=size)
        yield lambda done, total: bar.update(task, completed=done, total=total)
