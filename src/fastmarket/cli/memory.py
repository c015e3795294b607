"""What a node gives back when it serves: memory that only its start needed."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_MADV_DONTNEED = 4  # madvise(2), Linux


def settle() -> None:
    """Called once, after the start."""
    # What is there by now stays; and of a hundred thousand offers that come in none is in a cycle. With the
    # thresholds of Python, and without this, looking for such cycles is a fifth of a busy storer's work.
    gc.freeze()
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # no /proc, or another libc than glibc: a node serves without
            _trim()
            _unmap_code()


def _trim() -> None:
    """Free pieces of the heap go back to the system."""
    ctypes.CDLL(None).malloc_trim(0)


def _unmap_code() -> None:
    """Takes the libraries' code out of this process; what is still used comes back with the next call into
    it, out of the page cache, where all of it stays. A start runs through 15 MB, idling needs one or two."""
    madvise = ctypes.CDLL(None, use_errno=True).madvise
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    for start, end in _code():
        madvise(start, end - start, _MADV_DONTNEED)


def _code() -> Iterator[tuple[int, int]]:
    """Where code of files lies: read only, so that the file has every byte of it. What is data, even if it is
    read only by now, was changed when it was loaded and must stay."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        place, access, _, _, inode, *_ = line.split()
        if access == "r-xp" and inode != "0":
            start, _, end = place.partition("-")
            yield int(start, 16), int(end, 16)
