"""What tells one content of a path from the next: a file's inode, size and times."""

from __future__ import annotations

import os
import stat
import struct
import time
from typing import NamedTuple

from fastmarket.content.allowed import shown_path
from fastmarket.errors import CallerFault
from fastmarket.hashing import SETTLING_LOOKS, TICK_NS

_FORM = struct.Struct(">QQqq")


class FileStamp(NamedTuple):
    """Like `hashing.FileState`, without the device: its number may be another one after each start of the
    machine, and no other device has the same inode with the same times. Times are Unix time in ns."""

    inode: int
    size: int  # bytes
    modified_ns: int
    changed_ns: int  # of the inode: no program can set it, so new bytes with an old mtime are detected

    @classmethod
    def of(cls, status: os.stat_result) -> FileStamp:
        """From the result of `os.stat` or `os.fstat`."""
        return cls(status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)

    @classmethod
    def from_bytes(cls, packed: bytes) -> FileStamp:
        """The inverse of `to_bytes`."""
        return cls(*_FORM.unpack(packed))

    def to_bytes(self) -> bytes:
        """32 bytes."""
        return _FORM.pack(*self)


def settled_stamp(descriptor: int, path: str) -> FileStamp:
    """The stamp of an open file, taken when a further change would show in it.

    Raises CallerFault("path", ...) for what is not a regular file, and for one that is written to all the
    time.
    """
    for _ in range(SETTLING_LOOKS):
        status, now_ns = os.fstat(descriptor), time.time_ns()
        if not stat.S_ISREG(status.st_mode):
            raise CallerFault("path", f"{shown_path(path)} is not a regular file")
        since_ns = now_ns - status.st_ctime_ns
        # Times in the future come from another machine's clock.
        if not 0 <= since_ns < TICK_NS:
            return FileStamp.of(status)
        time.sleep((TICK_NS - since_ns) / 1e9)
    raise CallerFault("path", f"{shown_path(path)} is being written to")
