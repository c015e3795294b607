"""The CIDs of files on disk, hashed by several threads in constant memory.

A file's state is checked before and after it is read: a CID is of one consistent content, or there is none.
"""

from __future__ import annotations

import os
import stat
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from errno import EINVAL
from itertools import islice
from typing import NamedTuple

from fastmarket.errors import CallerFault
from fastmarket.formats.cid import SHA2_256_PREFIX, Cid, Codec
from fastmarket.formats.unixfs.importer import UnixfsImporter
from fastmarket.formats.unixfs.profile import UNIXFS_V0_2015, CidProfile
from fastmarket.hashed_parts import hashed_parts, named_faults
from fastmarket.native.cid import (
    FILE_DIRECTORY,
    FILE_IRREGULAR,
    FILE_LARGE,
    FILE_UNSETTLED,
    encode_cid_v0,
    encode_cid_v1,
    file_digests,
)

READ_BYTES = 256 * 1024
"""Read at once from a file whose size is not its length."""

FILES_A_BATCH = 128
"""Small files hashed by one thread at a time, in one compiled call: some 2 ms of work."""

BATCHES_AHEAD = 3
"""Such batches in progress per thread."""

MAX_THREADS = 64
"""Hashing outruns any disk long before that."""

MAX_UNSIZED_BYTES = 1 << 30
"""Limit for files whose size is not their length, as in /proc: some never end, and no real one is so long."""

TICK_NS = 10_000_000
"""Granularity of a file system's timestamps: a tick of the kernel's clock (10 ms at 100 Hz). Of two changes
within one tick, the second is invisible."""

SETTLING_LOOKS = 3
"""A file that changes at each of this many checks, a tick apart, is being written to."""

_FAULTS = {
    FILE_DIRECTORY: "is a directory",
    FILE_IRREGULAR: "is not a regular file",
    FILE_UNSETTLED: "changed while it was being read",
}


class FileState(NamedTuple):
    """Distinguishes one content of a path from the next. Times are Unix time in ns."""

    device: int
    inode: int
    size: int  # bytes, as reported by the file system
    modified_ns: int
    changed_ns: int  # of the inode: no program can set it, so new bytes with an old mtime are detected

    @classmethod
    def of(cls, status: os.stat_result) -> FileState:
        """From the result of `os.stat` or `os.fstat`."""
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)

    def settled(self, now_ns: int) -> bool:
        """Whether a further change would show. Times in the future come from another machine's clock."""
        return not 0 <= now_ns - self.changed_ns < TICK_NS


@dataclass(frozen=True, slots=True)
class HashedFile:
    """`size`: the bytes read; `state`: the file's at that time; `tree_bytes`: of all its blocks."""

    cid: Cid
    size: int
    state: FileState
    tree_bytes: int


def cid_of_file(
    path: str | os.PathLike[str],
    *,
    profile: CidProfile | str = UNIXFS_V0_2015,
    cid_version: int | None = None,
    raw_leaves: bool | None = None,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Cid:
    """The CID `ipfs add` gives to the file at `path` under a profile, also by name, with `--cid-version` and
    `--raw-leaves` in place of its own.

    `threads`: by default one per processor this process may use. `progress` is called in the calling thread
    with (bytes done, total bytes); an exception from it ends the work. Raises CallerFault("file", ...) if the
    path is not a readable regular file, or the file changes meanwhile.
    """
    profile = profile if isinstance(profile, CidProfile) else CidProfile.of(profile)
    profile = profile.with_(cid_version=cid_version, raw_leaves=raw_leaves)
    return hashed_file(path, profile=profile, threads=threads, progress=progress).cid


def hashed_file(
    path: str | os.PathLike[str],
    *,
    profile: CidProfile = UNIXFS_V0_2015,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> HashedFile:
    """Like `cid_of_file`, with the size and state of the hashed file."""
    threads = _checked(threads)
    name = os.fsdecode(path)
    with _opened(name) as fd:
        state = _settled(fd, name)
        importer = UnixfsImporter(profile)
        done, whole = 0, True
        parts = hashed_parts(fd, 0, state.size, profile, threads)
        # Closed before the descriptor is: no thread may read from a number reused for another file.
        with closing(named_faults(name, parts)) as named:
            for part, digests in named:
                whole = part > 0
                importer.add_leaves(digests, part)
                done += part
                if progress is not None and whole:
                    progress(done, state.size)
        _check_unmoved(fd, name, state)
        if not whole or not _ends(fd, name, state.size):
            importer = UnixfsImporter(profile)
            done = _read_unsized(fd, name, importer)
            _check_unmoved(fd, name, state)
    return HashedFile(importer.finish(), done, state, importer.finish_link().tree_bytes)


def cids_of_files(
    paths: Iterable[str | os.PathLike[str]],
    *,
    profile: CidProfile | str = UNIXFS_V0_2015,
    cid_version: int | None = None,
    raw_leaves: bool | None = None,
    threads: int | None = None,
) -> Generator[str | CallerFault, None, None]:
    """For each path, in order, the text of the CID that `cid_of_file` returns, or the fault it would raise.

    Files of one chunk are hashed in batches, without Python in between; a longer one by all threads. Paths
    are read some batches ahead.
    """
    profile = profile if isinstance(profile, CidProfile) else CidProfile.of(profile)
    profile = profile.with_(cid_version=cid_version, raw_leaves=raw_leaves)
    found = hashed_files(paths, profile=profile, threads=threads)
    with closing(found):
        for one in found:
            yield str(one.cid) if isinstance(one, HashedFile) else one


def hashed_files(
    paths: Iterable[str | os.PathLike[str]],
    *,
    profile: CidProfile = UNIXFS_V0_2015,
    threads: int | None = None,
) -> Generator[str | HashedFile | CallerFault, None, None]:
    """Like `cids_of_files`; a file hashed on its own, as any longer one is, yields a `HashedFile`."""
    form = _Form(profile)
    threads = _checked(threads)
    names = map(os.fsdecode, paths)
    batches = iter(lambda: list(islice(names, FILES_A_BATCH)), [])
    if threads == 1:
        for batch in batches:
            yield from form.texts(batch, _digests(batch, profile), threads)
        return
    waiting: deque[tuple[list[str], Future[list[bytes | int]]]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="fastmarket-hash") as pool:
        try:
            for batch in batches:
                waiting.append((batch, pool.submit(_digests, batch, profile)))
                if len(waiting) >= BATCHES_AHEAD * threads:
                    oldest, future = waiting.popleft()
                    yield from form.texts(oldest, future.result(), threads)
            for oldest, future in waiting:
                yield from form.texts(oldest, future.result(), threads)
        finally:
            for _, future in waiting:
                future.cancel()


_Named = str | HashedFile | CallerFault


@dataclass(frozen=True, slots=True)
class _Form:
    """The form of the CIDs."""

    profile: CidProfile

    def texts(self, names: list[str], found: list[bytes | int], threads: int) -> Iterator[_Named]:
        """The results for what `_digests` found; files longer than a leaf are hashed here."""
        raw = self.profile.raw_leaves
        plain = not self.profile.cid_version and not raw
        codec = Codec.RAW if raw else Codec.DAG_PB
        for name, digest in zip(names, found, strict=True):
            if isinstance(digest, bytes):
                multihash = SHA2_256_PREFIX + digest
                yield encode_cid_v0(multihash) if plain else encode_cid_v1(codec, multihash)
            elif digest in (FILE_LARGE, FILE_UNSETTLED):
                yield self._alone(name, threads)
            else:
                yield _fault_of(name, digest)

    def _alone(self, name: str, threads: int) -> HashedFile | CallerFault:
        try:
            return hashed_file(name, profile=self.profile, threads=threads)
        except CallerFault as fault:
            return fault


def _digests(names: list[str], profile: CidProfile) -> list[bytes | int]:
    settled_ns = time.time_ns() - TICK_NS
    encoded = [os.fsencode(name) for name in names]
    if any(b"\0" in name for name in encoded):
        return [_digests([name], profile)[0] if "\0" not in name else EINVAL for name in names]
    return file_digests(encoded, profile.chunk_bytes, profile.raw_leaves, settled_ns)


def _fault_of(name: str, fault: int) -> CallerFault:
    if "\0" in name:
        return CallerFault("file", "the path contains a NUL byte")
    told = _FAULTS.get(fault)
    return CallerFault("file", f"{name} {told}" if told else f"{name}: {os.strerror(fault)}")


def _checked(threads: int | None) -> int:
    if threads is not None and not 0 < threads <= MAX_THREADS:
        raise CallerFault("threads", f"expects 1 to {MAX_THREADS}, got {threads}")
    return threads or _processors()


@contextmanager
def _opened(name: str) -> Iterator[int]:
    """The descriptor of a regular file."""
    if "\0" in name:
        raise CallerFault("file", "the path contains a NUL byte")
    try:
        # Non-blocking: otherwise, opening a pipe without a writer would never return.
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as fault:
        raise CallerFault("file", f"{name}: {fault.strerror}") from None
    try:
        status = os.fstat(fd)
        if stat.S_ISDIR(status.st_mode):
            raise _fault_of(name, FILE_DIRECTORY)
        if not stat.S_ISREG(status.st_mode):
            raise _fault_of(name, FILE_IRREGULAR)
        yield fd
    finally:
        os.close(fd)


def _settled(fd: int, name: str) -> FileState:
    """The state of an open file, taken when a further change would show."""
    for _ in range(SETTLING_LOOKS):
        state, now_ns = FileState.of(os.fstat(fd)), time.time_ns()
        if state.settled(now_ns):
            return state
        time.sleep((state.changed_ns + TICK_NS - now_ns) / 1e9)
    raise CallerFault("file", f"{name} is being written to")


def _check_unmoved(fd: int, name: str, state: FileState) -> None:
    if FileState.of(os.fstat(fd)) != state:
        raise _fault_of(name, FILE_UNSETTLED)


def _ends(fd: int, name: str, size: int) -> bool:
    """Whether the file ends at `size`."""
    try:
        return not os.pread(fd, 1, size)
    except OSError as fault:
        raise CallerFault("file", f"{name}: {fault.strerror}") from None


def _read_unsized(fd: int, name: str, importer: UnixfsImporter) -> int:
    """Reads to the end, wherever that is; returns the bytes read. For files with a wrong size, as in
    /proc."""
    done = 0
    try:
        os.lseek(fd, 0, os.SEEK_SET)
        while data := os.read(fd, READ_BYTES):
            importer.feed(data)
            done += len(data)
            if done > MAX_UNSIZED_BYTES:
                raise CallerFault("file", f"{name} is longer than its size, and does not end")
    except OSError as fault:
        raise CallerFault("file", f"{name}: {fault.strerror}") from None
    return done


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return min(len(os.sched_getaffinity(0)), MAX_THREADS)
    return min(os.cpu_count() or 1, MAX_THREADS)
