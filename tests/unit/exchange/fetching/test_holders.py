"""Whom a fetch asks: the cheapest first, all at once, nobody in vain; and what ends a holder."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from fastmarket.config import FetchConfig
from fastmarket.errors import CallerFault, LimitExceeded, StorageFault
from fastmarket.exchange.fetching.events import Ask, Drop, FetchFailed, FetchFinished, HoldersWanted, Planned
from fastmarket.exchange.fetching.faults import NoHolderServes
from fastmarket.exchange.fetching.fetch import Fetch
from fastmarket.exchange.fetching.holder import AskFailure, FetchHolder, HolderEnd, HolderTally
from fastmarket.exchange.fetching.wanted import MAX_INNER_COPIES
from fastmarket.formats.cid import Cid
from tests.virtual.dags import Blocks
from tests.virtual.fetching import START, FetchRun, Nature, VirtualHolder

CONFIG = FetchConfig()
CHUNK = 4096
RNG = random.Random(17)
DATA = RNG.randbytes(400 * CHUNK)
DAG = Blocks(raw_leaves=True)
ROOT = DAG.file(DATA, chunk=CHUNK, width=50)
PLENTY = 1e6  # bytes per second: DATA in 1.6 s


def run_of(
    *holders: VirtualHolder, config: FetchConfig = CONFIG, complete: bool = True, **options: object
) -> FetchRun:
    fetch = Fetch(ROOT, config, START, **options)  # type: ignore[arg-type]
    return FetchRun(fetch, DAG.blocks, list(holders), source=DATA).start(complete=complete)


def took(run: FetchRun) -> float:
    """Seconds until it was whole."""
    assert isinstance(run.run(), FetchFinished)
    assert bytes(run.file) == DATA
    return run.now - START


def tally(run: FetchRun, key: int) -> HolderTally:
    return next(one for one in run.fetch.holders() if one.key == key)


def test_all_holders_deliver_at_once() -> None:
    alone = took(run_of(VirtualHolder(1, rate=PLENTY)))
    four = run_of(*(VirtualHolder(key, rate=PLENTY) for key in range(4)))
    assert took(four) < alone / 3
    shares = [one.bytes for one in four.fetch.holders()]
    assert min(shares) > len(DATA) / 8


def test_each_delivers_by_its_rate() -> None:
    run = run_of(VirtualHolder(1, rate=PLENTY), VirtualHolder(2, rate=4 * PLENTY))
    assert took(run) < 1.2 * len(DATA) / (5 * PLENTY) + 0.2
    assert 2.5 < tally(run, 2).bytes / tally(run, 1).bytes < 6


def test_the_cheaper_ones_are_asked_first() -> None:
    run = run_of(VirtualHolder(1, price=5), VirtualHolder(2, price=1), VirtualHolder(3, price=3))
    run.go(0.001)
    assert run.asks[0][1].holder == 2
    assert took(run) > 0
    costs = {one.key: one.cost for one in run.fetch.holders()}
    end = run.events[-1]
    assert isinstance(end, FetchFinished)
    assert end.cost == sum(costs.values())


def test_standing_orders_equal_prices() -> None:
    fetch = Fetch(ROOT, CONFIG, START)
    for key, standing in ((1, -2.0), (2, 3.0), (3, 0.0)):
        fetch.add_holder(FetchHolder(key, 1, standing=standing), START)
    assert [ask.holder for ask in fetch.poll_actions(START)] == [2]  # type: ignore[union-attr]


def test_the_plan_names_the_least_and_the_most_that_it_costs() -> None:
    run = run_of(VirtualHolder(1, price=1000), VirtualHolder(2, price=3000))
    took(run)
    planned = run.of(Planned)[0]
    assert isinstance(planned, Planned)
    assert (planned.least_cost, planned.most_cost) == (1639, 4916)


def test_the_most_that_it_may_cost_is_never_passed() -> None:
    """The dear one may deliver what the limit leaves for it beside the cheap one's rest."""
    holders = VirtualHolder(1, price=1000, rate=PLENTY / 10), VirtualHolder(2, price=3000, rate=PLENTY)
    run = run_of(*holders, max_cost=2500)
    assert took(run) > 5
    assert 2300 <= sum(one.cost for one in run.fetch.holders()) <= 2500
    assert tally(run, 2).bytes > 0
    free = run_of(*(replace(one, free_at=0.0) for one in holders))
    assert took(free) < 3


def test_a_fetch_that_nobody_delivers_for_that_money_fails() -> None:
    end = run_of(VirtualHolder(1, price=1000), max_cost=1638).run()
    assert isinstance(end, FetchFailed)
    assert isinstance(end.fault, CallerFault)
    assert end.fault.field == "max_cost"
    assert end.cost <= 1638


def test_a_silent_holder_costs_no_more_than_its_timeout() -> None:
    good = took(run_of(VirtualHolder(1, rate=PLENTY), VirtualHolder(2, rate=PLENTY)))
    run = run_of(
        VirtualHolder(0, Nature.SILENT), VirtualHolder(1, rate=PLENTY), VirtualHolder(2, rate=PLENTY)
    )
    assert took(run) < good + CONFIG.first_soft_timeout_s + 0.1
    assert run.holders[0].asked.total() <= 1 + CONFIG.first_window


@pytest.mark.parametrize("in_order", [False, True])
@pytest.mark.parametrize("nature", [Nature.SILENT, Nature.BROKEN])
@pytest.mark.parametrize("of_a_price", [60, 2, 1])
def test_dozens_of_dead_holders_do_not_hide_a_dear_one(
    nature: Nature, in_order: bool, of_a_price: int
) -> None:
    """Whatever prices they set."""
    alone = took(run_of(VirtualHolder(100, price=70, rate=PLENTY), in_order=in_order))
    dead = [VirtualHolder(key, nature, price=key // of_a_price) for key in range(60)]
    run = run_of(*dead, VirtualHolder(100, price=70, rate=PLENTY), in_order=in_order)
    run.go(60, until_verified=1)
    assert run.now - START < 0.8  # with one alone some 0.1
    assert took(run) < alone + 6  # the last leaf that a dead one was asked for times out
    assert tally(run, 100).bytes == len(DATA)


def test_slow_holders_between_dead_ones_and_a_dear_one_do_not_hide_it() -> None:
    """Each price has to fail before the next is asked, and each copy of the root to be late."""
    dead = [VirtualHolder(key, (Nature.SILENT, Nature.BROKEN)[key % 2]) for key in range(10)]
    slow = [VirtualHolder(key, price=3, rtt_s=3.0) for key in range(10, 13)]
    run = run_of(*dead, *slow, VirtualHolder(100, price=7, rate=PLENTY))
    run.go(60, until_verified=1)
    assert run.now - START < 0.8
    assert tally(run, 100).bytes > 0


def test_a_holder_known_to_be_slow_does_not_hold_up_the_root() -> None:
    run = run_of(complete=False)
    run.holders.update({1: VirtualHolder(1, rtt_s=4.0), 2: VirtualHolder(2)})
    run.fetch.add_holder(FetchHolder(1, rtt_s=4.0, standing=1.0), START)
    run.fetch.add_holder(FetchHolder(2), START)
    run.go(60, until_verified=1)
    assert run.now - START < CONFIG.first_soft_timeout_s + 0.5


def test_one_that_refuses_while_another_is_late_is_followed_by_a_third() -> None:
    """The second is asked as the first is late, and ends before it is late itself."""
    others = VirtualHolder(2, Nature.BROKEN, rtt_s=0.05), VirtualHolder(3, price=1)
    run = run_of(VirtualHolder(1, Nature.SILENT), *others)
    run.go(60, until_verified=1)
    assert run.now - START < 0.8


def test_a_holder_that_falls_silent_in_the_middle_is_left_behind() -> None:
    good = took(run_of(VirtualHolder(1, rate=PLENTY), VirtualHolder(2, rate=PLENTY)))
    run = run_of(
        VirtualHolder(0, Nature.LEAVING, rate=PLENTY, leaves_after=50),
        VirtualHolder(1, rate=PLENTY),
        VirtualHolder(2, rate=PLENTY),
    )
    assert took(run) < 1.1 * good


def test_the_tail_of_a_slow_holder_is_taken_over() -> None:
    good = took(run_of(VirtualHolder(1, rate=4 * PLENTY), VirtualHolder(2, rate=4 * PLENTY)))
    run = run_of(
        VirtualHolder(0, rate=PLENTY / 100),
        VirtualHolder(1, rate=4 * PLENTY),
        VirtualHolder(2, rate=4 * PLENTY),
    )
    assert took(run) < 1.3 * good + 0.1
    assert max(run.asked.values()) == 2


def test_a_liar_ends_at_its_first_wrong_block() -> None:
    run = run_of(VirtualHolder(0, Nature.LIAR, price=0), VirtualHolder(1, price=1))
    took(run)
    assert run.ends() == {0: HolderEnd.WRONG_BLOCK}
    assert tally(run, 0).bytes == 0
    run.fetch.add_holder(FetchHolder(0), run.now)
    assert tally(run, 0).ended is HolderEnd.WRONG_BLOCK


def test_a_block_that_is_missing_is_asked_of_others_and_the_holder_of_others_blocks() -> None:
    cids = sorted(DAG.blocks)
    lacks = frozenset(RNG.sample(cids, len(cids) // 3))
    run = run_of(VirtualHolder(0, Nature.LACKING, lacks=lacks, rate=PLENTY), VirtualHolder(1, rate=PLENTY))
    took(run)
    assert run.ends() == {}
    assert tally(run, 0).bytes > len(DATA) / 4


def test_several_misses_in_a_row_end_a_holder() -> None:
    run = run_of(VirtualHolder(0, Nature.LACKING, lacks=frozenset(DAG.blocks)), VirtualHolder(1))
    took(run)
    assert run.ends() == {0: HolderEnd.MISSING}
    assert tally(run, 0).missing == CONFIG.max_misses


def test_a_busy_holder_is_asked_again_when_it_says() -> None:
    fetch = Fetch(ROOT, CONFIG, START)
    fetch.add_holder(FetchHolder(1), START)
    (ask,) = fetch.poll_actions(START)
    fetch.handle_failure(ask.request, AskFailure.BUSY, START + 0.1, retry_after=7.0)  # type: ignore[union-attr]
    assert fetch.poll_actions(START + 0.1) == []
    assert fetch.next_timer() == START + 7.1
    fetch.handle_timer(START + 7.1)
    assert len(fetch.poll_actions(START + 7.1)) == 1


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (AskFailure.REFUSED, HolderEnd.REFUSED),
        (AskFailure.OVERSIZED, HolderEnd.OVERSIZED),
        (AskFailure.MALFORMED, HolderEnd.MALFORMED),
        (AskFailure.GONE, HolderEnd.GONE),
    ],
)
def test_some_failures_end_a_holder_at_once(kind: AskFailure, reason: HolderEnd) -> None:
    run = run_of(VirtualHolder(1), complete=False)
    run.go(0.0)
    fetch = run.fetch
    fetch.handle_failure(run.asks[0][1].request, kind, run.now, detail="402")
    run.open.clear()
    run.go(1.0)
    assert run.ends() == {1: reason}
    assert run.of(HoldersWanted) == [HoldersWanted(1)]
    fetch.no_more_holders(run.now)
    end = run.run()
    assert isinstance(end, FetchFailed)
    assert isinstance(end.fault, NoHolderServes)
    assert end.fault.why == ((1, f"{reason.value}: 402"),)
    assert str(ROOT) in str(end.fault)


def test_connections_that_break_together_are_one_failure() -> None:
    run = run_of(VirtualHolder(1), complete=False)
    run.go(1.0, until_verified=20 * CHUNK)
    asks = list(run.open.values())
    assert len(asks) > CONFIG.max_failures
    for ask in asks:
        run.fetch.handle_failure(ask.request, AskFailure.LOST, run.now)
    run.open.clear()
    assert tally(run, 1).ended is None
    assert took(run) > 0


def test_holders_may_come_while_it_runs() -> None:
    run = run_of(complete=False)
    run.go(5.0)
    assert run.asks == []
    assert run.of(HoldersWanted) == [HoldersWanted(1)]
    run.holders[7] = VirtualHolder(7)
    run.fetch.add_holder(FetchHolder(7), run.now)
    assert isinstance(run.run(), FetchFinished)


def test_a_holder_that_is_removed_is_asked_no_more_and_may_come_back() -> None:
    run = run_of(VirtualHolder(1, rate=PLENTY), VirtualHolder(2, rate=PLENTY))
    run.go(9.0, until_verified=len(DATA) // 4)
    before = tally(run, 1).bytes
    run.fetch.remove_holder(1, run.now)
    run.go(9.0, until_verified=len(DATA) // 2)
    assert run.ends() == {1: HolderEnd.REMOVED}
    assert tally(run, 1).bytes == before
    run.events.clear()
    run.fetch.add_holder(FetchHolder(1), run.now)
    took(run)
    assert tally(run, 1).bytes > before


def test_holders_are_bounded_and_prices_are_not_negative() -> None:
    fetch = Fetch(ROOT, replace(CONFIG, max_holders=2), START)
    fetch.add_holder(FetchHolder(1), START)
    fetch.add_holder(FetchHolder(1), START)
    fetch.add_holder(FetchHolder(2), START)
    with pytest.raises(LimitExceeded):
        fetch.add_holder(FetchHolder(3), START)
    with pytest.raises(CallerFault):
        fetch.add_holder(FetchHolder(4, -1), START)


def test_requests_are_bounded_by_what_the_driver_can_do() -> None:
    fetch = Fetch(ROOT, CONFIG, START)
    run = FetchRun(fetch, DAG.blocks, [VirtualHolder(1, rtt_s=0.5, rate=1e8)], source=DATA)
    fetch.add_holder(FetchHolder(1, most_requests=2), START)
    most = 0
    while not run.go(0.01):
        most = max(most, len(run.open))
    assert most == 2


def test_a_window_grows_to_bandwidth_times_delay() -> None:
    """1 MB/s over 0.5 s is 500 kB: 122 blocks of 4 KiB, of which the limit allows 64."""
    run = run_of(VirtualHolder(1, rtt_s=0.5, rate=1e8))
    most = 0
    while not run.go(0.01):
        most = max(most, len(run.open))
    assert most == CONFIG.max_window


def test_a_pause_asks_for_nothing_and_keeps_what_comes() -> None:
    run = run_of(VirtualHolder(1, rate=PLENTY), in_order=True)
    run.go(9.0, until_verified=len(DATA) // 4)
    run.fetch.pause(run.now)
    asked = len(run.asks)
    assert not run.go(50.0)
    assert len(run.asks) == asked
    assert not run.open
    run.fetch.resume(run.now)
    assert took(run) > 50


def test_a_cancelled_fetch_drops_what_is_under_way() -> None:
    run = run_of(VirtualHolder(1, rate=PLENTY))
    run.go(9.0, until_verified=len(DATA) // 4)
    asked = set(run.open)
    run.fetch.cancel(run.now)
    actions = run.fetch.poll_actions(run.now)
    assert {one.request for one in actions if isinstance(one, Drop)} == asked
    assert len(actions) == len(asked)
    assert run.fetch.ended
    assert run.fetch.poll_events() == []
    assert run.fetch.next_timer() is None


def test_a_full_disk_ends_the_fetch_with_that() -> None:
    fetch = Fetch(ROOT, CONFIG, START)
    run = FetchRun(fetch, DAG.blocks, [VirtualHolder(1)], source=DATA, full_after=50).start()
    end = run.run()
    assert isinstance(end, FetchFailed)
    assert isinstance(end.fault, StorageFault)
    assert len(run.file) == 50 * CHUNK


def test_what_is_missing_everywhere_is_named_after_the_rest_was_fetched() -> None:
    lost = sorted(DAG.blocks)[3]
    assert len(DAG.blocks[lost]) == CHUNK
    run = run_of(*(VirtualHolder(key, Nature.LACKING, lacks=frozenset({lost})) for key in (1, 2)))
    end = run.run()
    assert isinstance(end, FetchFailed)
    assert isinstance(end.fault, NoHolderServes)
    assert end.fault.missing == (str(Cid.from_bytes(lost)),)
    assert dict(end.fault.why) == {1: "does not have it", 2: "does not have it"}
    assert run.fetch.verified_bytes == len(DATA) - CHUNK


def test_a_late_root_is_asked_of_a_second_holder() -> None:
    run = run_of(VirtualHolder(1, rtt_s=3.0), VirtualHolder(2))
    assert took(run) < 3.0


@pytest.mark.parametrize(("raw", "most"), [(True, 3), (False, MAX_INNER_COPIES)])
def test_a_late_root_that_is_the_file_is_asked_of_a_third_at_most(raw: bool, most: int) -> None:
    dag = Blocks(raw_leaves=raw)
    fetch = Fetch(dag.file(b"abc"), CONFIG, START)
    run = FetchRun(fetch, dag.blocks, [VirtualHolder(key, Nature.SILENT) for key in range(20)]).start()
    assert not run.go(1.9)
    assert len(run.asks) == most


def test_a_holder_whose_late_requests_were_all_taken_from_it_is_asked_again() -> None:
    """One answered by another holder, one given up because it answered others: it may have the rest alone."""
    fetch = Fetch(ROOT, CONFIG, START)
    only, helper = FetchHolder(1, rtt_s=0.01), FetchHolder(2)
    fetch.add_holder(only, START)
    (ask,) = fetch.poll_actions(START)
    assert isinstance(ask, Ask)
    fetch.handle_timer(START + 0.2)
    fetch.add_holder(helper, START + 0.2)
    (again,) = fetch.poll_actions(START + 0.2)
    assert isinstance(again, Ask)
    fetch.handle_block(again.request, DAG.blocks[again.cid], START + 0.3)
    fetch.remove_holder(2, START + 0.3)
    assert not [one for one in fetch.poll_actions(START + 0.3) if isinstance(one, Ask)]
    rested = fetch.next_timer()
    assert rested is not None
    fetch.handle_timer(rested)
    assert [one.holder for one in fetch.poll_actions(rested) if isinstance(one, Ask)] == [1]
