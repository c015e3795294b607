"""Sharing among callers: turns, shares, slots and pieces of loop time."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmarket.market.sharing import REST_TURNS, TURN_S, FairQueue, LoopTurns, Share, Slots

CALLERS = "abcdef"


@given(st.lists(st.sampled_from(CALLERS), max_size=60))
def test_callers_have_turns_and_each_keeps_its_order(pushed: list[str]) -> None:
    queue: FairQueue[tuple[str, int]] = FairQueue()
    for number, caller in enumerate(pushed):
        queue.push(caller, (caller, number))
    popped = []
    while queue:
        popped.append(queue.pop_next())
    assert sorted(popped, key=lambda item: item[1]) == list(zip(pushed, range(len(pushed)), strict=True))
    for caller in CALLERS:
        own = [number for of, number in popped if of == caller]
        assert own == sorted(own)
        # Between two of one caller every other has one, as long as it has any.
        places = [place for place, (of, _) in enumerate(popped) if of == caller]
        for first, second in itertools.pairwise(places):
            still = {of for of, _ in popped[second:]} - {caller}
            assert still <= {of for of, _ in popped[first:second]}


@given(st.integers(1, 200), st.lists(st.tuples(st.sampled_from(CALLERS), st.integers(0, 40)), max_size=80))
def test_nobody_takes_what_is_left_for_others(total: int, taken: list[tuple[str, int]]) -> None:
    share, held = Share(total), dict.fromkeys(CALLERS, 0)
    for caller, amount in taken:
        free = total - share.used
        if share.take(caller, amount):
            assert held[caller] < free
            held[caller] += amount
        else:
            assert amount > free or held[caller] >= free
        assert share.used == sum(held.values()) <= total
    for caller, amount in held.items():
        share.release(caller, amount)
    assert share.used == 0
    assert share.take("another", total)


def test_one_caller_gets_half_and_the_next_one_something() -> None:
    share = Share(64)
    assert sum(share.take("greedy") for _ in range(100)) == 32
    assert sum(share.take("second") for _ in range(100)) == 16
    assert share.take("third")
    assert sum(Share(64, 40).take("greedy") for _ in range(1)) == 1
    capped = Share(64, 40)
    assert sum(capped.take("greedy") for _ in range(100)) == 40


def test_slots_go_in_turns_and_come_back_from_those_who_leave(run: Any) -> None:
    async def main() -> None:
        slots = Slots(4)
        order: list[str] = []

        async def hold(caller: str) -> None:
            await slots.take(caller)
            order.append(caller)

        for _ in range(2):
            await slots.take("greedy")
        tasks = [asyncio.create_task(hold("greedy")) for _ in range(3)]
        await asyncio.sleep(0)
        tasks.append(asyncio.create_task(hold("honest")))
        await asyncio.gather(tasks[3])
        assert order == ["honest"], "what was left is not for who has half"
        tasks[0].cancel()
        await asyncio.sleep(0)
        slots.release("greedy")
        slots.release("greedy")
        await asyncio.gather(*tasks[1:], return_exceptions=True)
        assert order == ["honest", "greedy", "greedy"][: len(order)]
        # One that leaves in the very moment in which it is given a slot.
        late = asyncio.create_task(hold("late"))
        await asyncio.sleep(0)
        slots.release("greedy")
        late.cancel()
        await asyncio.gather(late, return_exceptions=True)
        held = slots.used
        async with slots.slot("another"):
            assert slots.used == held + 1
        assert slots.used == held

    run(main())


@pytest.mark.parametrize("flood", [10, 500])
def test_loop_turns_are_short_and_shared(run: Any, flood: int) -> None:
    """However much one caller wants done: another's piece comes in the next turn but one, and each turn of
    the loop has no more than its budget."""

    async def main() -> None:
        turns, loop = LoopTurns(8, lambda: 0.0), asyncio.get_running_loop()
        done: list[tuple[int, str]] = []
        number = 0

        def tick() -> None:
            nonlocal number
            number += 1
            loop.call_soon(tick)

        async def piece(caller: str, cost: int) -> None:
            await turns.take(caller, cost)
            done.append((number, caller))

        tick()
        greedy = [asyncio.create_task(piece("greedy", 4)) for _ in range(flood)]
        await asyncio.sleep(0)
        began = number
        await asyncio.create_task(piece("honest", 4))
        assert number - began <= 4 * (REST_TURNS + 1)
        await asyncio.gather(*greedy)
        each = [sum(at == turn for at, _ in done) for turn in range(number + 1)]
        assert max(each) <= 2 * 2, "a turn's grants run in the next one, beside what is taken at once there"
        assert sum(each[at] > 0 for at in range(began, number)) <= (number - began) // REST_TURNS + 2

    run(main())


def test_a_turn_that_took_long_is_followed_by_a_shorter_one(run: Any) -> None:
    """Halved down to a single piece while turns take long, and all of it again once they do not."""

    async def main() -> None:
        now, slow = 0.0, True
        turns = LoopTurns(8, lambda: now)
        done: list[int] = []
        number = 0

        def tick() -> None:
            nonlocal number, now
            number += 1
            now += 2 * TURN_S if slow else 0.0
            asyncio.get_running_loop().call_soon(tick)

        async def piece() -> None:
            await turns.take("greedy", 1)
            done.append(number)

        tick()
        greedy = [asyncio.create_task(piece()) for _ in range(200)]
        while len(done) < 60:  # noqa: ASYNC110 - each step is a turn of the loop
            await asyncio.sleep(0)
        each = [done.count(turn) for turn in range(number)]
        assert max(each[-10:]) == 1
        slow = False
        await asyncio.gather(*greedy)
        each = [done.count(turn) for turn in range(number + 1)]
        assert max(each) == 8
        assert each[-12 * (REST_TURNS + 1) :].count(8) > 4

    run(main())
