"""The CID of a file on disk, hashed by several threads in constant memory."""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial

from fastmarket._cid import leaf_digests
from fastmarket.errors import CallerFault
from fastmarket.formats.cid import Cid
from fastmarket.formats.unixfs import CHUNK_BYTES, UnixfsImporter

PART_BYTES = 16 * CHUNK_BYTES
"""What one thread takes at a time: some 2 ms of hashing, so that handing it out costs nothing."""

PARTS_AHEAD = 3
"""Parts in hand for each thread; each is only its digests, 32 bytes a chunk."""

MAX_THREADS = 64
"""Hashing outruns any disk long before."""


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
    if threads is not None and not 0 < threads <= MAX_THREADS:
        raise CallerFault("threads", f"1..{MAX_THREADS} wanted, got {threads}")
    name = os.fsdecode(path)
    with _opened(name) as (fd, size):
        parts = _named_faults(name, _hashed_parts(fd, size, importer.raw_leaves, threads or _processors()))
        done = 0
        # Closed before the descriptor is: no thread may read from a number that has become another file.
        with closing(parts):
            for part, digests in parts:
                importer.add_leaves(digests, part)
                done += part
                if progress is not None:
                    progress(done, size)
    return importer.finish()


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
            raise CallerFault("file", f"{name} is a directory")
        if not stat.S_ISREG(status.st_mode):
            raise CallerFault("file", f"{name} is not a regular file")
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
            raise CallerFault("file", f"{name} became shorter while it was read") from None
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
