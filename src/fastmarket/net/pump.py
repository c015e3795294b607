"""Schedules the turns of sans-IO objects: soon after any input, once for all of it, and at the timer."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from math import inf

from fastmarket.faults import Faults
from fastmarket.net.clock import Clock
from fastmarket.run_all import PAUSE_S

# Turns in one go, before the sockets are polled again. A reply takes two: the engine's, and that of the link
# that carries the next request.
MAX_IN_ONE_GO = 256

# Time in each turn of the loop for connections that sent more than is processed at once; one of them gets its
# turn in any case. Short input of others is answered in between.
REST_S = 0.002


class RunQueue:
    """Requested turns, taken in order in the next turn of the loop; turns that they request in turn follow in
    the same one, without polling the sockets again.

    `run_later` is for work that continues after the sockets have been polled, one piece at a time.
    """

    __slots__ = ("_going_on", "_late", "_loop", "_planned", "_woken", "clock", "faults")

    def __init__(self, clock: Clock, faults: Faults) -> None:
        self.clock = clock
        self.faults = faults
        self._loop = asyncio.get_running_loop()
        self._planned = False
        self._woken: deque[Pump] = deque()
        self._late: deque[Callable[[], None]] = deque()
        self._going_on = False  # scheduled or running

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
            for _ in range(len(late)):  # unfinished work queues again
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
    """`turn(now)` is called in the loop turn after `wake`, by `take`, and when `next_timer()` is due.

    An armed timer is only moved to an earlier time; one that fires too early costs one call. So it is never
    later than `next_timer()` was after the last turn, and before `due` nothing has to be checked.

    An exception costs the turn that raised it: `failed(error)` is called, the timer is armed, and what is due
    at once is delayed by `PAUSE_S`.
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
        self._not_before = -inf  # of the timer, after a failed turn
        self._timer: asyncio.TimerHandle | None = None
        self.due = inf
        """When the timer fires, or has fired for the current turn."""

    def wake(self) -> None:
        """Schedules a turn after input."""
        if not self._woken and not self._closed:
            self._woken = True
            self._run_queue.add(self)

    def take(self, now: float) -> None:
        """Takes a turn at once, instead of a scheduled one."""
        self._woken = False
        if self._closed:
            return
        try:
            self._run(now)
        except Exception as error:  # noqa: BLE001 - see the class
            self._on_bug(error, now)
        self.arm()

    def arm(self) -> None:
        """Arms the timer, if only that may have changed."""
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
        """Ends all turns. Drops the callbacks, whose owners refer to this pump: on a busy server, such cycles
        would pile up for the garbage collector."""
        if self._closed:
            return
        self._closed = True
        del self._next_timer, self._run, self._on_error
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def run_if_woken(self) -> None:
        """Called by the run queue."""
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
