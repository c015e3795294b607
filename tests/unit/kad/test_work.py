"""Shares of work: whoever causes most of it is refused first, and nobody while there is little."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastmarket.kad.records.shares import NEARBY, Source
from fastmarket.kad.records.work import MEMORY_S, WorkShares

START = 1_700_000_000.0
SHARE = 0.5
CAPACITY_US = SHARE * MEMORY_S * 1e6
HONEST = Source(b"\x08\x08", b"honest")


def flooder(block: int, sender: int = 0) -> Source:
    return Source(bytes((60 + block, 1)), b"%d" % sender)


def flood(work: WorkShares, blocks: int, now: float, *, senders: int, turns: int = 20_000) -> float:
    """Each in turn causes a signature's work whenever it may; returns how much that was."""
    spent = 0.0
    for turn in range(turns):
        source = flooder(turn % blocks, turn // blocks % senders)
        if work.allows(source, now):
            work.spend(source, 600.0, now)
            spent += 600.0
    return spent


def test_nothing_is_refused_while_there_is_little_work() -> None:
    work = WorkShares(SHARE)
    source = flooder(0)
    spent = 0.0
    while spent + 60 < CAPACITY_US / 2:
        assert work.allows(source, START)
        work.spend(source, 60.0, START)
        spent += 60.0
    assert 0.49 < work.free(START) < 0.51


@pytest.mark.parametrize("blocks", [1, 4, 60])
@pytest.mark.parametrize("senders", [1, 1000])
def test_a_flood_takes_no_more_than_its_share_and_a_newcomer_may_work(blocks: int, senders: int) -> None:
    work = WorkShares(SHARE)
    assert flood(work, blocks, START, senders=senders) < CAPACITY_US
    assert not any(work.allows(flooder(block, 0), START) for block in range(blocks))
    for n in range(20):  # small beside what each block of the flood has had
        assert work.allows(HONEST, START), n
        work.spend(HONEST, 60.0, START)


def test_in_the_long_run_all_strangers_together_take_their_share_of_a_core() -> None:
    work = WorkShares(SHARE)
    flood(work, 4, START, senders=10_000)
    spent = sum(flood(work, 4, START + 10 + n, senders=10_000, turns=4000) for n in range(60))
    assert spent / 60e6 < SHARE
    assert spent / 60e6 > SHARE / 4, "nor is it kept from what it could have"


def test_of_one_block_the_sender_that_caused_most_is_refused_before_others() -> None:
    """On a private network all are of one block."""
    work = WorkShares(SHARE)
    loud, quiet = Source(NEARBY, b"loud"), Source(NEARBY, b"quiet")
    while work.allows(loud, START):
        work.spend(loud, 600.0, START)
    assert work.free(START) > 0.25
    for _ in range(100):
        assert work.allows(quiet, START)
        work.spend(quiet, 600.0, START)


def test_work_is_forgotten() -> None:
    work = WorkShares(SHARE)
    flood(work, 4, START, senders=10)
    assert not work.allows(flooder(0), START)
    assert work.allows(flooder(0), START + 2 * MEMORY_S)
    assert work.free(START + 1000 * MEMORY_S) == pytest.approx(1.0)
    assert work.free(START + 100_000 * MEMORY_S) == pytest.approx(1.0)


def test_counts_stay_true_when_they_are_scaled() -> None:
    """After so many seconds that weights are begun again."""
    one, other = WorkShares(SHARE), WorkShares(SHARE)
    other.spend(HONEST, 0.0, START - 55 * MEMORY_S)  # its weights are far into their growth
    for second in range(300):
        now = START + second
        spent = [flood(work, 3, now, senders=5, turns=300) for work in (one, other)]
        assert spent[0] == pytest.approx(spent[1], abs=1200.0)  # what is equal but for rounding may go first
        assert one.free(now) == pytest.approx(other.free(now), abs=1e-3)


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 3), st.floats(0, 5)), max_size=60))
@settings(deadline=None)
def test_what_is_remembered_is_bounded(steps: list[tuple[int, int, float]]) -> None:
    work = WorkShares(SHARE)
    now = START
    for block, sender, later in steps:
        now += later
        source = Source(b"%d" % block, b"%d" % sender)
        if work.allows(source, now):
            work.spend(source, 200_000.0, now)
        assert work.free(now) > -0.05
    assert len(work._blocks) <= 4096
    assert len(work._senders) <= 16_384


@pytest.mark.parametrize("back_s", [1.0, 3600.0, 1e9])
def test_a_time_that_goes_back_forgives_and_adds_nothing(back_s: float) -> None:
    work = WorkShares(SHARE)
    source = Source(b"a", b"one")
    now = 1.7e9
    work.spend(source, 1000.0, now)
    free = work.free(now)
    assert work.free(now - back_s) == free
    work.spend(source, 1000.0, now - back_s)
    assert 1 - work.free(now) == pytest.approx(2 * (1 - free))
