"""Offers under arbitrary values, arbitrary bytes and arbitrary orders of events."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from hashlib import sha256

from hypothesis import given, settings
from hypothesis import strategies as st

from fastmarket.config import KadConfig, OfferConfig
from fastmarket.errors import CallerFault, PeerFault
from fastmarket.offers.model.metadata import FileMetadata
from fastmarket.offers.model.mixing import price_order
from fastmarket.offers.model.offer import (
    MAX_ENVELOPE_BYTES,
    MAX_PRICE_PER_MB,
    Offer,
    OfferKey,
    OfferTerms,
    sign_offer,
)
from fastmarket.offers.model.offer_set import OfferSet
from fastmarket.offers.store.offer_store import OfferStore
from fastmarket.offers.wire.messages import (
    Ack,
    FindRequest,
    decode_find_reply,
    decode_request,
    decode_store_reply,
    encode_find,
    encode_store,
)
from fastmarket.offers.wire.verifying import open_offer
from tests.virtual import CONTENT, START, VirtualNetwork, identity

U64 = st.integers(0, 2**64 - 1)
HOSTS = st.one_of(
    st.ip_addresses().map(str).filter(lambda text: "%" not in text),
    st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?(\.[a-z]{2,8}){0,3}", fullmatch=True).filter(
        lambda text: not text.isdigit()
    ),
)
LINES = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=60)
METADATA = st.builds(FileMetadata, HOSTS, st.integers(1, 65535), U64, st.none() | U64, st.none() | LINES)
TERMS = st.builds(
    OfferTerms,
    st.binary(max_size=50).map(lambda data: b"\x12\x20" + sha256(data).digest()),
    st.binary(max_size=1024),
    LINES,
    METADATA.map(
        lambda metadata: replace(metadata, price_per_mb=metadata.price_per_mb % (MAX_PRICE_PER_MB + 1))
    ),
)
HOLDERS = [identity(n) for n in range(1, 5)]


@given(METADATA)
def test_metadata_round_trips(metadata: FileMetadata) -> None:
    assert FileMetadata.from_json(metadata.to_json()) == metadata
    assert FileMetadata.from_json(metadata.to_json().encode()) == metadata
    assert FileMetadata.from_bytes(metadata.to_bytes()) == metadata


@given(st.binary(max_size=200))
def test_arbitrary_bytes_raise_nothing_but_faults(raw: bytes) -> None:
    with suppress(PeerFault):
        assert FileMetadata.from_bytes(raw).port
    with suppress(CallerFault):
        FileMetadata.from_json(raw)
    with suppress(PeerFault):
        decode_request(raw, 64)
    with suppress(PeerFault):
        decode_store_reply(raw)
    with suppress(PeerFault):
        decode_find_reply(raw, 200, KadConfig())
    with suppress(PeerFault):
        open_offer(raw, START)


@given(st.text(max_size=300))
def test_an_arbitrary_host_is_taken_as_it_is_or_refused(text: str) -> None:
    with suppress(CallerFault):
        assert FileMetadata(text, 1, 0).ip == text


@given(TERMS, st.integers(1, 48 * 3600))
def test_an_offer_opens_as_it_was_signed(terms: OfferTerms, lifetime_s: int) -> None:
    offer = sign_offer(HOLDERS[0], terms, START, lifetime_s=lifetime_s)
    assert len(offer.envelope) <= MAX_ENVELOPE_BYTES
    assert open_offer(offer.envelope, START) == offer


@given(TERMS, st.data())
def test_a_changed_envelope_never_says_something_else(terms: OfferTerms, data: st.DataObject) -> None:
    offer = sign_offer(HOLDERS[0], terms, START)
    raw = bytearray(offer.envelope)
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    try:
        opened = open_offer(bytes(raw), START)
    except PeerFault:
        return
    assert opened._replace(signed=offer.signed) == offer


@settings(max_examples=50)
@given(st.lists(st.binary(max_size=60) | st.just(b""), max_size=20))
def test_a_node_survives_any_request(bodies: list[bytes]) -> None:
    net = VirtualNetwork.immediate()
    node, sender = net.mesh(2)
    good = sign_offer(HOLDERS[0], OfferTerms(CONTENT, b"", "", FileMetadata("::1", 1, 1)), START)
    assert node.offers.store.add(good, START) is Ack.STORED
    for body in (*bodies, encode_store(bodies)):
        try:
            reply = node.offers.handle_request(sender.peer_id, body, START)
        except PeerFault:
            continue
        assert len(reply) <= node.offers.config.max_message_bytes
    assert list(node.offers.store.offers(CONTENT, START)) == [good]


VERSIONS = st.tuples(
    st.sampled_from(HOLDERS),
    st.sampled_from([b"u", b"v"]),
    st.integers(0, 5),  # price
    st.integers(-3, 3),  # seconds the holder's clock is off
    st.sampled_from([1, 100, 3600]),  # lifetime
    st.booleans(),  # withdrawn
)


def signed(version: tuple[object, ...]) -> Offer:
    holder, user, price, off, lifetime_s, withdrawn = version
    terms = OfferTerms(CONTENT, user, "", FileMetadata("::1", 1, price))  # type: ignore[arg-type]
    return sign_offer(holder, terms, START + off, lifetime_s=lifetime_s, withdrawn=withdrawn)  # type: ignore[arg-type,operator]


@settings(deadline=None)
@given(st.lists(VERSIONS, max_size=25), st.randoms(use_true_random=False), st.integers(0, 4000))
def test_whatever_the_order_the_highest_seq_counts(
    versions: list[tuple[object, ...]], random: object, later: int
) -> None:
    offers = [signed(version) for version in versions]
    shuffled = offers * 2
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    store, gathered = OfferStore(OfferConfig()), OfferSet()
    latest: dict[OfferKey, Offer] = {}
    for offer in shuffled:
        if store.add(offer, START) is not Ack.EXPIRED:
            gathered.add(offer)
            latest[offer.key] = max(offer, latest.get(offer.key, offer), key=lambda o: (o.seq, o.body))
    now = START + later
    expected = sorted((offer for offer in latest.values() if offer.is_live(now)), key=price_order)
    assert list(store.offers(CONTENT, now)) == expected
    assert gathered.in_order(now) == expected
    store.handle_timer(now)
    assert len(list(store.offers(CONTENT, now))) == len(expected)
    store.handle_timer(START + 4 * 3600)
    assert (len(store), store.stored_bytes, store.next_timer()) == (0, 0, None)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30), st.integers(0, 9)), max_size=60),
    st.integers(1, 12),
)
@settings(deadline=None)
def test_the_bounds_hold_and_no_provider_is_shut_out(
    arrivals: list[tuple[int, int, int]], per_content: int
) -> None:
    store = OfferStore(replace(OfferConfig(), max_offers_per_content=per_content))
    for holder, user, price in arrivals:
        terms = OfferTerms(CONTENT, b"%d" % user, "", FileMetadata("::1", 1, price))
        offer = sign_offer(HOLDERS[holder], terms, START)
        before = {held.provider for held in store.held(CONTENT)}
        ack = store.add(offer, START)
        assert ack in (Ack.STORED, Ack.FULL, Ack.SUPERSEDED)  # the last: one seq signed twice
        assert len(store) <= per_content
        after = {held.provider for held in store.held(CONTENT)}
        assert before <= after  # a place is given by who has others left
        if ack is Ack.FULL and offer.provider not in before:
            assert len(before) == per_content  # as many providers as places


@given(st.integers(0, 2**32 - 1), st.none() | U64, st.integers(0, 2**32 - 1))
def test_find_round_trips(limit: int, max_price: int | None, skip: int) -> None:
    request = FindRequest(CONTENT, limit, max_price, skip)
    assert decode_request(encode_find(request), 1) == request
