"""Whom a block is asked of, within what a fetch may cost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fastmarket.config import FetchConfig
from fastmarket.exchange.fetching.bill import Bill
from fastmarket.exchange.fetching.holder import FetchHolder, HolderEnd
from fastmarket.exchange.fetching.holder_state import HolderState
from fastmarket.exchange.fetching.roster import Roster
from fastmarket.exchange.fetching.wanted import WantedBlock

NOW = 1_700_000_000.0
BLOCK = WantedBlock(b"cid", False, 0, 20_000, 20_000)


def roster(max_cost: int, missing: int, holders: list[tuple[int, int]]) -> Roster:
    """Holders of a price, and the bytes that each has delivered."""
    bill = Bill(max_cost)
    bill.missing_bytes = missing
    made = Roster(FetchConfig(), bill)
    for key, (price, delivered) in enumerate(holders):
        made.add(FetchHolder(key, price), NOW)
        state = made.get(key)
        assert state is not None
        state.file_bytes = delivered
    return made


def test_a_dearer_holder_may_be_asked_where_the_cheapest_may_not() -> None:
    """Each share is rounded up: 1,000,007 bytes at 5 cost 6, but 980,007 cost 5."""
    made = roster(6, 840_007, [(9, 40_007), (5, 160_000)])
    best = made.best_for(BLOCK, NOW)
    assert best is not None
    assert best.price == 9


@given(
    st.integers(0, 40),
    st.integers(20_000, 2_000_000),
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 1_000_000)), min_size=1, max_size=4),
)
def test_whoever_may_serve_is_asked(max_cost: int, missing: int, holders: list[tuple[int, int]]) -> None:
    """Otherwise a fetch would wait for ever: nothing is under way, and nobody is wanted."""
    made = roster(max_cost, missing, holders)
    assert (made.best_for(BLOCK, NOW) is not None) == made.can_serve(BLOCK)


def test_dearer_ones_are_asked_while_all_of_a_price_fail() -> None:
    """One request at a time goes on looking for a cheap one that lives; all waits for an inner node."""
    made, inner = roster(1000, 840_007, [(0, 0)] * 3 + [(9, 0)]), WantedBlock(b"inner", True, 0, 0, 0)

    def prices() -> list[int | None]:
        return [None if best is None else best.price for best in map(best_for, (BLOCK, inner))]

    def best_for(block: WantedBlock) -> HolderState | None:
        return made.best_for(block, NOW)

    one, two, three, dear = made
    one.failures = 1
    assert prices() == [0, 0]
    two.silences = 1
    assert prices() == [0, 9]
    three.under_way = 1
    assert prices() == [9, 9]
    dear.paused_until = NOW + 1
    assert prices() == [0, 0], "it has delivered nothing either: others are asked meanwhile"
    dear.end = HolderEnd.GONE
    made.end(dear, HolderEnd.GONE, "")
    assert prices() == [0, 0], "there is no other"
    dear.end, three.blocks = None, 1
    assert prices() == [0, 0], "one delivers for that price"
