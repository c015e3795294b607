"""The leaves of a file that is imported: hashed by all threads, holes without being read.

No path with a symlink in it is opened, whoever exchanges a directory for one meanwhile.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass

from fastmarket.content.allowed import shown_path
from fastmarket.content.open_files import OPEN_FLAGS
from fastmarket.content.stamp import FileStamp, settled_stamp
from fastmarket.errors import CallerFault
from fastmarket.formats.unixfs.leaf import leaf_frame
from fastmarket.formats.unixfs.profile import CidProfile
from fastmarket.hashed_parts import hashed_parts, named_faults
from fastmarket.native.cid import leaf_digests
from fastmarket.native.sha256 import sha256

HOLE_BYTES = 64 * 1024 * 1024
"""Shorter holes are read: each piece between two holes has threads of its own."""


@dataclass(frozen=True, slots=True)
class SmallFile:
    """A file of one leaf."""

    path: str
    stamp: FileStamp
    digest: bytes


@contextmanager
def opened_file(path: str) -> Iterator[int]:
    """A descriptor of what is at a real path. Raises CallerFault("path", ...) if it cannot be read, or is
    elsewhere by now."""
    try:
        descriptor = os.open(path, OPEN_FLAGS)
    except OSError as error:
        raise path_fault(path, error) from None
    try:
        if path_of(descriptor, path) != path:
            raise CallerFault("path", f"{shown_path(path)} leads elsewhere by now")
        yield descriptor
    finally:
        os.close(descriptor)


def path_of(descriptor: int, path: str) -> str:
    """The real path of an open file or directory, which was opened as `path`."""
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:
        # No /proc: then the path as it is now, if it still leads there.
        real = os.path.realpath(path)
        there = os.path.exists(real) and os.path.samestat(os.stat(real), os.fstat(descriptor))
        return real if there else ""


def small_files(paths: Sequence[str], profile: CidProfile) -> list[SmallFile | CallerFault | None]:
    """The leaf of each file; None: it has more than one."""
    return [_small_file(path, profile) for path in paths]


def leaf_parts(
    descriptor: int, path: str, start: int, size: int, profile: CidProfile, threads: int
) -> Generator[tuple[int, bytes], None, None]:
    """(bytes, leaf digests) of each part of the file from `start` on, in order.

    Raises CallerFault("path", ...) if it cannot be read, or ends before `size`.
    """
    chunk = profile.chunk_bytes
    step = max(HOLE_BYTES // chunk, 1) * chunk
    hole = _digest_of_zeros(chunk, profile)
    while start < size:
        data = _data_from(descriptor, start, size)
        while data - start >= step:
            yield step, hole * (step // chunk)
            start += step
        end = _hole_from(descriptor, data, size, step, start)
        if start < end:
            with closing(named_faults(path, hashed_parts(descriptor, start, end, profile, threads))) as parts:
                for length, digests in parts:
                    if not length:
                        raise CallerFault("path", f"{shown_path(path)} changed while it was being read")
                    yield length, digests
        start = end


def check_unchanged(descriptor: int, path: str, stamp: FileStamp) -> None:
    """Raises CallerFault("path", ...) unless the file is as it was, and as long as its size says."""
    try:
        same = FileStamp.of(os.fstat(descriptor)) == stamp and not os.pread(descriptor, 1, stamp.size)
    except OSError as error:
        raise path_fault(path, error) from None
    if not same:
        raise CallerFault("path", f"{shown_path(path)} changed while it was being read")


def path_fault(path: str, error: OSError) -> CallerFault:
    """What the system says of a path."""
    said = "is a symbolic link" if error.errno == errno.ELOOP else error.strerror or str(error)
    return CallerFault("path", f"{shown_path(path)}: {said}")


def _small_file(path: str, profile: CidProfile) -> SmallFile | CallerFault | None:
    try:
        with opened_file(path) as descriptor:
            stamp = settled_stamp(descriptor, path)
            if stamp.size > profile.chunk_bytes:
                return None
            if stamp.size:
                raw = profile.raw_leaves
                digest = leaf_digests(descriptor, 0, stamp.size, profile.chunk_bytes, raw)
            else:
                digest = sha256(leaf_frame(0, profile.raw_leaves)[0])
            check_unchanged(descriptor, path, stamp)
            return SmallFile(path, stamp, digest)
    except CallerFault as fault:
        return fault
    except EOFError:
        return CallerFault("path", f"{shown_path(path)} changed while it was being read")
    except OSError as error:
        return path_fault(path, error)


def _digest_of_zeros(chunk: int, profile: CidProfile) -> bytes:
    before, behind = leaf_frame(chunk, profile.raw_leaves)
    return sha256(b"".join((before, bytes(chunk), behind)))


def _data_from(descriptor: int, start: int, size: int) -> int:
    """Where the first data from `start` on may be."""
    try:
        return os.lseek(descriptor, start, os.SEEK_DATA)
    except OSError as error:
        return size if error.errno == errno.ENXIO else start


def _hole_from(descriptor: int, data: int, size: int, step: int, start: int) -> int:
    """Where the next hole that is worth it begins, in whole steps from `start`; `size` if there is none."""
    while data < size:
        try:
            hole = os.lseek(descriptor, data, os.SEEK_HOLE)
        except OSError:
            return size
        behind = _data_from(descriptor, hole, size) if hole < size else size
        end = start - (start - hole) // step * step
        if behind - end >= step or behind >= size:
            return min(end, size)
        data = behind
    return size
