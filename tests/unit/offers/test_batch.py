"""One signature over many offers."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from itertools import pairwise

import pytest

from fastmarket.formats.envelope import seal
from fastmarket.native.batch import count_signatures
from fastmarket.native.merkle import NODE_PREFIX, merkle_root
from fastmarket.offers.model.batch import (
    BATCH_DOMAIN,
    BATCH_PAYLOAD_TYPE,
    MAX_BATCH_OFFERS,
    is_batched,
    sign_batch,
)
from fastmarket.offers.model.offer import MAX_ENVELOPE_BYTES, Offer, Signing, sign_offer, sign_offers
from fastmarket.offers.model.refusals import OfferRefused, Refusal
from fastmarket.offers.wire.verifying import OfferVerifier, open_offer
from fastmarket.pb.fastmarket.v1 import offer_pb2 as pb
from tests.reference.batched import decode_batched
from tests.reference.merkle import merkle_tree
from tests.virtual import START, identity, terms

HOLDER = identity(1)
NOW = START


def content(n: int) -> bytes:
    return b"\x12\x20" + sha256(b"content %d" % n).digest()


def batch(count: int) -> list[Offer]:
    return sign_offers(HOLDER, [Signing(terms(content=content(n))) for n in range(count)], NOW)


def refusal(signed: bytes, now: float = NOW) -> Refusal:
    with pytest.raises(OfferRefused) as caught:
        open_offer(signed, now)
    return caught.value.refusal


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, MAX_BATCH_OFFERS, MAX_BATCH_OFFERS + 1, 600])
def test_a_signature_holds_for_a_batch(count: int) -> None:
    offers = batch(count)
    verifier = OfferVerifier(1, 3)
    assert [offer.content for offer in offers] == [content(n) for n in range(count)]
    assert [verifier.open(offer.envelope, NOW) for offer in offers] == offers
    wanted = -(-count // MAX_BATCH_OFFERS)
    assert verifier.verified_count == wanted
    assert count_signatures(offer.envelope for offer in offers) == wanted


def test_offers_stored_at_the_same_nodes_lie_in_the_same_batch() -> None:
    offers = sorted(batch(600), key=lambda offer: sha256(offer.content).digest())
    batches = [decode_batched(offer.envelope).batch for offer in offers]
    assert sum(one != another for one, another in pairwise(batches)) == 2


def test_an_offer_of_a_batch_is_as_good_as_one_by_itself() -> None:
    first = sign_offer(HOLDER, terms(), NOW)
    second, gone = sign_offers(HOLDER, [Signing(terms(7), first), Signing(terms(), first, True)], NOW)
    assert second.seq == gone.seq == first.seq + 1
    assert gone.withdrawn
    assert second.replaces(first)
    assert not first.replaces(second)
    assert (open_offer(second.envelope, NOW).price_per_mb, is_batched(first.envelope)) == (7, False)
    assert refusal(second.envelope, NOW + 49 * 3600) is Refusal.EXPIRED
    assert refusal(second.envelope, NOW - 3600) is Refusal.FUTURE


def test_a_body_signed_twice_is_one_version() -> None:
    """Whatever surrounds it: others than the holder can add to an envelope what nobody signed."""
    alone = sign_offer(HOLDER, terms(), NOW)
    in_batch = sign_offers(HOLDER, [Signing(terms()), Signing(terms(user=b"v"))], NOW)[0]
    padded = open_offer(alone.envelope + b"\x52\x01x", NOW)
    assert alone.body == in_batch.body == padded.body
    for one in (alone, in_batch, padded):
        assert not any(one.replaces(other) for other in (alone, in_batch, padded))


def test_an_offer_of_a_batch_moved_or_changed_is_forged() -> None:
    offers = [decode_batched(offer.envelope) for offer in batch(5)]
    one = next(offer for offer in offers if offer.index == 1)
    other = next(offer for offer in offers if offer.index == 2)
    for bad in (
        replace(one, index=0),
        replace(one, index=5),
        replace(one, index=2**40),
        replace(one, body=other.body),
        replace(one, path=other.path),
        replace(one, path=one.path[:-32]),
        replace(one, path=one.path + bytes(32)),
        replace(one, path=one.path[:-1]),
        replace(one, path=b""),
    ):
        assert refusal(bad.encode()) is Refusal.FORGED
    assert refusal(replace(one, batch=one.batch[:-1]).encode()) is Refusal.MALFORMED
    bent = bytearray(one.batch)
    bent[-1] ^= 1
    assert refusal(replace(one, batch=bytes(bent)).encode()) is Refusal.FORGED


def test_a_node_of_the_tree_is_no_leaf() -> None:
    """The second preimage that one prefix for both would allow."""
    leaves = [b"%d" % n for n in range(4)]
    root, _ = merkle_tree(leaves)
    (left, _), (right, _) = merkle_tree(leaves[:2]), merkle_tree(leaves[2:])
    for inner in (left + right, NODE_PREFIX + left + right):
        for count in (1, 2, 4):
            assert merkle_root(inner, 0, count, b"") != root
    assert merkle_root(leaves[0], 0, 2, merkle_tree(leaves)[1][0]) is None


def test_another_peers_batch_does_not_vouch_for_an_offer() -> None:
    bodies = [offer.body for offer in batch(2)]
    assert refusal(sign_batch(identity(2), bodies).signed(0)) is Refusal.FOREIGN


def test_an_envelope_of_one_form_is_none_of_the_other() -> None:
    alone = sign_offer(HOLDER, terms(), NOW)
    one = decode_batched(batch(2)[0].envelope)
    assert refusal(one.batch) is Refusal.MALFORMED
    assert refusal(replace(one, batch=alone.envelope).encode()) is Refusal.MALFORMED
    signed = seal(HOLDER, BATCH_DOMAIN, BATCH_PAYLOAD_TYPE, alone.body)
    assert refusal(signed) is Refusal.MALFORMED
    assert refusal(b"\x52\x01x" + alone.envelope) is Refusal.MALFORMED


@pytest.mark.parametrize(
    ("root", "count"), [(b"", 2), (bytes(31), 2), (bytes(32), 0), (bytes(32), 1), (bytes(32), 257)]
)
def test_a_batch_out_of_bounds_is_malformed(root: bytes, count: int) -> None:
    payload = pb.OfferBatch(root=root, count=count).SerializeToString()
    signed = seal(HOLDER, BATCH_DOMAIN, BATCH_PAYLOAD_TYPE, payload)
    assert refusal(replace(decode_batched(batch(2)[0].envelope), batch=signed).encode()) is Refusal.MALFORMED


def test_there_is_one_way_to_write_an_offer_of_a_batch() -> None:
    signed = batch(2)[0].envelope
    message = pb.BatchedOffer.FromString(signed)
    assert message.SerializeToString(deterministic=True) == signed
    at = len(message.batch) + 3  # behind the batch: the index
    for bad in (
        signed + b"\x78\x01",
        signed[:at] + signed[at + 2 :],
        signed[:at] + b"\x60\x80\x00" + signed[at + 2 :],
        signed[:at] + signed[at : at + 2] + signed[at:],
        signed[:-1],
        signed[:1],
        signed + bytes(MAX_ENVELOPE_BYTES),
    ):
        assert refusal(bad) is Refusal.MALFORMED


def test_a_bad_root_is_verified_once_for_a_request() -> None:
    one = decode_batched(batch(2)[0].envelope)
    verifier = OfferVerifier(1, 1, 1)
    bent = bytearray(one.batch)
    bent[-1] ^= 1
    for _ in range(3):
        with pytest.raises(OfferRefused):
            verifier.open(replace(one, batch=bytes(bent)).encode(), NOW)
    assert verifier.verified_count == 1


def test_the_roots_kept_are_bounded() -> None:
    verifier = OfferVerifier(1, 2)
    signed = [batch(2)[0].envelope for _ in range(1)]
    signed += [sign_offers(HOLDER, [Signing(terms(n)), Signing(terms())], NOW)[0].envelope for n in (7, 8)]
    for envelope in (*signed, signed[1], signed[2], signed[0]):
        verifier.open(envelope, NOW)
    assert verifier.verified_count == 4
