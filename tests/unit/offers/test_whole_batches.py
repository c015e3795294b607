"""STORE of whole batches: what is taken, what is refused and counted, and how deliveries count answers."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastmarket.config import KadConfig, OfferConfig
from fastmarket.errors import LimitExceeded, PeerFault
from fastmarket.kad.outcome import Outcome
from fastmarket.native.batch import SignedBatch
from fastmarket.offers.announce.parcels import Parcel, parcels
from fastmarket.offers.model.batch import sign_batch
from fastmarket.offers.model.offer import MAX_ENVELOPE_BYTES, Offer, Signing, sign_offer, sign_offers
from fastmarket.offers.model.refusals import Refusal
from fastmarket.offers.protocol import OfferProtocol
from fastmarket.offers.wire.messages import (
    Ack,
    FindRequest,
    decode_find_reply,
    decode_store_reply,
    encode_find,
    encode_store,
)
from fastmarket.offers.wire.verifying import open_offer
from fastmarket.pb.fastmarket.v1.offer_pb2 import OfferBody
from tests.reference.batched import decode_batched
from tests.virtual import START, VirtualNetwork, identity, terms

HOLDER = identity(60)


def content(n: int) -> bytes:
    return b"\x12\x20" + sha256(b"content %d" % n).digest()


def batch(count: int, price: int = 5) -> tuple[SignedBatch, list[Offer]]:
    offers = sign_offers(HOLDER, [Signing(terms(price, content=content(n))) for n in range(count)], START)
    signed = offers[0].signed
    assert isinstance(signed, SignedBatch)
    return signed, sorted(offers, key=lambda offer: offer.slot)


class Storer:
    """A node, and the answers to what is stored there."""

    def __init__(self, config: OfferConfig | None = None) -> None:
        net = VirtualNetwork.immediate(offers=config)
        node, self.sender = net.mesh(2)
        self.offers: OfferProtocol = node.offers

    def store(
        self, whole: list[bytes], alone: list[bytes] | None = None, now: float = START
    ) -> tuple[Ack, ...]:
        body = encode_store(alone or [], whole)
        return decode_store_reply(self.offers.handle_request(self.sender.peer_id, body, now)).acks

    def find(self, n: int) -> list[bytes]:
        request = encode_find(FindRequest(content(n), 10))
        reply = self.offers.handle_request(self.sender.peer_id, request, START)
        return list(decode_find_reply(reply, 10, KadConfig()).envelopes)


def test_a_whole_batch_is_stored_and_its_offers_found_one_by_one() -> None:
    storer = Storer()
    whole, _ = batch(200)
    assert storer.store([whole.data]) == (Ack.STORED,) * 200
    assert storer.offers.verifier.verified_count == 1
    for n in (0, 99, 199):
        (envelope,) = storer.find(n)
        assert open_offer(envelope, START).content == content(n)
    assert storer.store([whole.data]) == (Ack.STORED,) * 200, "held already"
    assert (len(storer.offers.store), storer.offers.verifier.verified_count) == (200, 1)
    assert storer.offers.acks == {Ack.STORED: 400}


def test_acknowledgements_of_single_offers_come_first() -> None:
    storer = Storer()
    first, _ = batch(3)
    later, offers = batch(3, price=6)
    newest = max(offers, key=lambda offer: offer.body)
    assert storer.store([later.data], [b"junk", first.signed(0)]) == (
        Ack.INVALID,
        Ack.STORED,
        *[Ack.STORED] * 3,
    )
    assert len(storer.offers.store) == 3
    assert newest.price_per_mb == 6


def test_what_lies_under_another_root_is_refused_and_counted() -> None:
    whole, offers = batch(4)
    bodies = [offer.body for offer in offers]
    bent = bytearray(whole.envelope)
    bent[-1] ^= 1
    foreign = sign_batch(identity(61), bodies)
    for bad, reason in (
        (SignedBatch.join(whole.envelope, bodies[:3]), Refusal.FORGED),
        (SignedBatch.join(whole.envelope, [*bodies, bodies[0]]), Refusal.FORGED),
        (SignedBatch.join(whole.envelope, bodies[::-1]), Refusal.FORGED),
        (SignedBatch.join(bytes(bent), bodies), Refusal.FORGED),
        (SignedBatch.join(whole.envelope[:-1], bodies), Refusal.MALFORMED),
        (SignedBatch.join(b"", bodies), Refusal.MALFORMED),
        (SignedBatch.join(offers[0].envelope, bodies), Refusal.MALFORMED),
        (foreign, Refusal.FOREIGN),
    ):
        storer = Storer()
        assert storer.store([bad.data, bad.data]) == (Ack.INVALID,) * 2 * bad.count
        assert storer.offers.refusals == {reason: 2 * bad.count}
        assert storer.offers.verifier.verified_count <= 1, "a bad one is verified once"
        assert len(storer.offers.store) == 0


def test_one_bad_offer_costs_its_neighbours_nothing() -> None:
    _, offers = batch(4)
    bad = OfferBody.FromString(offers[1].body)
    bad.port = 0
    name = OfferBody.FromString(offers[2].body)
    name.user_name = "Zoë"  # good, but read the careful way
    bodies = [offers[0].body, bad.SerializeToString(), name.SerializeToString(), offers[3].body]
    storer = Storer()
    whole = sign_batch(HOLDER, bodies)
    assert storer.store([whole.data]) == (Ack.STORED, Ack.INVALID, Ack.STORED, Ack.STORED)
    assert storer.offers.refusals == {Refusal.MALFORMED: 1}
    assert len(storer.offers.store) == 3
    assert storer.offers.store.stored_bytes == sum(len(whole.signed(n)) for n in (0, 2, 3)), "not the batch"


def test_a_root_of_one_signer_vouches_for_nobody_else() -> None:
    """A batch by one signer, with an offer that names another in it, then a batch of that other one; then an
    offer without an envelope, under the first root."""
    forger, storer = identity(61), Storer()
    whole, offers = batch(2)
    forged = OfferBody.FromString(offers[0].body)
    forged.seq += 10
    bodies = [forged.SerializeToString(), sign_offer(forger, terms(), START).body]
    trap = sign_batch(forger, bodies)
    assert storer.store([], [trap.signed(0)]) == (Ack.INVALID,)
    assert storer.store([whole.data]) == (Ack.STORED, Ack.STORED)
    split = decode_batched(trap.signed(0))
    for envelope in (b"", whole.envelope, offers[0].envelope):
        assert storer.store([], [replace(split, batch=envelope).encode()]) == (Ack.INVALID,)
    assert {held.body for held in storer.offers.store} == {offer.body for offer in offers}


def test_times_are_checked_for_each() -> None:
    _, offers = batch(3)
    late = sign_offer(HOLDER, terms(content=content(7)), START + 3600)
    bodies = [offers[0].body, late.body, offers[1].body]
    storer = Storer()
    whole = sign_batch(HOLDER, bodies)
    assert storer.store([whole.data]) == (Ack.STORED, Ack.INVALID, Ack.STORED)
    assert storer.offers.refusals == {Refusal.FUTURE: 1}
    end = START + 48 * 3600
    assert storer.store([whole.data], now=end) == (Ack.EXPIRED, Ack.STORED, Ack.EXPIRED)


def test_an_offer_too_long_to_travel_alone_is_refused_with_its_batch() -> None:
    _, offers = batch(2)
    long = OfferBody.FromString(offers[0].body)
    long.user_id = bytes(MAX_ENVELOPE_BYTES - 600)
    whole = sign_batch(HOLDER, [long.SerializeToString(), offers[1].body])
    assert len(whole.signed(0)) <= whole.longest <= len(whole.signed(0)) + 300
    long.user_id = bytes(MAX_ENVELOPE_BYTES)
    storer = Storer()
    too_long = SignedBatch.join(whole.envelope, [long.SerializeToString(), offers[1].body])
    assert storer.store([too_long.data]) == (Ack.INVALID, Ack.INVALID)
    assert (storer.offers.refusals, storer.offers.verifier.verified_count) == ({Refusal.MALFORMED: 2}, 0)


def test_garbage_is_counted_and_changes_nothing() -> None:
    storer = Storer()
    whole, _ = batch(2)
    for bad in (b"", whole.data[:-1], whole.data + b"\x00", whole.envelope, b"\x5a\x00\x72\x00"):
        before = storer.offers.refusals[Refusal.MALFORMED]
        with pytest.raises(PeerFault):
            storer.store([whole.data, bad])
        assert storer.offers.refusals[Refusal.MALFORMED] == before + 1
    assert len(storer.offers.store) == 0


def test_offers_and_signatures_of_whole_batches_are_bounded() -> None:
    storer = Storer(OfferConfig(max_offers_per_store=100, max_signatures_per_store=3))
    pair, alone = batch(2)[0].data, batch(40)[1][0].envelope
    with pytest.raises(LimitExceeded, match="signatures"):
        storer.store([pair] * 3, [alone])
    with pytest.raises(LimitExceeded, match="offers"):
        storer.store([batch(100)[0].data], [alone])
    with pytest.raises(LimitExceeded, match="offers"):
        storer.store([pair] * 51)
    assert len(storer.offers.store) == 0
    assert storer.store([batch(99)[0].data], [alone]) == (Ack.STORED,) * 100


def test_a_batch_that_finds_no_room_is_taken_in_part() -> None:
    storer = Storer(OfferConfig(max_offers_per_provider=3))
    whole, _ = batch(5)
    acks = storer.store([whole.data])
    assert sorted(acks) == [Ack.STORED] * 3 + [Ack.FULL] * 2
    assert storer.offers.refusals == {Refusal.FULL: 2}
    assert (len(storer.offers.store), storer.offers.store.stored_bytes) == (3, whole.size)


def test_a_batch_counts_with_all_its_bytes_as_long_as_one_offer_is_held() -> None:
    """Otherwise offers of many batches, one of each, would hold much more memory than they count."""
    whole, offers = batch(5)
    storer = Storer(OfferConfig(max_stored_bytes=whole.size + 3000))
    assert set(storer.store([whole.data])) == {Ack.STORED}
    later = [sign_offer(HOLDER, terms(9, content=one.content), START, previous=one) for one in offers]
    singles = 0
    for one in later:
        assert storer.offers.store.stored_bytes == whole.size + singles
        assert storer.store([], [one.envelope]) == (Ack.STORED,)
        singles += len(one.envelope)
    assert storer.offers.store.stored_bytes == singles


def test_batches_never_take_more_than_all_offers_may() -> None:
    """Not even where each offer replaces another, which is allowed up to twice the bound."""
    first, _ = batch(40)
    bound = first.size + 100
    storer = Storer(OfferConfig(max_stored_bytes=bound))
    assert set(storer.store([first.data])) == {Ack.STORED}
    other, _ = batch(41)
    assert set(storer.store([other.data])) <= {Ack.STORED, Ack.SUPERSEDED, Ack.FULL}
    held = storer.offers.store
    for n in range(1, 40, 3):  # one of the first batch stays held as long as it can
        again = sign_offers(HOLDER, [Signing(terms(7, content=content(n + m))) for m in range(2)], START + n)
        newer = again[0].signed
        assert isinstance(newer, SignedBatch)
        acks = set(storer.store([newer.data], now=START + n))
        longest = sum(len(one.envelope) for one in again)
        assert acks == {Ack.STORED} or held.stored_bytes + longest > 2 * bound
        assert held.stored_bytes <= 2 * bound
        batches = {one.signed for one in held if isinstance(one.signed, SignedBatch)}
        assert sum(one.size for one in batches) <= bound


def test_offers_of_one_content_in_one_batch_give_way_together() -> None:
    """Those of two users of one holder, in a store that has no room for what comes next."""
    two_users = [Signing(terms(5, content=content(0), user=user)) for user in (b"a", b"b")]
    offers = sign_offers(HOLDER, [*two_users, Signing(terms(5, content=content(1)))], START)
    whole = offers[0].signed
    assert isinstance(whole, SignedBatch)
    storer = Storer(OfferConfig(max_offers=3, max_block_share=1.0, max_sender_share=1.0))
    assert set(storer.store([whole.data])) == {Ack.STORED}
    held = storer.offers.store
    nearest = min((content(n) for n in range(2, 100)), key=lambda one: distance(storer.offers, one))
    other = sign_offer(identity(61), terms(5, content=nearest), START)
    body = encode_store([other.envelope], [])
    reply = storer.offers.handle_request(identity(61).peer_id, body, START)
    assert decode_store_reply(reply).acks == (Ack.STORED,)
    assert [one.key for one in held] == [other.key]
    assert held.stored_bytes == len(other.envelope)


def distance(offers: OfferProtocol, one: bytes) -> int:
    return int.from_bytes(sha256(one).digest(), "big") ^ int.from_bytes(offers._identity.peer_id.key, "big")


WHOLE, OFFERS = batch(5)


@given(st.data())
@settings(deadline=None)
def test_a_damaged_request_stores_nothing_that_was_not_signed(data: st.DataObject) -> None:
    storer = Storer()
    body = bytearray(encode_store([OFFERS[0].envelope], [WHOLE.data]))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(body) - 1))
        body[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    try:
        storer.offers.handle_request(storer.sender.peer_id, bytes(body), START)
    except PeerFault:
        assert len(storer.offers.store) == 0
    for held in storer.offers.store:
        assert open_offer(held.envelope, START) == held
        assert held.body in {offer.body for offer in OFFERS}


FULL = ("refused: no room", False)


def parcel(count: int, asked: int) -> Parcel:
    made = Parcel(batch(count)[1], batch(count)[0])
    made.asked_count = made.open_count = asked
    return made


def settled(made: Parcel) -> list[tuple[list[int], Outcome]]:
    return [(list(told.places), told.outcome) for told in made.take_settled()]


def test_offers_of_a_parcel_settle_together_but_for_those_that_were_refused() -> None:
    made = parcel(4, asked=3)
    made.places = [10, 11, 12, 13]
    made.on_answered({})
    assert settled(made) == []
    made.on_answered({2: FULL})
    assert settled(made) == [([10, 11, 13], Outcome(2, 3, 2))]
    made.on_answered({})
    assert settled(made) == [([12], Outcome(2, 3, 2))]
    outcomes = [([offer.slot for offer in offers], outcome) for offers, outcome in made.outcomes()]
    assert outcomes == [([0, 1, 3], Outcome(3, 3, 2)), ([2], Outcome(2, 3, 2))]


def test_what_is_refused_after_it_settled_is_not_told_again() -> None:
    made = parcel(2, asked=3)
    made.on_answered({})
    made.on_answered({})
    assert settled(made) == [([0, 1], Outcome(2, 3, 2))]
    made.on_answered({1: FULL})
    assert settled(made) == []
    assert {offers[0].slot: outcome.acknowledged for offers, outcome in made.outcomes()} == {0: 3, 1: 2}


def test_storers_that_fail_settle_everything_in_the_end() -> None:
    made = parcel(2, asked=2)
    made.on_failed("did not answer in time")
    assert settled(made) == []
    made.on_answered({0: FULL})
    assert settled(made) == [([1], Outcome(1, 2, 2)), ([0], Outcome(0, 2, 2))]


def test_whole_batches_go_together_where_all_of_them_is_there_and_fits() -> None:
    whole, offers = batch(4)
    single = sign_offer(HOLDER, terms(), START)
    tombstone = sign_offer(HOLDER, terms(), START, withdrawn=True)

    def cut(given: list[Offer], max_bytes: int = 10_000, max_offers: int = 256) -> list[int]:
        return [len(made.offers) for made in parcels(given, max_bytes, max_offers)]

    assert cut([single, *offers, tombstone]) == [1, 4, 1]
    assert cut(offers[:3]) == [1, 1, 1]
    assert cut(offers[::-1]) == [1, 1, 1, 1]
    assert cut(offers, max_bytes=len(whole.data) - 1) == [1, 1, 1, 1]
    assert cut(offers, max_offers=3) == [1, 1, 1, 1]
