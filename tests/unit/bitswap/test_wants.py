"""The queue of what one peer wants."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fastmarket.exchange.bitswap.message import BlockWant
from fastmarket.exchange.bitswap.wants import WantQueue
from tests.unit.bitswap.blocks import block, cid, want

MANY = 1000


def taken(queue: WantQueue) -> list[BlockWant]:
    found = []
    while (one := queue.pop()) is not None:
        found.append(one)
    return found


def test_higher_priorities_come_first_and_the_oldest_of_equal_ones() -> None:
    wants = [want(block(n), priority) for n, priority in enumerate([1, 5, 5, 3])]
    queue = WantQueue()
    assert queue.add(wants, MANY) == 0
    assert taken(queue) == [wants[1], wants[2], wants[3], wants[0]]


def test_beyond_the_bound_the_lowest_priority_is_dropped() -> None:
    queue = WantQueue()
    assert queue.add([want(block(n), n) for n in range(10)], 4) == 6
    assert queue.add([want(block(20), 100)], 4) == 1
    assert [one.priority for one in taken(queue)] == [100, 9, 8, 7]


def test_a_want_of_the_block_is_not_weakened_and_one_of_presence_is_strengthened() -> None:
    queue = WantQueue()
    queue.add([want(block(1)), want(block(2), only_presence=True)], MANY)
    queue.add([want(block(1), only_presence=True), want(block(2))], MANY)
    assert [one.only_presence for one in taken(queue)] == [False, False]


def test_cancelled_and_left_out_wants_are_gone() -> None:
    queue = WantQueue()
    queue.add([want(block(n)) for n in range(4)], MANY)
    queue.discard(cid(block(0)))
    queue.discard(cid(block(99)))
    queue.keep_only([cid(block(1)), cid(block(3))])
    assert len(queue) == 2
    assert [one.cid for one in taken(queue)] == [cid(block(1)), cid(block(3))]


OPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 20), st.integers(-3, 3)),
        st.tuples(st.just("discard"), st.integers(0, 20), st.just(0)),
        st.tuples(st.just("pop"), st.just(0), st.just(0)),
    ),
    max_size=200,
)


@given(OPS)
def test_it_is_a_sorted_list_with_a_bound(ops: list[tuple[str, int, int]]) -> None:
    queue, model, count, most = WantQueue(), dict[int, tuple[int, int]](), 0, 8
    for op, number, priority in ops:
        if op == "add":
            queue.add([want(block(number), priority)], most)
            if number not in model or model[number][0] != -priority:
                count += 1
                model[number] = (-priority, count)
            while len(model) > most:
                del model[max(model, key=lambda one: model[one])]
        elif op == "discard":
            queue.discard(cid(block(number)))
            model.pop(number, None)
        else:
            one = queue.pop()
            first = min(model, key=lambda one: model[one], default=None)
            assert (one.cid if one else None) == (None if first is None else cid(block(first)))
            if first is not None:
                del model[first]
        assert len(queue) == len(model)
    assert [one.cid for one in taken(queue)] == [
        cid(block(one)) for one in sorted(model, key=lambda one: model[one])
    ]


def test_a_want_that_changes_for_ever_takes_no_more_memory() -> None:
    queue = WantQueue()
    for n in range(10_000):
        queue.add([want(block(1), n % 7)], MANY)
    assert len(queue._order) < 100
