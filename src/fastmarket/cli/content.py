"""What a FILE|CID|HASH argument names."""

from __future__ import annotations

import re
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from errno import ENAMETOOLONG
from pathlib import Path
from typing import TYPE_CHECKING

from fastmarket.errors import CallerFault, NodeFault
from fastmarket.formats.cid import IPFS_PATH, NamedBy, named

if TYPE_CHECKING:
    from fastmarket.hashing import FileState

# Below this a file is hashed before a bar could be read.
PROGRESS_FROM_BYTES = 64 * 1024 * 1024
_PLAINLY_A_PATH = ("/", "./", "../", "~")
# A CID that was typed, or cut: for people alone, for programs have always been able to register any text.
_LIKE_A_CID = re.compile(r"Qm[0-9A-Za-z]{36,60}|(baf|k[25])[0-9a-z]{36,80}")
Report = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Content:
    """`text` is what the node is asked for: the CID of the file, or the argument itself."""

    text: str
    path: Path | None = None
    size: int | None = None
    hashed_in_s: float | None = None
    state: FileState | None = None  # of the file as it was hashed, and the Unix time in ns when that began
    seen_ns: int = 0
    named_by: NamedBy = NamedBy.CID

    @property
    def file_name(self) -> str | None:
        """The file's own name; what is no UTF-8 in it is replaced."""
        return None if self.path is None else self.path.name.encode("utf-8", "replace").decode()


def resolve(argument: str) -> Content:
    """A path that exists is hashed; anything else stands for itself.

    Raises CallerFault for a directory, a CID that cannot be used, and for what is plainly a path to nothing
    (else a slip of the keyboard would register the hash of the path's text); NodeFault for what cannot be
    read, or changes meanwhile.
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


def cid_line(argument: str, *, cid_version: int = 0, raw_leaves: bool | None = None) -> str:
    """The CID of a file; of a CID, in whatever form it was copied, its usual text and what it says of itself.

    Raises CallerFault and NodeFault.
    """
    path = path_of(argument)
    if not _is_there(argument, path) and (said := _explained(argument)):
        return said
    return hash_file(path, cid_version=cid_version, raw_leaves=raw_leaves).text


def _explained(argument: str) -> str:
    """The human-readable form of the CID specification; "" for what is not a CID."""
    try:
        name = named(argument)
    except CallerFault as fault:
        raise CallerFault("content", fault.reason) from None
    except UnicodeEncodeError:
        return ""
    if name.by is NamedBy.TEXT_HASH:
        return ""
    from multiformats import CID  # takes a tenth of a second: for this alone

    try:
        return f"{name.cid}  {CID.decode(name.cid).human_readable}"
    except KeyError:  # of a codec that its tables lack
        return name.cid


def _is_there(argument: str, path: Path) -> bool:
    """Whether something has that name.

    NodeFault where that cannot be told, CallerFault where it is a link to nothing: the hash of its text was
    not meant.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        if path.is_symlink():
            raise CallerFault(argument, "is a link to nothing") from None
        return False
    except ValueError:  # with a NUL
        return False
    except OSError as error:
        if error.errno == ENAMETOOLONG:  # for a path
            return False
        raise NodeFault(f"cannot read {path}: {error.strerror}") from None
    return True


def path_of(argument: str) -> Path:
    """The path an argument may mean; `~` is the home directory."""
    try:
        return Path(argument).expanduser()
    except RuntimeError:  # ~nobody-of-that-name
        return Path(argument)


def is_bare_text(content: Content) -> bool:
    """Neither a file, nor a CID, nor a SHA-256: the network knows it by the hash of its text."""
    return content.named_by is NamedBy.TEXT_HASH


def hash_file(path: Path, *, cid_version: int = 0, raw_leaves: bool | None = None) -> Content:
    """The CID `ipfs add` would print for `path`; a bar on stderr if that is a terminal and the file large."""
    from fastmarket.hashing import hashed_file

    started, seen_ns = time.perf_counter(), time.time_ns()
    size = _size(path)
    with _bar(path.name, size) as progress:
        try:
            done = hashed_file(path, cid_version=cid_version, raw_leaves=raw_leaves, progress=progress)
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
def _bar(name: str, size: int) -> Iterator[Report | None]:
    if size < PROGRESS_FROM_BYTES or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    columns = ("[bold]{task.description}", BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(f"hashing {escape(name)}", total=size)
        yield lambda done, total: bar.update(task, completed=done, total=total)
