"""Something that happens once: a future only where somebody waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Generator


class OneShot:
    """Comes well or with a fault, and only the first time counts. Await it; where several do and one may give
    up, that one shields `wait()`."""

    __slots__ = ("_done", "_fault", "_future")

    def __init__(self) -> None:
        self._done = False
        self._fault: Exception | None = None
        self._future: asyncio.Future[None] | None = None

    def is_set(self) -> bool:
        """It has come."""
        return self._done

    def set(self) -> None:
        """It has happened."""
        self._end(None)

    def fail(self, fault: Exception) -> None:
        """It will not happen: `fault` is raised in every waiter."""
        self._end(fault)

    def _end(self, fault: Exception | None) -> None:
        if self._done:
            return
        self._done, self._fault = True, fault
        if self._future is not None and not self._future.done():
            self._settle(self._future)

    def wait(self) -> asyncio.Future[None]:
        """Done when it comes."""
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
            future.exception()  # who stopped waiting does not want to hear of it

    def __await__(self) -> Generator[object, None, None]:
        return self.wait().__await__()
