"""Large answers are made in turns."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from fastmarket.config import MarketConfig
from fastmarket.market.calls import MADE_A_PIECE, Work


def test_a_large_answer_is_made_in_many_turns_of_the_loop(run: Any) -> None:
    async def main() -> None:
        work, loop = Work(MarketConfig()), asyncio.get_running_loop()
        number, made_in = 0, Counter[int]()

        def tick() -> None:
            nonlocal number
            number += 1
            loop.call_soon(tick)

        def make(item: int) -> int:
            made_in[number] += 1
            return -item

        tick()
        items = range(20 * MADE_A_PIECE)
        assert await work.made(make, items) == [-item for item in items]
        assert max(made_in.values()) <= 3 * MADE_A_PIECE
        assert number >= len(items) // (3 * MADE_A_PIECE)

    run(main())


def test_a_small_answer_is_made_at_once(run: Any) -> None:
    async def main() -> None:
        work = Work(MarketConfig())
        made = work.made(str, range(MADE_A_PIECE))
        with pytest.raises(StopIteration) as ended:  # it does not wait for a turn
            made.send(None)
        assert ended.value.value == [str(item) for item in range(MADE_A_PIECE)]

    run(main())
