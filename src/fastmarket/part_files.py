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
import os
import stat

from fastmarket.errors import Unmet

PART_SUFFIX = ".part"
LIST_SUFFIX = ".part.list"
PROOF_BYTES = 32
_MARK = b"fastmarket-part:"  # 16 bytes; as many random ones follow
NO_OUTPUT = "NO_OUTPUT"

# Written parts of a file that are told apart; beyond it, holes count as written: a file of 25 GiB with every
# second leaf of 256 KiB.
MAX_SPANS = 50_000

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

    Raises Unmet("output", ..., NO_OUTPUT): the caller streams the bytes instead.
    """
    check_proof(proof)
    if not os.path.isabs(path) or "\0" in path:
        raise _refused("is not an absolute path")
    try:
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
            raise _refused("does not end in the proof")
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


def _said(error: OSError) -> str:
    return (os.strerror(error.errno) if error.errno else str(error)).lower()


def _refused(reason: str) -> Unmet:
    return Unmet("output", reason, NO_OUTPUT)
