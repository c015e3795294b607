"""Signing and verifying offers."""

from __future__ import annotations

import dataclasses

import pytest

from fastmarket.errors import CallerFault, PeerFault
from fastmarket.formats.envelope import seal
from fastmarket.offers.model.metadata import FileMetadata
from fastmarket.offers.model.offer import (
    MAX_CLOCK_SKEW_S,
    MAX_ENVELOPE_BYTES,
    MAX_LIFETIME_S,
    OFFER_DOMAIN,
    OFFER_PAYLOAD_TYPE,
    OfferTerms,
    sign_offer,
)
from fastmarket.offers.model.refusals import OfferExpired, OfferRefused
from fastmarket.offers.wire.verifying import OfferVerifier, open_offer
from fastmarket.pb.fastmarket.v1.offer_pb2 import OfferBody
from tests.virtual import CONTENT, START, identity, terms

HOLDER = identity(1)
NOW = START


def forged(**changes: object) -> bytes:
    """An envelope rightly signed by HOLDER around a body with some fields changed."""
    offer = sign_offer(HOLDER, terms(), NOW)
    body = OfferBody(
        content=offer.content,
        provider=offer.provider.raw,
        user_id=offer.user_id,
        user_name=offer.user_name,
        seq=offer.seq,
        issued_at=offer.issued_at,
        not_after=offer.not_after,
    )
    offer.metadata.write_to(body)
    for field, value in changes.items():
        setattr(body, field, value)
    return seal(HOLDER, OFFER_DOMAIN, OFFER_PAYLOAD_TYPE, body.SerializeToString())


def test_an_offer_opens_as_it_was_signed() -> None:
    metadata = FileMetadata("::1", 65535, 2**63 - 1, 2**64 - 1, "name.bin")
    offer = sign_offer(HOLDER, OfferTerms(CONTENT, b"\xff" * 1024, "ü" * 128, metadata), NOW)
    assert open_offer(offer.envelope, NOW) == offer
    assert len(offer.envelope) < MAX_ENVELOPE_BYTES
    assert offer.key == (CONTENT, HOLDER.peer_id.raw, b"\xff" * 1024)
    assert open_offer(forged(), NOW) == sign_offer(HOLDER, terms(), NOW)


def test_seq_grows_even_when_the_clock_goes_back() -> None:
    first = sign_offer(HOLDER, terms(), NOW)
    second = sign_offer(HOLDER, terms(), NOW - 86400, previous=first)
    assert second.seq == first.seq + 1
    assert sign_offer(HOLDER, terms(), NOW + 1, previous=first).seq == int((NOW + 1) * 1e6)


def test_a_tombstone_lives_as_long_as_what_it_takes_back() -> None:
    first = sign_offer(HOLDER, terms(), NOW, lifetime_s=1000)
    gone = sign_offer(HOLDER, terms(), NOW + 10, previous=first, withdrawn=True)
    assert gone.withdrawn
    assert gone.not_after == first.not_after
    assert not gone.is_live(NOW + 10)
    assert open_offer(gone.envelope, NOW + 10) == gone


def test_the_times_of_an_offer() -> None:
    offer = sign_offer(HOLDER, terms(), NOW, lifetime_s=100)
    assert open_offer(offer.envelope, NOW + 99.9).is_live(NOW + 99.9)
    with pytest.raises(OfferExpired):
        open_offer(offer.envelope, NOW + 100)
    open_offer(offer.envelope, NOW - MAX_CLOCK_SKEW_S)
    with pytest.raises(PeerFault, match="future"):
        open_offer(offer.envelope, NOW - MAX_CLOCK_SKEW_S - 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"content": b""},
        {"content": b"\x12\x20short"},
        {"content": b"\x00\x4f" + bytes(79)},
        {"provider": identity(2).peer_id.raw},
        {"provider": b""},
        {"user_id": bytes(1025)},
        {"user_name": "n" * 257},
        {"user_name": "\x1b[2J"},
        {"ip": ""},
        {"ip": "not a host"},
        {"port": 0},
        {"port": 65536},
        {"price_per_mb": 2**63},
        {"name": "n" * 256},
        {"not_after": int(NOW) + MAX_LIFETIME_S + 1},
        {"not_after": int(NOW)},
        {"not_after": 0},
        {"issued_at": 2**64 - 1, "not_after": 2**64 - 1},
    ],
    ids=str,
)
def test_a_signed_offer_out_of_bounds_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(PeerFault):
        open_offer(forged(**changes), NOW - 5)


def test_what_is_no_signed_offer_is_refused() -> None:
    good = sign_offer(HOLDER, terms(), NOW).envelope
    payload = OfferBody(content=CONTENT).SerializeToString()
    for bad in (
        b"",
        good[:-1],
        good[:50] + bytes([good[50] ^ 1]) + good[51:],
        good + bytes(MAX_ENVELOPE_BYTES),
        seal(HOLDER, "another-domain", OFFER_PAYLOAD_TYPE, payload),
        seal(HOLDER, OFFER_DOMAIN, b"/another/type", payload),
        seal(HOLDER, OFFER_DOMAIN, OFFER_PAYLOAD_TYPE, b"\xff\xff"),
        seal(HOLDER, OFFER_DOMAIN, OFFER_PAYLOAD_TYPE, b"\x22\x01\xff"),
    ):
        with pytest.raises(PeerFault):
            open_offer(bad, NOW)


@pytest.mark.parametrize(
    ("field", "value"),
    [("content", b"\x12"), ("content", bytes(81)), ("user_id", bytes(1025)), ("user_name", "\n")],
)
def test_bad_terms_are_the_callers_fault(field: str, value: object) -> None:
    with pytest.raises(CallerFault) as caught:
        dataclasses.replace(terms(), **{field: value})
    assert caught.value.field == field


def test_a_price_that_the_market_cannot_carry_is_the_callers_fault() -> None:
    with pytest.raises(CallerFault, match=r"^price_per_mb: "):
        terms(2**63)


@pytest.mark.parametrize("lifetime_s", [0, -1, 0.5, MAX_LIFETIME_S + 1])
def test_a_lifetime_out_of_bounds_is_the_callers_fault(lifetime_s: float) -> None:
    with pytest.raises(CallerFault, match=r"^lifetime_s: "):
        sign_offer(HOLDER, terms(), NOW, lifetime_s=lifetime_s)


@pytest.mark.parametrize("signed", [True, False])
def test_the_same_bad_envelope_is_verified_once(signed: bool) -> None:
    """Whether its signature is wrong, or rightly around what is refused."""
    bad = forged(content=b"no multihash") if signed else forged()[:-1] + b"\x00"
    verifier = OfferVerifier(2, max_refused=1)
    said = set()
    for _ in range(3):
        with pytest.raises(OfferRefused) as refused:
            verifier.open(bad, NOW)
        said.add((refused.value.refusal, refused.value.reason))
    assert (verifier.verified_count, len(said), len(verifier)) == (1, 1, 0)


def test_the_same_envelope_is_verified_once() -> None:
    verifier = OfferVerifier(2)
    offers = [sign_offer(HOLDER, terms(price), NOW, lifetime_s=100) for price in range(3)]
    assert verifier.open(offers[0].envelope, NOW) is verifier.open(bytes(offers[0].envelope), NOW)
    assert verifier.verified_count == 1
    with pytest.raises(OfferExpired):
        verifier.open(offers[0].envelope, NOW + 100)
    verifier.open(offers[1].envelope, NOW)
    verifier.open(offers[0].envelope, NOW)
    verifier.open(offers[2].envelope, NOW)  # drops offers[1], the least recently used
    assert (verifier.verified_count, len(verifier)) == (3, 2)
    verifier.open(offers[0].envelope, NOW)
    assert verifier.verified_count == 3
    verifier.open(offers[1].envelope, NOW)
    assert verifier.verified_count == 4
    with pytest.raises(PeerFault):
        verifier.open(b"junk", NOW)
    assert len(verifier) == 2
