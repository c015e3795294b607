"""A one-shot event; it makes a future only when something waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Generator


class OneShot:
    """A one-shot event that succeeds or fails; later calls are ignored. It is awaitable; a waiter that may
    give up while others still wait must shield `wait()`."""

    __slots__ = ("_done", "_fault", "_future")

    def __init__(self) -> None:
        self._done = False
        self._fault: Exception | None = None
        self._future: asyncio.Future[None] | None = None

    def is_set(self) -> bool:
        """Whether it has succeeded or failed."""
        return self._done

    def set(self) -> None:
        """Succeeds."""
        self._end(None)

    def fail(self, fault: Exception) -> None:
        """Fails: every waiter raises `fault`."""
        self._end(fault)

    def _end(self, fault: Exception | None) -> None:
        if self._done:
            return
        self._done, self._fault = True, fault
        if self._future is not None and not self._future.done():
            self._settle(self._future)

    def wait(self) -> asyncio.Future[None]:
        """A future that completes with the event."""
        future = self._future
        if future is None or future.cancelled():
            future = self._future = asyncio.get_running_loop().create_future()
            if self._done:
                self._settle(future)
        return future

    def _settle(self, future: asyncio.Future[None]) -> None:
        if self._fault is None:
            future.set_result(None)
        else:
            future.set_exception(self._fault)
            future.exception()  # a waiter that has given up need not be told

    def __await__(self) -> Generator[object, None, None]:
        return self.wait().__await__()
