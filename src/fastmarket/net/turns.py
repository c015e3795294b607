"""When a sans-IO object gets its turn: soon after any input, once for all of them, and at its timer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fastmarket.net.clock import Clock


class Turns:
    """`turn(now)` is called in the loop turn after `wake`, and when `next_timer()` has come.

    An armed timer is only moved for an earlier time: one that fires early looks again and costs a call.
    """

    def __init__(
        self, clock: Clock, next_timer: Callable[[], float | None], turn: Callable[[float], None]
    ) -> None:
        self._clock = clock
        self._next_timer = next_timer
        self._turn = turn
        self._loop = asyncio.get_running_loop()
        self._woken = False
        self._closed = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")

    def wake(self) -> None:
        """There was input."""
        if not self._woken and not self._closed:
            self._woken = True
            self._loop.call_soon(self._take)

    def arm(self) -> None:
        """Only the timer may have changed."""
        if self._closed:
            return
        at = self._next_timer()
        if at is None or at >= self._timer_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_later(max(0.0, at - self._clock.now()), self._on_timer)

    def close(self) -> None:
        """No turn any more. Lets go of those who would take it: they hold this, and a busy server would be
        left with more and more that only the collector of cycles frees."""
        if self._closed:
            return
        self._closed = True
        del self._next_timer, self._turn
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_timer(self) -> None:
        self._timer = None
        self._timer_at = float("inf")
        self._take()

    def _take(self) -> None:
        self._woken = False
        if not self._closed:
            self._turn(self._clock.now())
            self.arm()
