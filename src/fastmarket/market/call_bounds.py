"""How many gRPC calls are in progress, in total and per caller."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from fastmarket.market.sharing import Share


class Bounds:
    """Limits concurrent calls, in total and per caller."""

    def __init__(
        self,
        calls: int,
        calls_per_caller: int | None,
        streaming_calls: int,
        refusal_delay_s: float = 0.0,
        delayed_refusals: int = 0,
    ) -> None:
        self._calls = Share(calls, calls_per_caller)
        self._streaming = Share(streaming_calls)
        self._refused = Share(delayed_refusals)
        self._refusal_delay_s = refusal_delay_s
        self._last_ended: asyncio.Event | None = None  # while somebody waits for it

    @property
    def used(self) -> int:
        """Calls in progress, including those that are being refused."""
        return self._calls.used + self._refused.used

    async def none_left(self) -> None:
        """Returns when no call is in progress; those being refused are not waited for."""
        if self._calls.used:
            self._last_ended = asyncio.Event()
            await self._last_ended.wait()

    async def before_refusal(self, caller: str) -> None:
        """Returns when a caller with too many calls may be told so."""
        if self._refusal_delay_s and self._refused.take(caller):
            try:
                await asyncio.sleep(self._refusal_delay_s)
            finally:
                self._refused.release(caller)

    @contextmanager
    def one(self, caller: str, streaming: bool) -> Iterator[bool]:
        """Counts a call during the block; yields False if there are too many."""
        if not self._calls.take(caller):
            yield False
            return
        try:
            if not streaming:
                yield True
            elif not self._streaming.take(caller):
                yield False
            else:
                try:
                    yield True
                finally:
                    self._streaming.release(caller)
        finally:
            self._calls.release(caller)
            if self._last_ended is not None and not self._calls.used:
                self._last_ended.set()
