"""Bytes a second, and whose turn it is, in virtual time."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmarket.content.port.bounds import TURN_BYTES
from fastmarket.content.port.budget import MIN_SHARE_BYTES, SendBudget


def test_without_a_rate_everybody_may() -> None:
    budget: SendBudget[str] = SendBudget(0, 0.0)
    for _ in range(100):
        assert budget.ask("a", 0.0) == TURN_BYTES
        budget.spend(TURN_BYTES)
    assert budget.next_timer() is None


def served(budget: SendBudget[int], names: int, seconds: float) -> Counter[int]:
    """Bytes of each, when all send as soon and as much as they may."""
    sent: Counter[int] = Counter()
    ready, now = list(range(names)), 0.0
    while now < seconds:
        asking, ready = ready, []
        for name in asking:
            if share := budget.ask(name, now):
                sent[name] += share
                budget.spend(share)
                ready.append(name)
        if ready:
            continue
        at = budget.next_timer()
        assert at is not None
        now = max(at, now)
        while (turn := budget.next_turn(now)) is not None:
            name, share = turn
            sent[name] += share
            budget.spend(share)
            ready.append(name)
        now += 0 if ready else 1e-6
    return sent


@pytest.mark.parametrize("rate", [1_000, 100_000, 50_000_000])
@pytest.mark.parametrize("names", [1, 2, 10])
def test_the_rate_is_kept_and_shared(rate: int, names: int) -> None:
    seconds = max(200.0, 100 * names * MIN_SHARE_BYTES / rate)
    sent = served(SendBudget(rate, 0.0), names, seconds)
    assert sent.total() == pytest.approx(rate * seconds, rel=0.1)
    share = rate * seconds / names
    assert all(count == pytest.approx(share, rel=0.15) for count in sent.values())


def test_who_comes_later_waits_behind_the_others() -> None:
    budget: SendBudget[str] = SendBudget(1000, 0.0)
    budget.spend(MIN_SHARE_BYTES)
    assert not budget.ask("a", 0.0)
    assert not budget.ask("b", 0.0)
    assert not budget.ask("a", 0.0)  # asked twice, waits once
    assert not budget.ask("c", 100.0)  # there would be enough, but others wait
    order = []
    while (turn := budget.next_turn(100.0)) is not None:
        order.append(turn[0])
        budget.spend(10)
    assert order == ["a", "b", "c"]


def test_who_left_has_no_turn() -> None:
    budget: SendBudget[str] = SendBudget(1000, 0.0)
    budget.spend(MIN_SHARE_BYTES)
    budget.ask("a", 0.0)
    budget.forget("a")
    budget.forget("b")
    assert budget.next_turn(100.0) is None
    assert budget.next_timer() is None


@given(st.lists(st.tuples(st.sampled_from("asn"), st.integers(0, 3), st.floats(0, 5)), max_size=40))
def test_a_pause_saves_up_no_more_than_a_burst(steps: list[tuple[str, int, float]]) -> None:
    budget: SendBudget[int] = SendBudget(10_000, 0.0)
    now = sent = 0.0
    for what, who, wait in steps:
        now += wait
        share = 0
        if what == "a":
            share = budget.ask(who, now)
        elif what == "n" and (turn := budget.next_turn(now)) is not None:
            share = turn[1]
        budget.spend(share)
        sent += share
        assert sent <= 10_000 * now + 2 * MIN_SHARE_BYTES
