"""The leaves of one open file, hashed part by part by several threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from functools import partial

from fastmarket.errors import CallerFault
from fastmarket.formats.unixfs.profile import CidProfile
from fastmarket.native.cid import leaf_digests

PART_BYTES = 4 * 1024 * 1024
"""Hashed by one thread at a time, in whole chunks: some 2 ms of work, so handing it out costs nothing."""

PARTS_AHEAD = 3
"""Parts in progress per thread; each holds only its digests, 32 bytes a chunk."""


def named_faults(
    name: str, parts: Generator[tuple[int, bytes], None, None]
) -> Generator[tuple[int, bytes], None, None]:
    """The same parts; a read fault names the file, and an early end becomes a last part without bytes.

    Exceptions of the caller's own code pass through.
    """
    with closing(parts):
        try:
            yield from parts
        except EOFError:
            yield 0, b""
        except OSError as fault:
            raise CallerFault("file", f"{name}: {fault.strerror}") from None


def hashed_parts(
    fd: int, start: int, end: int, profile: CidProfile, threads: int
) -> Generator[tuple[int, bytes], None, None]:
    """(bytes, leaf digests) of each part of the file from `start` to `end`, in order."""
    chunk, raw = profile.chunk_bytes, profile.raw_leaves
    part = max(PART_BYTES // chunk, 1) * chunk
    parts = ((at, min(part, end - at)) for at in range(start, end, part))
    threads = min(threads, -(-(end - start) // part))
    if threads <= 1:
        for at, length in parts:
            yield length, leaf_digests(fd, at, length, chunk, raw)
        return
    waiting: deque[tuple[int, Future[bytes]]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="fastmarket-hash") as pool:
        try:
            for at, length in parts:
                job = partial(leaf_digests, fd, at, length, chunk, raw)
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
