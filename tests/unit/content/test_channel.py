"""Events come from a thread in order, not too far ahead, and the thread ends when nobody takes them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from fastmarket.content.channel import BATCH, MAX_BATCHES, ChannelClosed, ThreadChannel
from tests.conftest import Run


def filled(channel: ThreadChannel[int], call: Callable[[], None]) -> asyncio.Future[None]:
    return asyncio.get_running_loop().run_in_executor(None, channel.filled_by, call)


@pytest.mark.parametrize("count", [0, 1, BATCH, 5 * BATCH * MAX_BATCHES + 3])
def test_all_come_in_order(run: Run[None], count: int) -> None:
    async def main() -> None:
        channel: ThreadChannel[int] = ThreadChannel(asyncio.get_running_loop())
        job = filled(channel, lambda: [channel.put(number) for number in range(count)] and None)
        assert [number async for number in channel] == list(range(count))
        await job

    run(main())


def test_what_came_before_a_fault_is_taken(run: Run[None]) -> None:
    async def main() -> None:
        channel: ThreadChannel[int] = ThreadChannel(asyncio.get_running_loop())

        def call() -> None:
            channel.put(1)
            raise ValueError("no more")

        job = filled(channel, call)
        assert [number async for number in channel] == [1]
        with pytest.raises(ValueError, match="no more"):
            await job

    run(main())


def test_it_is_not_far_ahead(run: Run[None]) -> None:
    async def main() -> None:
        channel: ThreadChannel[int] = ThreadChannel(asyncio.get_running_loop())
        put = 0
        full = threading.Event()

        def call() -> None:
            nonlocal put
            for number in range(100 * BATCH * MAX_BATCHES):
                channel.put(number)
                put = number
                if put >= BATCH * MAX_BATCHES:
                    full.set()

        job = filled(channel, call)
        await asyncio.to_thread(full.wait)
        assert put <= BATCH * (MAX_BATCHES + 1)
        channel.close()
        with pytest.raises(ChannelClosed):
            await job
        assert put <= 3 * BATCH * (MAX_BATCHES + 1)

    run(main())
