"""Releases memory that only the start of a node needed."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

# Thresholds of the cycle collector: allocations per run, and how much more rarely it scans older generations.
# Everything stops during a run, for 0.5 to 3 us an object. What is freed counts against what was allocated:
# the first generation may hold many times its threshold where long-lived objects are exchanged for new ones,
# as parts of messages are; so that is low, and a run takes up to 5 ms. The second has the parts of all
# messages and calls in progress: 50 ms on a node under attack, once a million allocations, so that hardly any
# call meets it. What is left of longer calls is in the third. Offers are in none (`native.merkle.untracked`).
GC_THRESHOLDS = (1_000, 1_000, 10)

_MADV_DONTNEED = 4  # madvise(2), Linux
_READ_ONLY = (b"r-xp", b"r--p")  # code, constants


def begin() -> None:
    """Called first: until the node has started, hardly any garbage is made."""
    gc.disable()


def settle() -> None:
    """Called once after the start; from now on new objects are collected."""
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    gc.enable()
    if sys.platform == "linux":
        # Without /proc, with another format of it, or with a libc other than glibc, the node runs untrimmed.
        with suppress(OSError, AttributeError, ValueError):
            _trim()
            _unmap_files()


def _trim() -> None:
    """Returns free heap memory to the system."""
    ctypes.CDLL(None).malloc_trim(0)


def _unmap_files() -> None:
    """Drops the pages of libraries' code and constants from this process; pages still in use are mapped again
    from the page cache when touched. A start touches 20 MB; serving needs little of it."""
    madvise = ctypes.CDLL(None, use_errno=True).madvise
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    for start, end in _as_in_files(Path("/proc/self/smaps").read_bytes()):
        madvise(start, end - start, _MADV_DONTNEED)


def _as_in_files(smaps: bytes) -> Iterator[tuple[int, int]]:
    """Ranges of file mappings that are read-only and never were written, so that the file has all their
    bytes.

    Relocated pages are read-only by then, too, and must stay, as must code that a debugger or tracer has
    patched. Both show as `Anonymous`, or as `Swap` if swapped out.
    """
    place: tuple[int, int] | None = None
    for line in filter(None, smaps.split(b"\n")):  # a file name may contain any other byte
        name, *rest = line.split()
        if not name.endswith(b":"):
            access, _, _, inode, *_ = rest
            start, _, end = name.partition(b"-")
            place = (int(start, 16), int(end, 16)) if access in _READ_ONLY and inode != b"0" else None
        elif name == b"Anonymous:" and rest[0] != b"0":
            place = None
        elif name == b"Swap:" and place is not None and rest[0] == b"0":
            yield place
