"""Whether bytes of a file are in memory, and how they get there without holding up the event loop."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from fastmarket.content.port.pieces import FileSlice

READERS = 4  # threads; as many slices are read at once, which keeps a disk busy
_NO_WAIT: int | None = getattr(os, "RWF_NOWAIT", None)  # Linux 4.14


class SliceCold(Exception):
    """The bytes are on the disk alone: to send them would hold up the loop, by milliseconds."""


def check_in_memory(descriptor: int, piece: FileSlice) -> None:
    """Raises SliceCold if the last byte is not in the page cache; where the system does not say, it is."""
    if _NO_WAIT is None or not piece.length:
        return
    try:
        os.preadv(descriptor, (bytearray(1),), piece.offset + piece.length - 1, _NO_WAIT)
    except BlockingIOError:
        raise SliceCold from None
    except OSError:
        return  # a file system in memory, or an error that sending will show


class SliceReaders:
    """Threads that read slices from the disk, for the page cache."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._threads: ThreadPoolExecutor | None = None

    def read(self, piece: FileSlice, done: Callable[[], None]) -> None:
        """Calls `done` in the loop when it was read, or could not be. Raises FileMoved."""
        if self._threads is None:
            self._threads = ThreadPoolExecutor(READERS, "content-port-reader")
        stack = ExitStack()
        descriptor = stack.enter_context(piece.file.opened())  # which stays open meanwhile

        def ended(reading: asyncio.Future[None]) -> None:
            stack.close()
            if not reading.cancelled():
                reading.exception()  # what is wrong shows again when it is sent
            done()

        reading = self._loop.run_in_executor(self._threads, _read, descriptor, piece.offset, piece.length)
        reading.add_done_callback(ended)

    async def close(self) -> None:
        """Returns when no thread reads any more."""
        if self._threads is not None:
            await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)


def _read(descriptor: int, offset: int, length: int) -> None:
    os.pread(descriptor, length, offset)
