"""Calls into code of others that may wait for ever: one at a time, in a thread that nobody waits for."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from threading import Thread
from typing import Any, TypeVar

from fastmarket.errors import NetworkFault

T = TypeVar("T")


class PatientCalls:
    """Makes such calls. A call that does not return keeps its thread, and others from being made; the end of
    the program does not wait for it."""

    def __init__(self, name: str, timeout_s: float) -> None:
        """`name`: who is called, for messages."""
        self._name = name
        self._timeout_s = timeout_s
        self._thread: Thread | None = None

    async def make(self, work: Callable[[], T]) -> T:
        """What it returns. Raises NetworkFault: it raised, did not return in time, or an earlier one has not
        yet returned."""
        if self._thread is not None and self._thread.is_alive():
            raise NetworkFault(f"{self._name} has not returned from an earlier call")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        self._thread = Thread(target=_run, args=(work, loop, done), name="fastmarket-call", daemon=True)
        self._thread.start()
        try:
            async with asyncio.timeout(self._timeout_s):
                return await done
        except TimeoutError:
            raise NetworkFault(f"{self._name} did not return within {self._timeout_s:g} s") from None


def _run(work: Callable[[], Any], loop: asyncio.AbstractEventLoop, done: asyncio.Future[Any]) -> None:
    result, fault = None, None
    try:
        result = work()
    except Exception as error:  # noqa: BLE001 - of another's code: it costs this call
        fault = NetworkFault(f"{type(error).__name__}: {error}")
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
        loop.call_soon_threadsafe(_tell, done, result, fault)


def _tell(done: asyncio.Future[Any], result: object, fault: NetworkFault | None) -> None:
    if done.done():
        return  # too late
    if fault is None:
        done.set_result(result)
    else:
        done.set_exception(fault)
