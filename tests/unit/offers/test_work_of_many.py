"""What thousands of own offers cost in one turn: counted in lines run and in objects, not in time."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from hashlib import sha256
from types import FrameType
from typing import Any

from fastmarket.config import OfferConfig
from fastmarket.kad.outcome import Outcome
from fastmarket.native.sha256 import sha256_many
from fastmarket.offers.announce.coverage import PLACE_BITS, place
from fastmarket.offers.announce.due_times import EMPTY_TIMES, DueTimes
from fastmarket.offers.announce.reprovider import DUE_A_TURN, LONE_SWEEP_OFFERS, SWEEP_PAUSE_S, Reprovider
from fastmarket.offers.model.offer import Offer
from fastmarket.offers.store.offer_store import OfferStore
from tests.virtual import START, identity, terms

CONFIG = OfferConfig()
GOOD, NOBODY = Outcome(20, 20, 11), Outcome(0, 0, 0)
GOOD_SO_FAR = Outcome(2, 2, 2)  # of so small a network
own_place = place(identity(1).peer_id.key)
TOGETHER = 64  # registered at once
FEW, MANY = 1024, 8 * 1024


def lines(call: Callable[[], object]) -> int:
    """Lines that `call` runs, those of loops each time."""
    count = 0

    def note(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        count += event == "line"
        return note

    before = sys.gettrace()
    sys.settrace(note)
    try:
        call()
    finally:
        sys.settrace(before)
    return count


def schedule() -> Reprovider:
    return Reprovider(CONFIG, identity(1), OfferStore(CONFIG), 20)


def register(own: Reprovider, first: int, now: float, outcome: Outcome) -> None:
    contents = [
        b"\x12\x20" + digest for digest in sha256_many([b"%d" % (first + n) for n in range(TOGETHER)])
    ]
    offers = own.register_many([terms(content=content) for content in contents], now)
    own.on_announced_many(offers, outcome, now)


def most_lines(offers: int, outcome: Outcome) -> int:
    """Of one call, when there are that many offers, over as many calls as it takes to register them again."""
    own = schedule()
    for first in range(0, offers, TOGETHER):
        register(own, first, START + first, outcome)
    later = START + offers
    return max(
        lines(lambda at=first: register(own, at, later + at, outcome))  # type: ignore[misc]
        for first in range(0, offers, TOGETHER)
    )


def test_the_work_of_one_call_does_not_grow_with_the_number_of_own_offers() -> None:
    for outcome in (GOOD, NOBODY):
        assert most_lines(MANY, outcome) < 1.5 * most_lines(FEW, outcome)


def most_lines_of_a_sweep(offers: int) -> int:
    """Of the sweeps that announce so many again, when all are due."""
    own = schedule()
    for first in range(0, offers, TOGETHER):
        register(own, first, START, NOBODY)
    now, most, swept = START + CONFIG.retry_longest_s, 0, list[Offer]()
    while len(swept) < offers:
        own.handle_timer(now)
        found: list[Offer] = []
        most = max(most, lines(lambda into=found, at=now: into.extend(own.take_sweep(at))))  # type: ignore[misc]
        assert len(found) <= LONE_SWEEP_OFFERS
        places = [(place(sha256(offer.content).digest()) - own_place) % (1 << PLACE_BITS) for offer in found]
        assert places == sorted(places)
        swept += found
        own.on_announced_many(found, NOBODY, now)
        own.on_swept()
        now += SWEEP_PAUSE_S
    assert len({offer.key for offer in swept}) == offers
    return most


def test_a_sweep_of_a_lone_node_is_short_however_many_are_due() -> None:
    assert most_lines_of_a_sweep(MANY) < 1.5 * most_lines_of_a_sweep(FEW)


def most_lines_of_growth(offers: int) -> int:
    """Of a turn after the table has grown, when so many are to be spread."""
    own = schedule()
    for first in range(0, offers, TOGETHER):
        register(own, first, START, GOOD_SO_FAR)
    now = START + CONFIG.settle_s + 1
    own.on_table_size(5, START)
    most, turns = 0, 0
    while (due := own.next_timer()) is not None and due <= now and turns * DUE_A_TURN < offers:
        most = max(most, lines(lambda: own.handle_timer(now)))
        turns += 1
    swept: list[Offer] = []
    while found := own.take_sweep(now):
        swept += found
        own.on_swept()
        now += SWEEP_PAUSE_S
    assert len({offer.key for offer in swept}) == offers
    return most


def test_when_the_table_grows_offers_are_looked_at_in_turns() -> None:
    assert most_lines_of_growth(MANY) < 1.5 * most_lines_of_growth(FEW)


def test_offers_leave_nothing_for_the_cycle_collector() -> None:
    own = schedule()
    register(own, 0, START, GOOD)
    gc.collect()
    before = len(gc.get_objects())
    for first in range(TOGETHER, FEW, TOGETHER):
        register(own, first, START, GOOD)
    gc.collect()
    grown = len(gc.get_objects()) - before
    assert len(own) == FEW
    assert grown < FEW / 4  # dicts, of those due at the same time


def test_an_offer_that_is_moved_leaves_nothing_behind_but_times() -> None:
    dues, key = DueTimes(), (b"content", b"provider", b"user")
    for n in range(10_000):
        dues.add(START + n, key)
        assert dues.first() == START + n
        if n % 2:
            dues.add(START + n, (b"other", b"", b""))
            dues.remove(START + n, (b"other", b"", b""))
        dues.remove(START + n, key)
        assert dues.first() is None
    for n in range(10_000):
        dues.add(START + 10_000 - n, key)
        dues.remove(START + 10_000 - n, key)
    assert dues.time_count <= EMPTY_TIMES
    assert not dues


def test_offers_come_by_time_each_once() -> None:
    dues = DueTimes()
    wanted = [(START + n % 7, (b"%d" % n, b"", b"")) for n in range(50)]
    for due, key in wanted:
        dues.add(due, key)
    assert dues.take(START - 1) is None
    taken = []
    while (first := dues.first()) is not None:
        key = dues.take(START + 100)
        assert key is not None
        taken.append((first, key))
    assert sorted(taken) == sorted(wanted)
    assert [due for due, _ in taken] == sorted(due for due, _ in wanted)
    assert dues.take(START + 100) is None
