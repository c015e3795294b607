"""The CIDs of files on disk, hashed by several threads in constant memory."""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from errno import EINVAL
from functools import partial
from itertools import islice

from fastmarket._cid import (
    FILE_DIRECTORY,
    FILE_ENDS,
    FILE_IRREGULAR,
    FILE_LARGE,
    encode_cid_v0,
    encode_cid_v1,
    file_digests,
    leaf_digests,
)
from fastmarket.errors import CallerFault
from fastmarket.formats.cid import SHA2_256_PREFIX, Cid, Codec
from fastmarket.formats.unixfs import CHUNK_BYTES, UnixfsImporter

PART_BYTES = 16 * CHUNK_BYTES
"""What one thread takes at a time: some 2 ms of hashing, so that handing it out costs nothing."""

PARTS_AHEAD = 3
"""Parts in hand for each thread; each is only its digests, 32 bytes a chunk."""

FILES_A_BATCH = 128
"""Small files that one thread takes at a time, in one compiled call: some 2 ms of work."""

BATCHES_AHEAD = 3
"""Such batches in hand for each thread."""

MAX_THREADS = 64
"""Hashing outruns any disk long before."""

_FAULTS = {
    FILE_DIRECTORY: "is a directory",
    FILE_IRREGULAR: "is not a regular file",
    FILE_ENDS: "became shorter while it was read",
}


def cid_of_file(
    path: str | os.PathLike[str],
    *,
    cid_version: int = 0,
    raw_leaves: bool | None = None,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Cid:
    """The CID `ipfs add` gives the file at `path` (`--cid-version`, `--raw-leaves`).

    `threads`: default one for each processor this process may use. `progress` is called in the calling thread
    with (bytes done, bytes in all); what it raises ends the work. CallerFault("file", ...) where the path is
    no readable regular file, or the file shrinks meanwhile.
    """
    importer = UnixfsImporter(cid_version=cid_version, raw_leaves=raw_leaves)
    threads = _checked(threads)
    name = os.fsdecode(path)
    with _opened(name) as (fd, size):
        parts = _named_faults(name, _hashed_parts(fd, size, importer.raw_leaves, threads))
        done = 0
        # Closed before the descriptor is: no thread may read from a number that has become another file.
        with closing(parts):
            for part, digests in parts:
                importer.add_leaves(digests, part)
                done += part
                if progress is not None:
                    progress(done, size)
    return importer.finish()


def cids_of_files(
    paths: Iterable[str | os.PathLike[str]],
    *,
    cid_version: int = 0,
    raw_leaves: bool | None = None,
    threads: int | None = None,
) -> Generator[str | CallerFault, None, None]:
    """For each path, in order, the text of what `cid_of_file` gives, or in its place what that would raise.

    Files of one chunk are hashed by the batch, without Python in between; a longer one by all threads. Paths
    are asked for some batches ahead.
    """
    form = _Form(cid_version, UnixfsImporter(cid_version=cid_version, raw_leaves=raw_leaves).raw_leaves)
    threads = _checked(threads)
    names = map(os.fsdecode, paths)
    batches = iter(lambda: list(islice(names, FILES_A_BATCH)), [])
    if threads == 1:
        for batch in batches:
            yield from form.texts(batch, _digests(batch, form.raw), threads)
        return
    waiting: deque[tuple[list[str], Future[list[bytes | int]]]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="fastmarket-hash") as pool:
        try:
            for batch in batches:
                waiting.append((batch, pool.submit(_digests, batch, form.raw)))
                if len(waiting) >= BATCHES_AHEAD * threads:
                    oldest, future = waiting.popleft()
                    yield from form.texts(oldest, future.result(), threads)
            for oldest, future in waiting:
                yield from form.texts(oldest, future.result(), threads)
        finally:
            for _, future in waiting:
                future.cancel()


@dataclass(frozen=True, slots=True)
class _Form:
    """Which CIDs are wanted."""

    version: int
    raw: bool

    def texts(self, names: list[str], found: list[bytes | int], threads: int) -> Iterator[str | CallerFault]:
        """What `_digests` found, as it is told; what is longer than a leaf is hashed here."""
        plain = not self.version and not self.raw
        codec = Codec.RAW if self.raw else Codec.DAG_PB
        for name, digest in zip(names, found, strict=True):
            if isinstance(digest, bytes):
                multihash = SHA2_256_PREFIX + digest
                yield encode_cid_v0(multihash) if plain else encode_cid_v1(codec, multihash)
            elif digest == FILE_LARGE:
                yield self._of_large(name, threads)
            else:
                yield _fault_of(name, digest)

    def _of_large(self, name: str, threads: int) -> str | CallerFault:
        try:
            return str(cid_of_file(name, cid_version=self.version, raw_leaves=self.raw, threads=threads))
        except CallerFault as fault:
            return fault


def _digests(names: list[str], raw: bool) -> list[bytes | int]:
    encoded = [os.fsencode(name) for name in names]
    if any(b"\0" in name for name in encoded):
        return [_digests([name], raw)[0] if "\0" not in name else EINVAL for name in names]
    return file_digests(encoded, CHUNK_BYTES, raw)


def _fault_of(name: str, fault: int) -> CallerFault:
    if "\0" in name:
        return CallerFault("file", "the path holds a null byte")
    told = _FAULTS.get(fault)
    return CallerFault("file", f"{name} {told}" if told else f"{name}: {os.strerror(fault)}")


def _checked(threads: int | None) -> int:
    if threads is not None and not 0 < threads <= MAX_THREADS:
        raise CallerFault("threads", f"1..{MAX_THREADS} wanted, got {threads}")
    return threads or _processors()


@contextmanager
def _opened(name: str) -> Iterator[tuple[int, int]]:
    """(descriptor, size) of a regular file."""
    if "\0" in name:
        raise CallerFault("file", "the path holds a null byte")
    try:
        # Not blocking: opening a pipe nobody writes to would otherwise never return.
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as fault:
        raise CallerFault("file", f"{name}: {fault.strerror}") from None
    try:
        status = os.fstat(fd)
        if stat.S_ISDIR(status.st_mode):
            raise _fault_of(name, FILE_DIRECTORY)
        if not stat.S_ISREG(status.st_mode):
            raise _fault_of(name, FILE_IRREGULAR)
        yield fd, status.st_size
    finally:
        os.close(fd)


def _named_faults(
    name: str, parts: Generator[tuple[int, bytes], None, None]
) -> Generator[tuple[int, bytes], None, None]:
    """The same parts; a fault of reading names the file. What the caller's own code raises is none of it."""
    with closing(parts):
        try:
            yield from parts
        except EOFError:
            raise _fault_of(name, FILE_ENDS) from None
        except OSError as fault:
            raise CallerFault("file", f"{name}: {fault.strerror}") from None


def _hashed_parts(fd: int, size: int, raw: bool, threads: int) -> Generator[tuple[int, bytes], None, None]:
    """(bytes, leaf digests) of each part of the file, in order."""
    parts = ((at, min(PART_BYTES, size - at)) for at in range(0, size, PART_BYTES))
    threads = min(threads, -(-size // PART_BYTES))
    if threads <= 1:
        for at, length in parts:
            yield length, leaf_digests(fd, at, length, CHUNK_BYTES, raw)
        return
    waiting: deque[tuple[int, Future[bytes]]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="fastmarket-hash") as pool:
        try:
            for at, length in parts:
                job = partial(leaf_digests, fd, at, length, CHUNK_BYTES, raw)
                waiting.append((length, pool.submit(job)))
                if len(waiting) >= PARTS_AHEAD * threads:
                    oldest, future = waiting.popleft()
                    yield oldest, future.result()
            while waiting:
                oldest, future = waiting.popleft()
                yield oldest, future.result()
        finally:
            for _, future in waiting:
                future.cancel()


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return min(len(os.sched_getaffinity(0)), MAX_THREADS)
    return min(os.cpu_count() or 1, MAX_THREADS)
