"""Files that are being fetched: NAME.part beside NAME, until all of it is there.

What was written to NAME.part is not believed: it is hashed again before a later run goes on. Which parts of
it were written at all is known by the file system: the rest is a hole.

A node on the same machine writes the file itself if its caller shows that it may write there, too: the file
then ends in a proof, which the node cuts off. A proof is a mark that no other file ends in, and random bytes
that only those can know who may read the file: its owner alone. So whoever is able to name the proof could
write the file.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import stat
from contextlib import suppress
from pathlib import Path

from fastmarket.errors import CallerFault, NodeFault, StorageFault, Unmet

PART_SUFFIX = ".part"
LIST_SUFFIX = ".part.list"
PROOF_BYTES = 32
_MARK = b"fastmarket-part:"  # 16 bytes; as many random ones follow
NO_OUTPUT = "NO_OUTPUT"
OUTPUT_CHANGED = "OUTPUT_CHANGED"

# Written parts of a file that are told apart; beyond it, holes count as written: a file of 25 GiB with every
# second leaf of 256 KiB.
MAX_SPANS = 50_000

# Streamed bytes that are synced at once: what a power failure costs at most.
SYNC_BYTES = 8 * 1024 * 1024
_MAX_NAME_BYTES = 255  # of file systems
_MAX_LIST_BYTES = 16 * 1024  # a JSON object with a content and two numbers

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
# A pipe or a device at that name must neither block nor be acted upon.
_OPEN = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY


def new_proof() -> bytes:
    """To be written to the end of a file, which nobody but its owner may read."""
    return _MARK + os.urandom(PROOF_BYTES - len(_MARK))


def check_proof(proof: bytes) -> None:
    """Raises Unmet unless `proof` has the form of one."""
    if len(proof) != PROOF_BYTES or not proof.startswith(_MARK):
        raise _refused(f"the proof is not {_MARK.decode()} and {PROOF_BYTES - len(_MARK)} random bytes")


def open_proven(path: str, proof: bytes) -> int:
    """A descriptor of the file at an absolute `path`, from whose end `proof` was cut off.

    Raises Unmet("output", ...): NO_OUTPUT, and the caller streams the bytes instead; OUTPUT_CHANGED where
    somebody else writes to it, perhaps an earlier call that has not ended yet.
    """
    check_proof(proof)
    if not os.path.isabs(path) or "\0" in path:
        raise _refused("is not an absolute path")
    try:
        if not stat.S_ISREG(os.stat(path, follow_symlinks=False).st_mode):
            raise _refused("is not a file")  # opening alone may do something to a device
        number = os.open(path, _OPEN)
    except OSError as error:
        raise _refused(_said(error)) from None
    try:
        _cut_off(number, proof)
    except BaseException:
        os.close(number)
        raise
    return number


def _cut_off(number: int, proof: bytes) -> None:
    status = os.fstat(number)
    if not stat.S_ISREG(status.st_mode):
        raise _refused("is not a file")
    if status.st_mode & _OTHERS:
        raise _refused("others than its owner have access to it: the proof shows nothing")
    size = status.st_size - PROOF_BYTES
    try:
        if size < 0 or os.pread(number, PROOF_BYTES, size) != proof:
            raise Unmet("output", "does not end in the proof", OUTPUT_CHANGED)
        os.ftruncate(number, size)
    except OSError as error:
        raise _refused(_said(error)) from None


def written_spans(number: int) -> list[tuple[int, int]]:
    """What of a file was ever written, (first, end) each; all of it where the system does not tell. Raises
    OSError."""
    size = os.fstat(number).st_size
    found: list[tuple[int, int]] = []
    at = 0
    while at < size:
        if len(found) == MAX_SPANS:
            return [*found, (at, size)]
        try:
            first = os.lseek(number, at, os.SEEK_DATA)
            at = os.lseek(number, first, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole follows
                break
            if error.errno == errno.EINVAL:  # a file system without holes
                return [(0, size)]
            raise
        found.append((first, min(at, size)))
    return found


class PartFile:
    """NAME.part, on its way to become NAME; for one process at a time. Its calls block.

    Either a node writes it, to whom it is proven (`prove`), or it is appended to (`begin_stream`); then
    NAME.part.list says for which order, and how many bytes are safe.
    """

    def __init__(self, target: Path) -> None:
        """Raises CallerFault ("path") if it cannot be made, or another process writes it."""
        self._target = target.absolute()
        _check_target(target)
        self._path = _beside(self._target, PART_SUFFIX)
        self._list = _beside(self._target, LIST_SUFFIX)
        self._proof = b""
        self._order = ""
        self._size = 0
        self._synced = 0
        try:
            self._number = _opened_alone(self._path)
        except OSError as error:
            raise CallerFault("path", f"cannot write {self._path}: {_said(error)}") from None

    @property
    def name(self) -> str:
        """The absolute path of NAME.part."""
        return str(self._path)

    def prove(self) -> bytes:
        """Appends a proof, and returns it. Raises StorageFault."""
        self._proof = new_proof()
        try:
            os.fchmod(self._number, stat.S_IRUSR | stat.S_IWUSR)
            _write_all(self._number, self._proof, os.fstat(self._number).st_size)
        except OSError as error:
            raise _fault(self._path, error) from None
        return self._proof

    def begin_stream(self, order: str) -> int:
        """How many bytes of the same order an earlier run has kept; everything behind them is cut off.
        Raises StorageFault."""
        try:
            size = os.fstat(self._number).st_size
            kept = self._kept(order)
            self._order, self._size = order, kept if 0 <= kept <= size else 0
            self._synced = self._size
            os.ftruncate(self._number, self._size)
            self._note()
        except OSError as error:
            raise _fault(self._path, error) from None
        return self._size

    def append(self, data: bytes) -> None:
        """Writes the next bytes. Raises StorageFault."""
        try:
            _write_all(self._number, data, self._size)
            self._size += len(data)
            if self._size - self._synced >= SYNC_BYTES:
                os.fdatasync(self._number) if hasattr(os, "fdatasync") else os.fsync(self._number)
                self._synced = self._size
                self._note()
        except OSError as error:
            raise _fault(self._path, error) from None

    def finish(self, size: int) -> None:
        """Makes NAME of it, on disk. Raises NodeFault if it has not the right size, StorageFault."""
        found = os.fstat(self._number).st_size
        if found != size:
            raise NodeFault(f"{self._path} has {found} bytes instead of {size}")
        if not _is_at(self._number, self._path):
            raise NodeFault(f"{self._path} was replaced or removed meanwhile")
        try:
            os.fchmod(self._number, 0o666 & ~_umask())
            os.fsync(self._number)
            os.rename(self._path, self._target)
            _sync_directory(self._target.parent)
        except OSError as error:
            raise _fault(self._path, error) from None
        with suppress(OSError):
            self._list.unlink()

    def close(self) -> None:
        """Lets go of it; what was fetched stays, for a later run."""
        with suppress(OSError):
            self._tidy()
        os.close(self._number)

    def _tidy(self) -> None:
        """Cuts off a proof that nobody took, notes what was appended, and leaves no empty file."""
        status = os.fstat(self._number)
        at = status.st_size - PROOF_BYTES
        if self._proof and at >= 0 and os.pread(self._number, PROOF_BYTES, at) == self._proof:
            os.ftruncate(self._number, at)
        if self._order and self._size > self._synced and self._path.exists():
            os.fsync(self._number)
            self._synced = self._size
            self._note()
        if not os.fstat(self._number).st_size and _is_at(self._number, self._path):
            self._path.unlink()
            self._list.unlink(missing_ok=True)

    def _kept(self, order: str) -> int:
        try:
            noted = json.loads(self._list.read_bytes()[:_MAX_LIST_BYTES])
            return int(noted["bytes"]) if order and noted["order"] == order else 0
        except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError):
            return 0

    def _note(self) -> None:
        noted = json.dumps({"order": self._order, "bytes": self._synced})
        number = os.open(self._list, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(number, _write_all(number, noted.encode(), 0))
        finally:
            os.close(number)


def _check_target(target: Path) -> None:
    """Raises CallerFault("path", ...) for what cannot become a file, or must not: a device would be replaced
    by one, as would the link to it that is called /dev/stdout."""
    try:
        mode = target.stat(follow_symlinks=False).st_mode
        if stat.S_ISLNK(mode):
            if os.readlink(target).startswith("/proc/"):
                raise CallerFault("path", f"{target} is not a file")
            mode = target.stat().st_mode
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        said = _said(error) if isinstance(error, OSError) else str(error)
        raise CallerFault("path", f"cannot write {target}: {said}") from None
    if not stat.S_ISREG(mode):
        raise CallerFault("path", f"{target} is {'a directory' if stat.S_ISDIR(mode) else 'not a file'}")


def _beside(target: Path, suffix: str) -> Path:
    """NAME and the suffix; for a name that would be too long for it, the same one each time."""
    name = os.fsencode(target.name)
    if len(name) + len(LIST_SUFFIX) <= _MAX_NAME_BYTES:
        return target.with_name(target.name + suffix)
    return target.with_name(hashlib.sha256(name).hexdigest()[:32] + suffix)


def _opened_alone(path: Path) -> int:
    """A descriptor of a file that is made if it is not there, locked for this process. Raises OSError."""
    while True:
        number = os.open(path, _OPEN | os.O_CREAT, stat.S_IRUSR | stat.S_IWUSR)
        try:
            if not stat.S_ISREG(os.fstat(number).st_mode):
                raise OSError(0, "is not a file")
            try:
                fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise OSError(0, "another process is writing it") from None
            if _is_at(number, path):
                return number
        except BaseException:
            os.close(number)
            raise
        os.close(number)  # the process that had it has just finished it


def _is_at(number: int, path: Path) -> bool:
    try:
        there, ours = path.stat(follow_symlinks=False), os.fstat(number)
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)


def _write_all(number: int, data: bytes, offset: int) -> int:
    """Where it ends."""
    view = memoryview(data)
    while view:
        written = os.pwrite(number, view, offset)
        view, offset = view[written:], offset + written
    return offset


def _umask() -> int:
    """Of this process, which tells it in no other way."""
    mask = os.umask(stat.S_IRWXG | stat.S_IRWXO)
    os.umask(mask)
    return mask


def _sync_directory(path: Path) -> None:
    number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _fault(path: Path, error: OSError) -> StorageFault:
    return StorageFault(f"cannot write {path}: {_said(error)}")


def _said(error: OSError) -> str:
    return (os.strerror(error.errno).lower() if error.errno else error.strerror) or str(error)


def _refused(reason: str) -> Unmet:
    return Unmet("output", reason, NO_OUTPUT)
