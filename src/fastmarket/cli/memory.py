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
_READ_ONLY = (b"r-xp", b"r--p")  # code, constants


def begin() -> None:
    """Called first: until the node has started hardly anything that is made goes away."""
    gc.disable()


def settle() -> None:
    """Called once, after the start; from now on there is collecting, of what comes later."""
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    gc.enable()
    if sys.platform == "linux":
        # No /proc, or one unlike those we know, or another libc than glibc: a node serves without.
        with suppress(OSError, AttributeError, ValueError):
            _trim()
            _unmap_files()


def _trim() -> None:
    """Free pieces of the heap go back to the system."""
    ctypes.CDLL(None).malloc_trim(0)


def _unmap_files() -> None:
    """Takes libraries' code and constants out of this process; what is still used comes back when it is
    touched, out of the page cache, where all of it stays. A start runs through 20 MB; few serve on."""
    madvise = ctypes.CDLL(None, use_errno=True).madvise
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    for start, end in _as_in_files(Path("/proc/self/smaps").read_bytes()):
        madvise(start, end - start, _MADV_DONTNEED)


def _as_in_files(smaps: bytes) -> Iterator[tuple[int, int]]:
    """Where parts of files lie that cannot be written to and never were: so the file has every byte of them.

    What the loader has put addresses into is read only, too, by then, and must stay; so must code that a
    debugger or a tracer has changed. Both show as `Anonymous`, or as `Swap` when they were put there.
    """
    place: tuple[int, int] | None = None
    for line in filter(None, smaps.split(b"\n")):  # a file's name may have any other byte
        name, *rest = line.split()
        if not name.endswith(b":"):
            access, _, _, inode, *_ = rest
            start, _, end = name.partition(b"-")
            place = (int(start, 16), int(end, 16)) if access in _READ_ONLY and inode != b"0" else None
        elif name == b"Anonymous:" and rest[0] != b"0":
            place = None
        elif name == b"Swap:" and place is not None and rest[0] == b"0":
            yield place
