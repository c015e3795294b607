"""What a node gives back when it serves: memory that only its start needed."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

# Of the collector of cycles: objects made before it looks, and how much rarer it looks at the older ones.
# Offers are in none; looking among a hundred thousand was a fifth of a busy storer's work with Python's own.
GC_THRESHOLDS = (50_000, 20, 100)

_MADV_DONTNEED = 4  # madvise(2), Linux


def begin() -> None:
    """Called first: until the node has started hardly anything that is made goes away."""
    gc.disable()


def settle() -> None:
    """Called once, after the start; from now on there is collecting, of what comes later."""
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    gc.enable()
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # no /proc, or another libc than glibc: a node serves without
            _trim()
            _unmap_code()


def _trim() -> None:
    """Free pieces of the heap go back to the system."""
    ctypes.CDLL(None).malloc_trim(0)


def _unmap_code() -> None:
    """Takes the libraries' code out of this process; what is still used comes back with the next call into
    it, out of the page cache, where all of it stays. A start runs through 15 MB; serving needs few of it."""
    madvise = ctypes.CDLL(None, use_errno=True).madvise
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    for start, end in _code(Path("/proc/self/smaps").read_text()):
        madvise(start, end - start, _MADV_DONTNEED)


def _code(smaps: str) -> Iterator[tuple[int, int]]:
    """Where code of files lies, unchanged: so the file has every byte of it.

    What is data, even if it is read only by now, was changed when it was loaded and must stay; so must code
    that a debugger or a tracer has put something into, which shows as `Anonymous`.
    """
    place: tuple[int, int] | None = None
    for line in smaps.splitlines():
        name, *rest = line.split()
        if not name.endswith(":"):
            access, _, _, inode, *_ = rest
            start, _, end = name.partition("-")
            place = (int(start, 16), int(end, 16)) if access == "r-xp" and inode != "0" else None
        elif name == "Anonymous:" and place is not None and rest[0] == "0":
            yield place
