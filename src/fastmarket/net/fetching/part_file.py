"""The file that a fetch writes, by a thread: a disk that hangs holds up this fetch and nothing else."""

from __future__ import annotations

import asyncio
import errno
import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeAlias

from fastmarket.errors import NodeFault, StorageFault
from fastmarket.exchange.fetching.events import ReadKept, Write
from fastmarket.part_files import open_proven, written_spans

# Jobs whose ends are told at once, or so many bytes: telling wakes the loop, and until then others of a
# `FetchConfig.max_unwritten_bytes` may not be asked for.
MAX_TOLD_AT_ONCE = 16
MAX_TOLD_BYTES = 256 * 1024

_FULL = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))

_Outcome: TypeAlias = tuple["Write | ReadKept", "bytes | None", "NodeFault | None"]


class PartOwner(Protocol):
    """What is told of the end of each job, in the loop."""

    def on_written(self, leaf: int, fault: NodeFault | None) -> None:
        """A `Write` is done."""

    def on_read(self, leaf: int, data: bytes | None) -> None:
        """A `ReadKept` is done; None: the bytes could not be read."""


class PartWriter:
    """One file. Its jobs are done one after the other, in their order; `Fetch` bounds how many wait.

    Writes at offsets leave holes, by which a later run knows what is missing. After a fault, what was written
    stays.
    """

    def __init__(self, number: int, kept: list[tuple[int, int]], path: str, owner: PartOwner) -> None:
        """Takes over the descriptor `number`."""
        self.kept = kept
        """What an earlier run has written, (first, end) each."""
        self._number = number
        self._path = path
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="fetch")
        self._jobs: deque[Write | ReadKept] = deque()
        self._working: asyncio.Future[None] | None = None
        self._is_closed = False
        self._has_failed = False

    @classmethod
    async def open(cls, path: str, proof: bytes, owner: PartOwner) -> PartWriter:
        """The file of a caller that proves to own it. Raises Unmet, StorageFault."""
        number, kept = await asyncio.to_thread(_opened, path, proof)
        return cls(number, kept, path, owner)

    def start(self, job: Write | ReadKept) -> None:
        """Does it later."""
        self._jobs.append(job)
        self._go()

    async def finish(self, size: int) -> None:
        """Cuts off what is longer than the file. Raises StorageFault."""
        await self._idle()
        try:
            await self._loop.run_in_executor(self._thread, os.ftruncate, self._number, size)
        except OSError as error:
            raise _fault(self._path, error) from None

    async def close(self) -> None:
        """Writes what was handed over, for it is verified and paid; afterwards nothing of this fetch is
        written any more."""
        self._is_closed = True
        await self._idle()
        self._thread.shutdown(wait=False)
        os.close(self._number)

    async def _idle(self) -> None:
        while self._working is not None:
            await asyncio.wait([self._working])

    def _go(self) -> None:
        if self._working is None and self._jobs:
            self._working = self._loop.run_in_executor(self._thread, self._work)
            self._working.add_done_callback(self._worked)

    def _worked(self, working: asyncio.Future[None]) -> None:
        self._working = None
        working.result()  # a bug is reported by the loop
        self._go()  # what came while the thread was ending

    # -- in the thread

    def _work(self) -> None:
        done: list[_Outcome] = []
        size = 0
        while True:
            try:
                job = self._jobs.popleft()
            except IndexError:
                break
            done.append(self._do(job))
            size += job.length if isinstance(job, ReadKept) else len(job.data)
            if len(done) == MAX_TOLD_AT_ONCE or size >= MAX_TOLD_BYTES:
                self._loop.call_soon_threadsafe(self._tell, done)
                done, size = [], 0
        if done:
            self._loop.call_soon_threadsafe(self._tell, done)

    def _do(self, job: Write | ReadKept) -> _Outcome:
        if self._is_closed and (self._has_failed or isinstance(job, ReadKept)):
            return job, None, None  # nobody hears of it
        try:
            if isinstance(job, ReadKept):
                return job, _read(self._number, job.offset, job.length), None
            _write(self._number, job.offset, job.data)
        except OSError as error:
            self._has_failed = True
            return job, None, _fault(self._path, error)
        return job, None, None

    # -- in the loop

    def _tell(self, done: list[_Outcome]) -> None:
        if self._is_closed:
            return
        for job, data, fault in done:
            if isinstance(job, ReadKept):
                self._owner.on_read(job.leaf, data)
            else:
                self._owner.on_written(job.leaf, fault)


def _opened(path: str, proof: bytes) -> tuple[int, list[tuple[int, int]]]:
    number = open_proven(path, proof)
    try:
        return number, written_spans(number)
    except OSError as error:
        os.close(number)
        raise _fault(path, error) from None


def _write(number: int, offset: int, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(number, view, offset)
        view, offset = view[written:], offset + written


def _read(number: int, offset: int, length: int) -> bytes | None:
    found = os.pread(number, length, offset)
    return found if len(found) == length else None


def _fault(path: str, error: OSError) -> StorageFault:
    said = (os.strerror(error.errno) if error.errno else str(error)).lower()
    rest = "; what was fetched stays there" if error.errno in _FULL else ""
    return StorageFault(f"cannot write {path}: {said}{rest}")
