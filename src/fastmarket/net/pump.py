"""When a sans-IO object gets its turn: soon after any input, once for all of them, and at its timer."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from math import inf

from fastmarket.faults import Faults
from fastmarket.net.clock import Clock
from fastmarket.run_all import PAUSE_S

# Turns taken in one go; then the sockets are looked at again. A reply costs two: the engine's, and that of
# the link which carries the next request.
MAX_IN_ONE_GO = 256

# Of each turn of the loop so long goes to connections that sent more than is done at one time; one of them
# has its turn in any case. What others send meanwhile, and is short, is answered in between.
REST_S = 0.002


class RunQueue:
    """The turns that were asked for, taken in order in the next turn of the loop; those that they ask for in
    turn come in the same one, and not after another look at the sockets.

    Beside them, `run_later`: those who have more to do than is done at one time, one after the other.
    """

    __slots__ = ("_going_on", "_late", "_loop", "_planned", "_woken", "clock", "faults")

    def __init__(self, clock: Clock, faults: Faults) -> None:
        self.clock = clock
        self.faults = faults
        self._loop = asyncio.get_running_loop()
        self._planned = False
        self._woken: deque[Pump] = deque()
        self._late: deque[Callable[[], None]] = deque()
        self._going_on = False  # planned, or under way

    @property
    def is_crowded(self) -> bool:
        """Whether work that was split up is waiting to continue."""
        return bool(self._late)

    def run_later(self, go_on: Callable[[], None]) -> None:
        """Calls `go_on` after the sockets have been polled again, and after earlier calls of `run_later`."""
        self._late.append(go_on)
        if not self._going_on:
            self._going_on = True
            self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        until, late = self.clock.now() + REST_S, self._late
        try:
            for _ in range(len(late)):  # what has more to do queues again
                late.popleft()()
                if self.clock.now() >= until:
                    break
        finally:
            self._going_on = bool(late)
            if late:
                self._loop.call_soon(self._go_on)

    def add(self, pump: Pump) -> None:
        """Schedules `pump.run_if_woken()`."""
        self._woken.append(pump)
        if not self._planned:
            self._planned = True
            self._loop.call_soon(self._go)

    def _go(self) -> None:
        woken = self._woken
        try:
            for _ in range(MAX_IN_ONE_GO):
                woken.popleft().run_if_woken()
                if not woken:
                    break
        finally:
            self._planned = bool(woken)
            if woken:
                self._loop.call_soon(self._go)


class Pump:
    """`turn(now)` is called in the loop turn after `wake`, by `take`, and when `next_timer()` has come.

    An armed timer is only moved for an earlier time: one that fires early looks again and costs a call. So it
    is never later than `next_timer()` was after the last turn: before `due` there is nothing to look for.

    What a turn raises costs that turn: `failed(error)` is called, the timer is armed, and what is due at once
    waits `PAUSE_S`.
    """

    __slots__ = (
        "_clock",
        "_closed",
        "_loop",
        "_next_timer",
        "_not_before",
        "_on_error",
        "_run",
        "_run_queue",
        "_timer",
        "_woken",
        "due",
    )

    def __init__(
        self,
        run_queue: RunQueue,
        next_timer: Callable[[], float | None],
        turn: Callable[[float], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self._run_queue = run_queue
        self._clock = run_queue.clock
        self._next_timer = next_timer
        self._run = turn
        self._on_error = failed
        self._loop = asyncio.get_running_loop()
        self._woken = False
        self._closed = False
        self._not_before = -inf  # the timer, after a turn that failed
        self._timer: asyncio.TimerHandle | None = None
        self.due = inf
        """When the timer fires, or has fired for the turn under way."""

    def wake(self) -> None:
        """There was input."""
        if not self._woken and not self._closed:
            self._woken = True
            self._run_queue.add(self)

    def take(self, now: float) -> None:
        """A turn at once, in place of one that was to come."""
        self._woken = False
        if self._closed:
            return
        try:
            self._run(now)
        except Exception as error:  # noqa: BLE001 - see the class
            self._on_bug(error, now)
        self.arm()

    def arm(self) -> None:
        """Only the timer may have changed."""
        if self._closed:
            return
        try:
            at = self._next_timer()
        except Exception as error:  # noqa: BLE001 - see the class
            now = self._clock.now()
            self._on_bug(error, now)
            at = now
        if at is None:
            return
        if at < self._not_before:
            at = self._not_before
        if at >= self.due or self._closed:
            return
        if self._timer is not None:
            self._timer.cancel()
        self.due = at
        self._timer = self._loop.call_later(max(0.0, at - self._clock.now()), self._on_timer)

    def close(self) -> None:
        """Ends all turns. Drops the callbacks: their owners refer to this pump, and on a busy server more and
        more of these cycles would be left to the garbage collector."""
        if self._closed:
            return
        self._closed = True
        del self._next_timer, self._run, self._on_error
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def run_if_woken(self) -> None:
        """For the run queue."""
        if self._woken:
            self.take(self._clock.now())

    def _on_timer(self) -> None:
        self._woken = False
        self._timer = None
        if self._closed:
            return
        now = self._clock.now()
        try:
            self._run(now)
        except Exception as error:  # noqa: BLE001 - see the class
            self._on_bug(error, now)
        self.due = inf
        self.arm()

    def _on_bug(self, error: Exception, now: float) -> None:
        self._not_before = now + PAUSE_S
        if not self._closed:
            self._on_error(error)
