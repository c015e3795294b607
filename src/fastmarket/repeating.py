"""Work repeated on the event loop, even if it fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from fastmarket.faults import Faults

Work = Callable[[], "Awaitable[bool | None] | None"]
"""Returns True to end the repetition."""


class Repeating:
    """Calls `work()` every `wait_s()` seconds from `start` to `stop`. An exception ends only that run: it is
    reported, and the next run follows."""

    def __init__(self, place: str, wait_s: Callable[[], float], work: Work, faults: Faults) -> None:
        """`place` names the work in the log."""
        self._place = place
        self._wait_s = wait_s
        self._work = work
        self._faults = faults
        self._task: asyncio.Task[None] | None = None
        self._woken = asyncio.Event()

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._task is not None and not self._task.done()

    def start(self, *, at_once: bool = False) -> None:
        """The first run comes after a wait, or `at_once`."""
        self._task = asyncio.ensure_future(self._run(at_once))

    def soon(self) -> None:
        """The next run does not wait, whatever `wait_s` says."""
        self._woken.set()

    async def stop(self) -> None:
        """Cancels it, even during a run; returns when that has ended."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self, at_once: bool) -> None:
        if at_once and await self._once():
            return
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._wait_s()):
                    await self._woken.wait()
            self._woken.clear()
            if await self._once():
                return

    async def _once(self) -> bool:
        try:
            done = self._work()
            return (await done if done is not None else None) is True
        except Exception as error:  # noqa: BLE001 - or it would never run again
            self._faults.tell(self._place, error)
            return False
