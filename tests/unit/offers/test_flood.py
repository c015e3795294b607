"""Who floods a storer keeps nobody out: shares by address block, sender and distance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastmarket.config import OfferConfig
from fastmarket.formats.identity import Identity
from fastmarket.kad.records.shares import NEARBY, Source
from fastmarket.native.batch import SignedBatch
from fastmarket.offers.model.offer import Offer, OfferTerms, Signing, sign_offer, sign_offers
from fastmarket.offers.store.changes import Displaced
from fastmarket.offers.store.offer_store import OfferStore
from fastmarket.offers.store.units import PLACE_BYTES, cost_of, unit_of
from fastmarket.offers.wire.messages import Ack, decode_store_reply, encode_store
from tests.virtual import CONTENT, START, VirtualNetwork, identity, terms

HOME, NEXT_DOOR = b"\x08\x08", b"\x09\x09"  # address blocks


def content(name: object) -> bytes:
    return b"\x12\x20" + sha256(f"{name}".encode()).digest()


def batch(holder: Identity, names: Iterable[object], now: float = START) -> SignedBatch:
    signed = sign_offers(holder, [Signing(terms(content=content(name))) for name in names], now)[0].signed
    assert isinstance(signed, SignedBatch)
    return signed


def distance(node: Storer, held: bytes) -> int:
    return int.from_bytes(sha256(held).digest(), "big") ^ int.from_bytes(node.identity.peer_id.key, "big")


class Storer:
    """A node, and what strangers send it."""

    def __init__(self, config: OfferConfig) -> None:
        node = VirtualNetwork.immediate(offers=config).add()
        self.identity, self.offers = node.identity, node.offers

    def store(
        self, sender: int, *what: SignedBatch | Offer, block: bytes = NEARBY, now: float = START
    ) -> Counter[Ack]:
        whole = [one.data for one in what if isinstance(one, SignedBatch)]
        single = [one.envelope for one in what if isinstance(one, Offer)]
        body = encode_store(single, whole)
        reply = self.offers.handle_request(identity(sender).peer_id, body, now, block)
        return Counter(decode_store_reply(reply).acks)

    def flood(self, sender: int, batches: int, size: int = 16, block: bytes = NEARBY) -> Counter[Ack]:
        """Batches of throwaway holders, from one peer."""
        acks: Counter[Ack] = Counter()
        for number in range(batches):
            holder = identity(1_000_000 + 1000 * sender + number)
            acks += self.store(sender, batch(holder, [(sender, number, n) for n in range(size)]), block=block)
        return acks

    def held(self, holder: Identity) -> int:
        return sum(one.provider == holder.peer_id for one in self.offers.store)


def honest(holder: int, count: int) -> list[Offer]:
    return [sign_offer(identity(holder), terms(content=content((holder, n))), START) for n in range(count)]


@pytest.mark.parametrize("block", [NEARBY, HOME, NEXT_DOOR])
def test_one_peer_that_fills_the_store_keeps_nobody_out(block: bytes) -> None:
    storer = Storer(OfferConfig(max_offers=512))
    storer.flood(5, 80, block=HOME)
    assert len(storer.offers.store) >= 512 - 16
    for offer in honest(6, 20):
        assert storer.store(6, offer, block=block) == {Ack.STORED: 1}
    assert storer.held(identity(6)) == 20
    storer.flood(5, 80, block=HOME)  # it goes on
    assert storer.held(identity(6)) == 20
    assert len(storer.offers.store) <= 512


def test_nor_one_with_many_identities_in_one_block() -> None:
    storer = Storer(OfferConfig(max_offers=512))
    for sender in range(100, 140):
        storer.flood(sender, 2, block=HOME)
    assert set(storer.store(6, *honest(6, 60), block=NEXT_DOOR)) == {Ack.STORED}
    for sender in range(200, 240):
        storer.flood(sender, 2, block=HOME)
    assert storer.held(identity(6)) == 60


def test_who_has_no_more_than_anybody_keeps_it_however_many_come() -> None:
    """A batch that is refused as a whole does not come in by its first offer either."""
    storer = Storer(OfferConfig(max_offers=512))
    holder = identity(6)
    assert storer.store(6, batch(holder, [(6, n) for n in range(16)])) == {Ack.STORED: 16}
    for sender in range(100, 131):
        assert storer.flood(sender, 1) == {Ack.STORED: 16}
    for sender in range(200, 240):
        assert storer.flood(sender, 1) == {Ack.FULL: 16}
    assert storer.held(holder) == 16


def test_an_offer_that_comes_by_way_of_the_flood_is_taken_in_the_place_of_a_batch() -> None:
    """Who hands over offers of many holders cannot say which of them are honest."""
    storer = Storer(OfferConfig(max_offers=512))
    storer.flood(5, 120)
    assert set(storer.store(5, *honest(6, 20))) == {Ack.STORED}


def test_a_holder_has_all_of_what_nobody_else_wants_and_no_more_than_half_of_the_rest() -> None:
    storer = Storer(OfferConfig(max_offers=4096))
    holder = identity(6)
    for n in range(12):
        assert set(storer.store(6, batch(holder, [(n, m) for m in range(256)]))) == {Ack.STORED}
    assert storer.held(holder) == 3072
    others = batch(identity(7), [("other", m) for m in range(256)])
    assert storer.store(7, others, block=NEXT_DOOR) == {Ack.STORED: 256}


@pytest.mark.parametrize(
    ("share", "blocks"),
    [({"max_sender_share": 0.5}, (HOME, HOME)), ({"max_block_share": 0.5}, (HOME, NEXT_DOOR))],
)
def test_room_is_left_that_one_sender_and_one_block_cannot_take(
    share: dict[str, float], blocks: tuple[bytes, bytes]
) -> None:
    places = 200
    config = OfferConfig(max_offers=places, max_stored_bytes=1, **share)
    total = places * PLACE_BYTES
    store = OfferStore(OfferConfig(max_offers=places, max_stored_bytes=places * 1000, **share))
    assert config.max_offers == places
    source = Source(blocks[0], b"sender")
    for n in range(places):
        offer = sign_offer(identity(6), terms(content=content(n)), START)
        if store.add(offer, START, source=source) is Ack.FULL:
            break
    assert total / 3 < sum(cost_of(one.signed) for one in store) <= (places * 1000 + total) / 2
    other = sign_offer(identity(7), terms(content=content("other")), START)
    assert store.add(other, START, source=Source(blocks[1], b"another")) is Ack.STORED


def test_what_is_nearby_may_take_all_of_it_together() -> None:
    store = OfferStore(OfferConfig(max_offers=40, max_stored_bytes=40_000, max_block_share=0.5))
    for n in range(40):
        offer = sign_offer(identity(6), terms(content=content(n)), START)
        assert store.add(offer, START, source=Source(NEARBY, b"%d" % (n % 3))) is Ack.STORED


def test_far_contents_of_one_sender_give_way_to_near_ones() -> None:
    storer = Storer(OfferConfig(max_offers=30))
    offers = [sign_offer(identity(100 + n), terms(content=content(n)), START) for n in range(120)]
    for offer in offers:
        storer.store(5, offer)
    nearest = sorted((offer.content for offer in offers), key=lambda one: distance(storer, one))[:30]
    assert {offer.content for offer in storer.offers.store} == set(nearest)


def test_what_is_refused_for_want_of_room_costs_no_signature() -> None:
    storer = Storer(OfferConfig(max_offers=32, max_offers_per_content=2, max_offers_per_provider=32))
    verifier, holder = storer.offers.verifier, identity(6)
    near = sorted(range(400), key=lambda n: distance(storer, content(n)))
    assert set(storer.store(5, batch(holder, near[:16]), batch(holder, near[16:32]))) == {Ack.STORED}
    verified = verifier.verified_count
    far = [sign_offer(identity(100 + n), terms(content=content(near[-1 - n])), START) for n in range(20)]
    more = sign_offer(holder, terms(content=content("more")), START)
    whole = batch(holder, near[100:116])
    assert set(storer.store(5, more, whole)) == {Ack.FULL}  # its bound, which one signature found out
    assert verifier.verified_count == verified
    assert storer.held(holder) == 32
    # Larger batches give way to offers of others; among these it is the distance that counts.
    storer.store(
        5, *(sign_offer(identity(300 + n), terms(content=content(near[40 + n])), START) for n in range(40))
    )
    verified = verifier.verified_count
    assert set(storer.store(5, *far)) == {Ack.FULL}
    assert verifier.verified_count == verified


def test_a_full_content_refuses_without_a_signature_and_takes_one_from_elsewhere() -> None:
    """1,024 keys that ask nothing are no reason to refuse the next seller."""
    storer = Storer(OfferConfig(max_offers_per_content=32))
    for n in range(32):
        free = sign_offer(identity(100 + n), terms(0), START)
        assert storer.store(5 + n % 4, free, block=HOME) == {Ack.STORED: 1}
    another = sign_offer(identity(200), terms(0), START)
    storer.store(5, another, block=HOME)
    verified = storer.offers.verifier.verified_count
    late = [sign_offer(identity(201 + n), terms(0), START) for n in range(10)]
    assert set(storer.store(6, *late, block=HOME)) == {Ack.FULL}
    assert storer.offers.verifier.verified_count == verified
    seller = sign_offer(identity(300), terms(50), START)
    assert storer.store(9, seller, block=NEXT_DOOR) == {Ack.STORED: 1}
    assert storer.held(identity(300)) == 1
    neighbour = sign_offer(identity(301), terms(50), START)  # of the same block as the crowd
    assert storer.store(10, neighbour, block=HOME) == {Ack.STORED: 1}
    for n in range(40):
        storer.store(5, sign_offer(identity(400 + n), terms(0), START), block=HOME)
    assert (storer.held(identity(300)), storer.held(identity(301))) == (1, 1)
    assert len(list(storer.offers.store.held(CONTENT))) == 32


def test_neither_renewals_nor_newcomers_have_a_full_content_counted_again() -> None:
    """A STORE of renewals and newcomers in turn would cost as many looks through all of its offers."""
    storer = Storer(OfferConfig(max_offers_per_content=32))
    held = [sign_offer(identity(100 + n), terms(0), START) for n in range(32)]
    for offer in held:
        storer.store(5, offer, block=HOME)
    assert storer.store(5, sign_offer(identity(200), terms(0), START), block=HOME) == {Ack.FULL: 1}
    crowd = storer.offers.store._crowds[CONTENT]
    for offer in held[:3]:
        renewed = sign_offer(offer_holder(held.index(offer)), terms(9), START + 1, previous=offer)
        assert storer.store(5, renewed, block=HOME, now=START + 1) == {Ack.STORED: 1}
        assert storer.offers.store._crowds[CONTENT] is crowd
    seller = sign_offer(identity(300), terms(50), START)
    assert storer.store(9, seller, block=NEXT_DOOR) == {Ack.STORED: 1}
    assert storer.offers.store._crowds[CONTENT] is crowd
    prices = [one.price_per_mb for one in storer.offers.store.held(CONTENT)]
    assert sorted(prices) == [0] * 29 + [9, 9, 50] or sorted(prices) == [0] * 28 + [9, 9, 9, 50]


def offer_holder(number: int) -> Identity:
    return identity(100 + number)


def test_renewals_come_first_and_own_offers_stay() -> None:
    storer = Storer(OfferConfig(max_offers=64))
    own = [storer.offers.own.register(terms(content=content(("own", n))), START) for n in range(3)]
    mine = honest(6, 10)
    storer.store(6, *mine)
    storer.flood(5, 40, 8)
    for number, offer in enumerate(mine):
        renewed = sign_offer(identity(6), terms(content=offer.content), START + 1, previous=offer)
        assert storer.store(6, renewed, now=START + 1) == {Ack.STORED: 1}, number
    assert all(storer.offers.store.get(one.key) is not None for one in own)
    assert storer.held(identity(6)) == 10


def test_offers_brought_first_by_a_flood_count_for_who_brings_them_next() -> None:
    storer = Storer(OfferConfig(max_offers=64))
    mine = honest(6, 10)
    storer.store(5, *mine, block=HOME)
    storer.store(6, *mine, block=NEXT_DOOR)
    storer.flood(5, 40, 8, block=HOME)
    for sender in range(200, 210):
        storer.flood(sender, 4, 8, block=HOME)
    assert storer.held(identity(6)) == 10


def test_of_one_sender_tombstones_go_last() -> None:
    """Without them the offers that were withdrawn could be brought back."""
    storer = Storer(OfferConfig(max_offers=64))
    offers = honest(6, 40)
    assert set(storer.store(6, *offers)) == {Ack.STORED}
    for number in range(24):  # the farthest or not
        gone = sign_offer(
            identity(6), terms(content=content((6, number))), START, previous=offers[number], withdrawn=True
        )
        assert storer.store(6, gone) == {Ack.STORED: 1}
    for sender in range(100, 140):
        storer.flood(sender, 1, 4)
    left = [one for one in storer.offers.store if one.provider == identity(6).peer_id]
    assert 0 < len(left) <= 24
    assert all(one.withdrawn for one in left)


def test_what_is_displaced_is_told_to_who_keeps_offers() -> None:
    storer = Storer(OfferConfig(max_offers=32))
    storer.offers.store.changes.collect()
    storer.flood(5, 8, 8)
    storer.store(6, *honest(6, 4))
    changes = storer.offers.store.changes.take()
    gone = [one.key for change in changes if isinstance(change, Displaced) for one in change.offers]
    come = [one.key for change in changes if not isinstance(change, Displaced) for one in change.offers]
    assert gone
    assert sorted(set(come) - set(gone)) == sorted(one.key for one in storer.offers.store)


STEPS = st.lists(
    st.tuples(
        st.sampled_from([None, HOME, NEXT_DOOR, NEARBY]),  # None: our own
        st.integers(0, 3),  # sender
        st.integers(0, 5),  # holder
        st.sets(st.integers(0, 12), min_size=1, max_size=6),
        st.integers(1, 6),  # lifetime
        st.integers(0, 3),  # hours that pass
    ),
    max_size=40,
)


@given(STEPS)
@settings(deadline=None)
def test_shares_are_those_of_what_is_held(
    steps: Sequence[tuple[bytes | None, int, int, set[int], int, int]],
) -> None:
    config = OfferConfig(max_offers=14, max_offers_per_content=3, max_stored_bytes=6000)
    store = OfferStore(config)
    now = START
    for block, sender, holder, numbers, hours, later in steps:
        now += later * 3600
        store.handle_timer(now)
        own = block is None
        signings = [
            Signing(OfferTerms(content(n), b"%d" % sender, "", terms().metadata), lifetime_s=hours * 3600)
            for n in sorted(numbers)
        ]
        offers = sign_offers(identity(9 if own else holder), signings, now)
        source = None if block is None else Source(block, b"%d" % sender)
        if len(offers) > 1:
            store.add_batch(sorted(offers, key=lambda one: one.slot), now, own=own, source=source)
        else:
            store.add(offers[0], now, own=own, source=source)
        units = {unit_of(one): one for one in store if one.provider != identity(9).peer_id}
        shares = store._budget.shares
        assert len(shares) == len(units)
        cost: Counter[Source] = Counter()
        for unit, one in units.items():
            held_for = shares.source(unit)
            assert held_for is not None
            cost[held_for] += cost_of(one.signed)
        for held_for, taken in cost.items():
            assert shares.taken_bytes(held_for)[1] == taken
            assert shares.taken_bytes(held_for)[0] == sum(
                other for one, other in cost.items() if one.block == held_for.block
            )
        others = [one for one in store if one.provider != identity(9).peer_id]
        assert len(others) <= config.max_offers
    now += 49 * 3600
    store.handle_timer(now)
    assert (len(store), len(store._budget.shares), store._budget.shares._blocks) == (0, 0, {})
