"""An event loop in virtual time, one for each process: what the shipped storage runs on.

Its threads are its own: a call in an executor takes place as a whole, at a moment of virtual time, after
those before it in the same executor. When the process ends, nothing of it runs any more.
"""

from __future__ import annotations

import asyncio
import inspect
from asyncio import events
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from contextvars import Context
from typing import Any, Protocol


class Scheduler(Protocol):
    """Virtual time."""

    @property
    def now(self) -> float:
        """Seconds."""

    def at(self, when: float, event: Callable[[], None]) -> None:
        """Calls it then."""


class VirtualLoop(asyncio.AbstractEventLoop):
    """`delays_s` gives how long the next call in an executor waits, and how long its result does. `failed` is
    told what escaped from callbacks."""

    def __init__(
        self,
        scheduler: Scheduler,
        delays_s: Callable[[], tuple[float, float]],
        failed: Callable[[dict[str, Any]], None],
    ) -> None:
        self._scheduler = scheduler
        self._delays_s = delays_s
        self._failed = failed
        self._free_at: dict[Executor | None, float] = {}
        self.tasks: set[asyncio.Task[Any]] = set()
        self.is_dead = False

    def run(self, call: Callable[..., Any], *args: Any) -> Any:
        """As a callback of this loop, at once."""
        before = events._get_running_loop()
        events._set_running_loop(self)
        try:
            return call(*args)
        finally:
            events._set_running_loop(before)

    def end(self) -> None:
        """The process is gone."""
        self.is_dead = True
        for task in self.tasks:
            coro = task.get_coro()
            if inspect.iscoroutine(coro) and inspect.getcoroutinestate(coro) == inspect.CORO_CREATED:
                coro.close()  # it would be reported as one that was never awaited

    # --- asyncio.AbstractEventLoop

    def time(self) -> float:
        return self._scheduler.now

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return not self.is_dead

    def is_closed(self) -> bool:
        return self.is_dead

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Coroutine[Any, Any, Any], **named: Any) -> asyncio.Task[Any]:
        task = asyncio.Task(coro, loop=self, **named)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def call_soon(
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._at(self._scheduler.now, handle)
        return handle

    def call_later(
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._scheduler.now + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._at(when, handle)
        return handle

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        done = self.create_future()
        before_s, after_s = self._delays_s()
        begins = max(self._scheduler.now, self._free_at.get(executor, 0.0)) + before_s
        self._free_at[executor] = begins + after_s

        def work() -> None:
            error: Exception | None = None
            result = None
            try:
                result = func(*args)
            except Exception as raised:  # noqa: BLE001 - its caller's
                error = raised
            self._at(self._scheduler.now + after_s, asyncio.Handle(_settle, (done, error, result), self))

        self._at(begins, asyncio.Handle(work, (), self))
        return done

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self.is_dead:
            self._failed(context)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It is not run."""

    def _at(self, when: float, handle: asyncio.Handle) -> None:
        self._scheduler.at(when, lambda: self._run(handle))

    def _run(self, handle: asyncio.Handle) -> None:
        if not self.is_dead and not handle.cancelled():
            self.run(handle._run)


def _settle(done: asyncio.Future[Any], error: Exception | None, result: Any) -> None:
    if done.done():
        return
    if error is not None:
        done.set_exception(error)
    else:
        done.set_result(result)
