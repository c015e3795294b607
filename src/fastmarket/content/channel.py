"""From a thread that makes events to the event loop that takes them: in batches, and not far ahead of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from time import monotonic
from typing import Generic, TypeVar

from fastmarket.errors import FastmarketError

T = TypeVar("T")
BATCH = 128  # events handed over at once: a hand-over costs some 50 µs
WAIT_S = 0.05  # how long events wait for others
MAX_BATCHES = 8  # that were not taken


class ChannelClosed(FastmarketError):
    """Nobody takes the events any more: the thread is to end."""


class ThreadChannel(Generic[T]):
    """`put` in the thread, `async for` in the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._queue: asyncio.Queue[list[T] | None] = asyncio.Queue()
        self._room = threading.Semaphore(MAX_BATCHES)
        self._is_closed = False
        self._batch: list[T] = []
        self._since = monotonic()

    def put(self, event: T) -> None:
        """Waits while too many events were not taken. Raises ChannelClosed."""
        self._batch.append(event)
        now = monotonic()
        if len(self._batch) >= BATCH or now - self._since >= WAIT_S:
            self._since = now
            self._hand_over()
        elif self._is_closed:
            raise ChannelClosed("nobody takes the events")

    def filled_by(self, call: Callable[[], None]) -> None:
        """Runs `call`, which puts events; then the channel ends. Raises what it raises."""
        try:
            call()
        finally:
            with suppress(ChannelClosed):
                self._hand_over()
            self._loop.call_soon_threadsafe(self._queue.put_nowait, None)

    def close(self) -> None:
        """The thread gets ChannelClosed at its next event."""
        self._is_closed = True
        self._room.release(MAX_BATCHES)

    async def __aiter__(self) -> AsyncIterator[T]:
        while (batch := await self._queue.get()) is not None:
            self._room.release()
            for event in batch:
                yield event

    def _hand_over(self) -> None:
        self._room.acquire()
        if self._is_closed:
            raise ChannelClosed("nobody takes the events")
        batch, self._batch = self._batch, []
        self._loop.call_soon_threadsafe(self._queue.put_nowait, batch)
