"""The schedule of own offers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fastmarket.config import OfferConfig
from fastmarket.errors import Busy, CallerFault
from fastmarket.kad.outcome import Outcome
from fastmarket.offers.announce.reprovider import DUE_A_TURN, Reprovider
from fastmarket.offers.model.offer import Offer, sign_offer
from fastmarket.offers.store.offer_store import OfferStore
from tests.virtual import CONTENT, START, identity, terms

CONFIG = OfferConfig()
GOOD = Outcome(20, 20, 11)
SHORT = Outcome(1, 3, 2)
LONELY = Outcome(0, 0, 0)


def schedule(config: OfferConfig = CONFIG) -> Reprovider:
    return Reprovider(config, identity(1), OfferStore(config), 20)


def due(own: Reprovider, now: float) -> list[Offer]:
    own.handle_timer(now)
    return own.take_due(now)


def test_a_registered_offer_is_stored_here_and_announced_by_the_caller() -> None:
    store = OfferStore(CONFIG)
    own = Reprovider(CONFIG, identity(1), store, 20)
    offer = own.register(terms(), START)
    assert list(store.offers(CONTENT, START)) == [offer]
    assert (len(own), list(own), own.current(offer.key)) == (1, [offer], offer)
    assert due(own, START + 3600) == []


def test_it_is_renewed_at_the_interval_long_before_it_expires() -> None:
    own = schedule()
    now, offer = START, own.register(terms(), START)
    for _ in range(5):
        own.on_announced(offer, GOOD, now + 1)
        when = own.next_timer()
        assert when == now + 1 + CONFIG.announce_interval_s
        assert due(own, when - 1) == []
        (renewed,) = due(own, when)
        assert renewed.seq > offer.seq
        assert renewed.not_after == int(when + CONFIG.lifetime_s)
        assert offer.not_after - when > 24 * 3600
        now, offer = when, renewed


def test_a_failed_announcement_is_repeated_with_back_off_and_the_same_offer() -> None:
    own = schedule()
    now, offer = START, own.register(terms(), START)
    waits = []
    for outcome in (SHORT, None, LONELY, *[SHORT] * 40):
        own.on_announced(offer, outcome, now)
        when = own.next_timer()
        assert when is not None
        waits.append(when - now)
        (again,) = due(own, when)
        now, offer = when, again
    assert waits[:4] == [30, 60, 120, 240]
    assert waits[-1] == CONFIG.retry_longest_s
    assert offer.not_after - now > 24 * 3600
    own.on_announced(offer, GOOD, now)
    assert own.next_timer() == now + CONFIG.announce_interval_s


def test_a_retry_soon_after_does_not_sign_anew() -> None:
    own = schedule()
    offer = own.register(terms(), START)
    own.on_announced(offer, SHORT, START)
    assert due(own, START + 30) == [offer]


def test_what_was_registered_alone_is_announced_when_a_neighbour_comes() -> None:
    own = schedule()
    offer = own.register(terms(), START)
    own.on_announced(offer, LONELY, START)
    own.on_table_size(1, START + 1)
    assert own.next_timer() == START + 1 + CONFIG.settle_s
    assert due(own, START + 1) == []
    own.on_table_size(2, START + 2)  # does not put it off
    assert due(own, START + 1 + CONFIG.settle_s) == [offer]
    own.on_announced(offer, Outcome(2, 2, 2), START + 4)
    assert due(own, START + 20) == []
    own.on_table_size(1, START + 20)
    own.on_table_size(2, START + 21)
    assert due(own, START + 30) == []  # as many as there were
    own.on_table_size(3, START + 40)
    assert due(own, START + 43) == [offer]


def test_a_neighbour_that_comes_during_the_announcement_is_not_overlooked() -> None:
    own = schedule()
    offer = own.register(terms(), START)
    own.on_table_size(1, START + 1)
    own.on_announced(offer, LONELY, START + 2)
    assert due(own, START + 2 + CONFIG.settle_s) == [offer]


def test_an_offer_that_enough_nodes_hold_is_left_alone_when_the_table_grows() -> None:
    own = schedule()
    offer = own.register(terms(), START)
    own.on_announced(offer, GOOD, START)
    own.on_table_size(50, START + 1)
    assert due(own, START + 100) == []


def test_announcements_are_paced() -> None:
    config = replace(CONFIG, max_announcing=2)
    own = schedule(config)
    offers = [own.register(terms(user=b"%d" % n), START) for n in range(5)]
    for offer in offers:
        own.on_announced(offer, SHORT, START)
    first = due(own, START + 30)
    assert len(first) == 2
    assert own.take_due(START + 30) == []
    own.on_announced(first[0], GOOD, START + 31)
    second = own.take_due(START + 31)
    assert len(second) == 1
    for offer in (first[1], *second):
        own.on_announced(offer, None, START + 32)
    assert len(own.take_due(START + 32)) == 2
    assert {offer.key for offer in (*first, *second)} <= {offer.key for offer in offers}


def test_registering_anew_replaces_and_the_old_outcome_says_nothing() -> None:
    own = schedule()
    first = own.register(terms(5), START)
    second = own.register(terms(7), START)
    assert second.seq > first.seq
    assert (len(own), own.current(first.key)) == (1, second)
    own.on_announced(first, GOOD, START + 1)
    own.on_announced(second, SHORT, START + 1)
    assert due(own, START + 31) == [second]


def test_registering_anew_while_it_waits_for_a_slot_announces_once() -> None:
    own = schedule(replace(CONFIG, max_announcing=1))
    offers = [own.register(terms(user=b"%d" % n), START) for n in range(2)]
    for offer in offers:
        own.on_announced(offer, SHORT, START)
    (running,) = due(own, START + 30)
    waiting = next(offer for offer in offers if offer.key != running.key)
    user = waiting.user_id
    anew = own.register(terms(user=user), START + 31)
    own.on_announced(anew, GOOD, START + 32)
    own.on_announced(running, GOOD, START + 33)
    assert own.take_due(START + 34) == []


def test_a_version_of_our_own_that_others_brought_back_is_surpassed() -> None:
    store = OfferStore(CONFIG)
    own = Reprovider(CONFIG, identity(1), store, 20)
    ahead = sign_offer(identity(1), terms(1), START + 500)
    store.add(ahead, START)
    assert own.register(terms(2), START).seq == ahead.seq + 1


def test_many_registrations_of_one_offer_do_not_grow_the_schedule() -> None:
    own = schedule()
    for n in range(2000):
        own.on_announced(own.register(terms(), START + n), GOOD, START + n)
    assert own.dues.time_count < 600
    assert len(due(own, START + 2000 + CONFIG.announce_interval_s)) == 1


def test_too_many_own_offers_are_refused_but_known_ones_may_change() -> None:
    own = schedule(replace(CONFIG, max_own_offers=1))
    own.register(terms(1), START)
    own.register(terms(2), START)
    with pytest.raises(Busy):
        own.register(terms(user=b"second"), START)


def test_offers_of_an_earlier_run_are_kept_beyond_a_bound_that_was_lowered() -> None:
    before, lowered = schedule(), replace(CONFIG, max_own_offers=2, max_offers=2)
    alone = [before.register(terms(user=user), START) for user in (b"a", b"b", b"c")]
    together = before.register_many([terms(user=b"%d" % n) for n in range(5)], START)
    own = schedule(lowered)
    for offer in alone:
        own.restore(offer, START + 1)
    own.restore_many(together, START + 1)
    assert {offer.key for offer in own} == {offer.key for offer in (*alone, *together)}
    with pytest.raises(Busy):
        own.register(terms(user=b"new"), START + 2)
    own.register(terms(2, user=b"a"), START + 2)


def test_a_withdrawn_offer_is_a_tombstone_until_the_offer_would_have_expired() -> None:
    store = OfferStore(CONFIG)
    own = Reprovider(CONFIG, identity(1), store, 20)
    offer = own.register(terms(), START)
    own.on_announced(offer, GOOD, START + 1)
    tombstone = own.withdraw(CONTENT, b"u", START + 2)
    assert (tombstone.withdrawn, tombstone.not_after) == (True, offer.not_after)
    assert tombstone.replaces(offer)
    assert store.get(offer.key) == tombstone
    assert list(store.offers(CONTENT, START + 2)) == []
    assert (len(own), list(own)) == (0, [])
    now = START + 3
    own.on_announced(tombstone, GOOD, now)
    announced = 0
    while (when := own.next_timer()) is not None:
        now = when
        for again in due(own, now):
            assert again == tombstone  # never renewed
            announced += 1
            own.on_announced(again, GOOD, now)
    assert (announced, now) == (2, offer.not_after)
    assert own.current(offer.key) is None


def test_a_withdrawal_that_failed_is_announced_again() -> None:
    own = schedule()
    own.on_announced(own.register(terms(), START), GOOD, START)
    tombstone = own.withdraw(CONTENT, b"u", START + 1)
    assert own.withdraw(CONTENT, b"u", START + 2) == tombstone
    own.on_announced(tombstone, SHORT, START + 3)
    assert due(own, START + 3 + CONFIG.retry_first_s) == [tombstone]


def test_what_was_never_offered_cannot_be_withdrawn() -> None:
    own = schedule()
    with pytest.raises(CallerFault):
        own.withdraw(CONTENT, b"u", START)
    own.register(terms(), START)
    with pytest.raises(CallerFault):
        own.withdraw(CONTENT, b"another", START)


def test_an_offer_can_be_registered_again_after_it_was_withdrawn() -> None:
    store = OfferStore(CONFIG)
    own = Reprovider(CONFIG, identity(1), store, 20)
    own.register(terms(1), START)
    tombstone = own.withdraw(CONTENT, b"u", START + 1)
    anew = own.register(terms(2), START + 1)
    assert anew.replaces(tombstone)
    assert list(store.offers(CONTENT, START + 2)) == [anew]
    assert (len(own), list(own)) == (1, [anew])
    own.on_announced(tombstone, GOOD, START + 2)
    own.on_announced(anew, GOOD, START + 3)
    assert own.next_timer() == START + 3 + CONFIG.announce_interval_s


def test_of_two_versions_from_disk_the_later_counts_and_the_other_is_told() -> None:
    first = sign_offer(identity(1), terms(1), START)
    second = sign_offer(identity(1), terms(2), START, previous=first)
    for order in ((first, second), (second, first)):
        own = schedule()
        for one in order:
            own.restore(one, START)
        assert list(own) == [second]
        assert own.take_stale() == [first]
        assert own.take_stale() == []
        assert due(own, START + 3600) == [second]
        assert due(own, START + 3700) == [], "once"


def test_a_tombstone_that_is_over_still_overrules_what_it_took_back() -> None:
    first = sign_offer(identity(1), terms(1), START)
    gone = sign_offer(identity(1), terms(1), START, previous=first, withdrawn=True)
    anew = sign_offer(identity(1), terms(3), START, previous=gone)
    own = schedule()
    later = START + 60 * 3600
    own.restore(gone, later)
    own.restore(first, later)
    assert (list(own), own.take_stale()) == ([], [first])
    own = schedule()
    own.restore(gone, later)
    own.restore(anew, later)
    assert (list(own), own.take_stale()) == ([anew], [gone])


def test_many_from_disk_are_announced_after_a_while_and_within_the_spread() -> None:
    many = [terms(content=b"\x12\x20" + bytes((n,)) * 32) for n in range(40)]
    offers = schedule().register_many(many, START)
    own = schedule()
    own.restore_many(offers, START + 10)
    assert len(own) == 40
    assert due(own, START + 10 + CONFIG.restore_delay_s) == []
    taken: list[Offer] = []
    for minute in range(61):
        for offer in due(own, START + 11 + minute * 60):
            taken.append(offer)
            own.on_announced(offer, GOOD, START + 11 + minute * 60)
    assert {offer.content for offer in taken} == {one.content for one in many}


def test_a_seq_is_never_below_the_highest_ever_given() -> None:
    own = schedule()
    own.seq_floor = int((START + 3600) * 1_000_000)
    first = own.register(terms(), START)
    assert first.seq == int((START + 3600) * 1_000_000) + 1
    again = own.register(terms(content=b"\x12\x20" + bytes(32)), START)
    assert again.seq == own.seq_floor > first.seq
    assert own.register(terms(), START + 7200).seq == int((START + 7200) * 1_000_000)


def test_many_offers_due_at_once_are_announced_in_many_turns() -> None:
    """A node that finds no peers has all of its offers due at once: other work has turns in between."""
    own = schedule()
    many = [terms(user=number.to_bytes(4, "big")) for number in range(2 * DUE_A_TURN + 1)]
    own.on_announced_many(own.register_many(many, START), LONELY, START)
    now, announced = START, set[bytes]()
    while len(announced) < len(many):
        when = own.next_timer()
        assert when is not None
        now = max(now, when)
        own.handle_timer(now)
        sweep = own.take_sweep(now)
        assert len(sweep) <= CONFIG.max_sweep_offers
        assert own.take_sweep(now) == []
        assert announced.isdisjoint(offer.user_id for offer in sweep)
        announced.update(offer.user_id for offer in sweep)
        own.on_announced_many(sweep, GOOD, now)
        own.on_swept()
    assert now < START + CONFIG.retry_first_s + 1
