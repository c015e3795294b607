"""Messages of a stream on their way to answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from fastmarket.config import MarketConfig
from fastmarket.market.calls import CallStream, Work


def test_a_call_that_is_ended_while_it_ends_gives_back_its_slots(run: Any) -> None:
    work = Work(MarketConfig())
    begun, ending, end = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def answer(raw: bytes) -> bytes:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ending.set()
            await end.wait()
        return raw

    async def requests() -> AsyncGenerator[bytes, None]:
        yield b"one"
        await asyncio.Event().wait()

    async def call() -> None:
        async with aclosing(CallStream(requests(), answer, work, in_order=True).answers(4)) as answers:
            async for _ in answers:
                pass

    async def main() -> None:
        task = asyncio.ensure_future(call())
        await begun.wait()
        assert work.messages.used == 1
        task.cancel()
        await ending.wait()
        task.cancel()
        await asyncio.wait([task])
        end.set()
        assert work.messages.used == 0

    run(main())
