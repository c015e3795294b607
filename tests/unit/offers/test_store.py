"""The bounded store: replacement, order, bounds, expiry."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

from fastmarket.config import OfferConfig
from fastmarket.offers.model.offer import Offer, OfferTerms, sign_offer
from fastmarket.offers.store.offer_store import FoundOffers, OfferStore
from fastmarket.offers.wire.messages import Ack, FindRequest
from tests.virtual import CONTENT, START, identity, terms

NOW = START
ROOM = 64 * 1024


def offer(holder: int, price: int = 5, **options: object) -> Offer:
    wanted = options.pop("terms", None)
    assert wanted is None or isinstance(wanted, OfferTerms)
    return sign_offer(identity(holder), wanted or terms(price), NOW, **options)  # type: ignore[arg-type]


def prices(store: OfferStore, now: float = NOW) -> list[int]:
    return [held.price_per_mb for held in store.offers(CONTENT, now)]


def test_a_higher_seq_replaces_and_a_lower_one_does_not() -> None:
    store = OfferStore(OfferConfig())
    first = offer(1, 5)
    second = sign_offer(identity(1), terms(9), NOW, previous=first)
    assert store.add(second, NOW) is Ack.STORED
    assert store.add(second, NOW) is Ack.STORED
    assert store.add(first, NOW) is Ack.SUPERSEDED
    assert prices(store) == [9]
    assert (len(store), store.stored_bytes) == (1, len(second.envelope))
    assert store.get(first.key) == second


def test_holders_and_users_of_one_content_stand_side_by_side_cheapest_first() -> None:
    store = OfferStore(OfferConfig())
    for held in (offer(1, 7), offer(2, 3), offer(1, terms=terms(5, user=b"other")), offer(3, 3)):
        assert store.add(held, NOW) is Ack.STORED
    assert prices(store) == [3, 3, 5, 7]


def test_find_bounds_price_number_and_bytes() -> None:
    store = OfferStore(OfferConfig())
    held = [offer(n, price=n) for n in range(1, 6)]
    for one in held:
        store.add(one, NOW)
    envelopes = tuple(one.envelope for one in held)

    def found(room: int = ROOM, **request: int) -> tuple[tuple[bytes, ...], bool]:
        answer = store.find(FindRequest(CONTENT, **{"limit": 100, **request}), NOW, room)
        return answer.envelopes, answer.more

    assert found() == (envelopes, False)
    assert found(limit=2) == (envelopes[:2], True)
    assert found(limit=5) == (envelopes, False)
    assert found(limit=0) == ((), True)
    assert found(max_price_per_mb=3) == (envelopes[:3], False)
    assert found(max_price_per_mb=3, limit=1) == (envelopes[:1], True)
    assert found(skip=4) == (envelopes[4:], False)
    assert found(skip=9) == ((), False)
    assert found(skip=1, limit=2) == (envelopes[1:3], True)
    assert found(room=len(envelopes[0]) * 2 + 20) == (envelopes[:2], True)
    assert store.find(FindRequest(b"\x12\x20" + bytes(32), 10), NOW, ROOM).envelopes == ()


def test_expired_offers_are_not_returned_and_then_forgotten() -> None:
    store = OfferStore(OfferConfig())
    store.add(offer(1, 1, lifetime_s=100), NOW)
    store.add(offer(2, 2, lifetime_s=1000), NOW)
    assert store.add(offer(3, 3, lifetime_s=10), NOW + 10) is Ack.EXPIRED
    assert prices(store, NOW + 100) == [2]
    due = store.next_timer()
    assert due is not None
    assert NOW + 100 <= due <= NOW + 160
    assert store.handle_timer(due) == 1
    assert len(store) == 1
    assert store.handle_timer(NOW + 2000) == 1
    assert (len(store), store.stored_bytes, store.next_timer()) == (0, 0, None)


def test_replacing_an_offer_again_and_again_holds_nothing_more() -> None:
    store = OfferStore(OfferConfig())
    held = offer(1)
    for _ in range(200):
        assert store.add(held, NOW) is Ack.STORED
        held = sign_offer(identity(1), terms(), NOW, previous=held, lifetime_s=1000 + held.seq % 5 * 60)
    assert len(store) == 1
    assert sum(map(len, store.expiry._keys.values())) == 1


def test_a_tombstone_hides_the_offer_until_that_would_have_ended() -> None:
    store = OfferStore(OfferConfig())
    first = offer(1, lifetime_s=1000)
    gone = sign_offer(identity(1), terms(), NOW + 1, previous=first, withdrawn=True)
    store.add(first, NOW)
    assert store.add(gone, NOW + 1) is Ack.STORED
    assert prices(store) == []
    assert store.add(first, NOW + 2) is Ack.SUPERSEDED
    # Whoever asks is told of the withdrawal: others may have slept through it. Whatever price he wants.
    assert store.find(FindRequest(CONTENT, 10, 0), NOW + 2, ROOM) == FoundOffers((gone.envelope,), False)
    other = offer(2, 9, lifetime_s=1000)
    store.add(other, NOW)
    assert store.find(FindRequest(CONTENT, 10), NOW, ROOM).envelopes == (other.envelope, gone.envelope)
    assert store.find(FindRequest(CONTENT, 10, 5, skip=1), NOW, ROOM).envelopes == ()
    store.handle_timer(NOW + 999)
    assert store.add(first, NOW + 999) is Ack.SUPERSEDED
    store.handle_timer(NOW + 1061)
    assert len(store) == 0


def test_a_shortened_offer_is_not_followed_by_the_one_it_replaced() -> None:
    store = OfferStore(OfferConfig())
    long = offer(1, 1, lifetime_s=1000)
    short = sign_offer(identity(1), terms(2), NOW + 1, lifetime_s=10)
    store.add(long, NOW)
    store.add(short, NOW)
    store.handle_timer(NOW + 100)
    assert store.add(long, NOW + 100) is Ack.SUPERSEDED
    assert prices(store, NOW + 100) == []


def test_a_full_content_gives_the_greediest_holders_place_to_a_newcomer() -> None:
    store = OfferStore(replace(OfferConfig(), max_offers_per_content=3))
    for price in (1, 2, 3):
        store.add(offer(1, terms=terms(price, user=b"%d" % price)), NOW)
    assert store.add(offer(1, terms=terms(0, user=b"more")), NOW) is Ack.FULL
    assert store.add(offer(2, 9), NOW) is Ack.STORED
    assert prices(store) == [1, 2, 9]  # the dearest of the one with three
    assert store.add(offer(2, terms=terms(0, user=b"more")), NOW) is Ack.FULL  # 2 and 1: no gain in fairness
    assert store.add(offer(3, 8), NOW) is Ack.STORED
    assert prices(store) == [1, 8, 9]
    assert store.add(offer(4, 7), NOW) is Ack.FULL  # a crowd of equals: first come, first served
    assert (
        store.add(sign_offer(identity(3), terms(4), NOW + 1), NOW + 1) is Ack.STORED
    )  # replacing needs no room
    assert prices(store) == [1, 4, 9]


def test_bounds_on_a_provider_the_total_and_the_bytes() -> None:
    size = len(offer(1).envelope)
    others = [terms(content=b"\x12\x20" + sha256(b"%d" % n).digest()) for n in range(3)]
    for config in (
        replace(OfferConfig(), max_offers_per_provider=2),
        replace(OfferConfig(), max_offers=2),
        replace(OfferConfig(), max_stored_bytes=2 * size + 5),
    ):
        store = OfferStore(config)
        assert store.add(offer(1, terms=others[0]), NOW) is Ack.STORED
        assert store.add(offer(1, terms=others[1]), NOW) is Ack.STORED
        assert store.add(offer(1, terms=others[2]), NOW) is Ack.FULL
        store.handle_timer(NOW + 50 * 3600)
        later = sign_offer(identity(1), others[2], NOW + 50 * 3600)
        assert store.add(later, NOW + 50 * 3600) is Ack.STORED


def test_of_a_full_store_nothing_grows_but_tombstones() -> None:
    """Else many short offers would make room for as many long ones."""
    short = terms(5)
    long = replace(short, user_name="n" * 200)
    first = sign_offer(identity(1), short, NOW)
    store = OfferStore(replace(OfferConfig(), max_stored_bytes=len(first.envelope) + 20))
    assert store.add(first, NOW) is Ack.STORED
    assert store.add(sign_offer(identity(1), long, NOW, previous=first), NOW) is Ack.FULL
    again = sign_offer(identity(1), short, NOW, previous=first)
    assert store.add(again, NOW) is Ack.STORED
    gone = sign_offer(identity(1), short, NOW, previous=again, withdrawn=True)
    assert store.add(gone, NOW) is Ack.STORED


def test_own_offers_always_find_room_and_are_not_displaced() -> None:
    store = OfferStore(replace(OfferConfig(), max_offers_per_content=2, max_offers=2))
    own = [offer(1, terms=terms(n, user=b"%d" % n)) for n in range(3)]
    for one in own:
        assert store.add(one, NOW, own=True) is Ack.STORED
    assert store.add(offer(2), NOW) is Ack.FULL
    assert prices(store) == [0, 1, 2]
