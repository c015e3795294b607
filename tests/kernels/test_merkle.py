"""fastmarket.native.merkle against its twin: good offers, damaged ones, any bytes."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from fastmarket.errors import CallerFault
from fastmarket.formats.cid import Named, NamedBy
from fastmarket.formats.identity import PeerId
from fastmarket.native import merkle as _merkle
from fastmarket.native.merkle import PLAIN_BOUNDS, PlainOffers
from fastmarket.offers.model.metadata import (
    MAX_FILE_NAME_BYTES,
    MAX_HOST_CHARS,
    MAX_PORT,
    MAX_URL_BYTES,
    FileMetadata,
    is_host,
)
from fastmarket.offers.model.offer import (
    MAX_LIFETIME_S,
    MAX_USER_ID_BYTES,
    MAX_USER_NAME_BYTES,
    Offer,
    SignedAlone,
    Signing,
    check_terms,
    offer_of,
    sign_offers,
)
from fastmarket.pb.fastmarket.v1.offer_pb2 import OfferBody, OfferRequest, Store
from fastmarket.pb.libp2p.envelope_pb2 import Envelope
from tests.reference import merkle as twin
from tests.reference.batched import BatchedOffer
from tests.virtual import START, identity, terms

LEAVES = st.lists(st.binary(max_size=200), min_size=1, max_size=40)
OFFERS = st.builds(
    BatchedOffer,
    st.binary(max_size=300),
    st.integers(0, 2**63 - 1),
    st.binary(max_size=300),
    st.binary(max_size=300),
)


def told(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except ValueError as error:
        return str(error)


def agree(signed: bytes) -> Any:
    answer = told(lambda: _merkle.split_batched(signed))
    assert answer == told(lambda: twin.split_batched(signed))
    if isinstance(answer, tuple):
        assert _merkle.body_of(signed) == answer[3]
    return answer


@given(LEAVES, st.data())
def test_every_leaf_leads_to_the_root_and_no_other_does(leaves: list[bytes], data: st.DataObject) -> None:
    root, paths = twin.merkle_tree(leaves)
    index = data.draw(st.integers(0, len(leaves) - 1))
    assert _merkle.merkle_root(leaves[index], index, len(leaves), paths[index]) == root
    count = data.draw(st.integers(0, 2**64 - 1))
    path = data.draw(st.sampled_from(paths)) + data.draw(st.binary(max_size=33))
    for at in (index, count, 0):
        asked = (leaves[index], at, count, path)
        assert _merkle.merkle_root(*asked) == twin.merkle_root(*asked)


def test_a_leaf_longer_than_any_offer() -> None:
    for size in (4095, 4096, 4097, 100_000):
        leaves = [bytes(size), b"other"]
        root, paths = twin.merkle_tree(leaves)
        assert _merkle.merkle_root(leaves[0], 0, 2, paths[0]) == root


@given(OFFERS, st.data())
def test_an_offer_is_cut_into_its_fields_and_damage_is_told_alike(
    offer: BatchedOffer, data: st.DataObject
) -> None:
    signed = offer.encode()
    assert agree(signed) == (offer.batch, offer.index, offer.path, offer.body)
    at = data.draw(st.integers(0, len(signed) - 1))
    agree(signed[:at])
    agree(signed + b"\x00")
    agree(signed[:at] + data.draw(st.binary(min_size=1, max_size=12)) + signed[at + 1 :])


@given(st.binary(max_size=60))
def test_any_bytes(signed: bytes) -> None:
    agree(signed)
    agree(b"\x5a" + signed)


def test_long_varints() -> None:
    for head in (b"\x80" * 8 + b"\x7f", b"\xff" * 8 + b"\x7f", b"\xff" * 9, b"\x80\x00", b"\xff" * 20):
        agree(b"\x5a" + head + bytes(50))
        agree(b"\x5a\x00\x60" + head + b"\x6a\x00\x72\x00")


NUMBER = st.integers(0, 2**64 - 1)
BODIES = st.fixed_dictionaries(
    {},
    optional={
        "content": st.binary(max_size=40),
        "provider": st.binary(max_size=40),
        "user_id": st.binary(max_size=40),
        "user_name": st.text(max_size=20),
        "ip": st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20),
        "port": st.integers(0, 2**32 - 1),
        "price_per_mb": NUMBER,
        "size": NUMBER,
        "name": st.text(max_size=20),
        "seq": NUMBER,
        "issued_at": NUMBER,
        "not_after": NUMBER,
        "withdrawn": st.booleans(),
        "codec": NUMBER,
        "version": st.integers(0, 2**32 - 1),
        "ways": NUMBER,
        "url": st.text(max_size=20),
    },
)


def plain(raw: bytes) -> bool:
    """What the quick reader takes, protobuf reads alike."""
    read = _merkle.plain_body(raw)
    assert read is None or read == twin.body(raw)
    return read is not None


@given(BODIES, st.data())
def test_a_body_is_read_as_protobuf_reads_it(fields: dict[str, Any], data: st.DataObject) -> None:
    raw = OfferBody(**fields).SerializeToString(deterministic=True)
    texts = str(fields.get("user_name", "")) + str(fields.get("name", "")) + str(fields.get("url", ""))
    names = ("price_per_mb", "size", "seq", "issued_at", "not_after", "codec", "ways")
    numbers = [fields.get(name, 0) for name in names]
    if (not texts or (texts.isascii() and texts.isprintable())) and max(numbers) < 2**63:
        assert plain(raw)
    at = data.draw(st.integers(0, len(raw)))
    plain(raw[:at])
    plain(raw[:at] + data.draw(st.binary(min_size=1, max_size=12)) + raw[at:])
    plain(raw[:at] + data.draw(st.binary(min_size=1, max_size=12)) + raw[at + 1 :])


@given(st.binary(max_size=60))
def test_any_bytes_as_a_body(raw: bytes) -> None:
    plain(raw)


SIGNER = PeerId(b"\x12\x20" + bytes(32))
IN_ORDER = st.fixed_dictionaries(
    {
        "content": st.sampled_from([b"\x12\x20" + bytes(32), b"\x12\x20" + bytes(31), b"\x11\x03abc", b""]),
        "provider": st.sampled_from([SIGNER.raw, SIGNER.raw, SIGNER.raw, b"other"]),
        "ip": st.sampled_from(["192.0.2.1", "a.example", "::1", "1.2.3.400", "", "x" * 254]),
        "port": st.sampled_from([1, 4000, 65535, 0, 65536]),
        "issued_at": st.integers(0, 3),
        "not_after": st.sampled_from([3, 4, 48 * 3600, 48 * 3600 + 4]),
    },
    optional={
        "user_id": st.sampled_from([b"me", b"you", bytes(1024), bytes(1025)]),
        "user_name": st.sampled_from(["Ann", "Bob", "b" * 256, "b" * 257, "\x7f", "Zo\xeb"]),
        "price_per_mb": st.sampled_from([0, 5, 2**63 - 1, 2**63, 2**64 - 1]),
        "size": NUMBER,
        "name": st.sampled_from(["", "a file", "c" * 255, "c" * 256, "\n"]),
        "seq": NUMBER,
        "withdrawn": st.booleans(),
        "codec": st.sampled_from([0, 0x55, 0x70, 2**63 - 1, 2**63]),
        "version": st.sampled_from([0, 1, 2, 2**32 - 1]),
        "ways": st.sampled_from([0, 1, 5, 2**63 - 1, 2**63]),
        "url": st.sampled_from(["", "https://a.example/", "h" * 1024, "h" * 1025, "\n"]),
    },
)


def carefully(signed: bytes, root: bytes, count: int) -> Offer | None:
    """What the careful way makes of an offer of the batch b"batch", None: refused."""
    try:
        envelope, index, path, body = twin.split_batched(signed)
        if envelope != b"batch" or twin.merkle_root(body, index, count, path) != root:
            return None
        read = OfferBody.FromString(body)
        offer = offer_of(read, FileMetadata.read_from(read), SIGNER, SignedAlone(body, signed))
        check_terms(offer.content, offer.user_id, offer.user_name, offer.metadata)
    except (ValueError, DecodeError, CallerFault):
        return None
    lives = 0 < offer.not_after - offer.issued_at <= MAX_LIFETIME_S
    return offer if lives and read.provider == SIGNER.raw else None


def plain_enough(offer: Offer) -> bool:
    texts = (offer.user_name, offer.metadata.name or "", offer.metadata.url)
    codec = OfferBody.FromString(offer.body).codec
    return (
        all(text.isascii() for text in texts)
        and max(offer.seq, offer.metadata.size or 0, codec, offer.metadata.ways) < 2**63
    )


@given(st.lists(IN_ORDER, min_size=2, max_size=6), st.data())
def test_the_quick_way_takes_what_the_careful_way_takes(
    fields: list[dict[str, Any]], data: st.DataObject
) -> None:
    bodies = [OfferBody(**one).SerializeToString(deterministic=True) for one in fields]
    root, paths = twin.merkle_tree(bodies)
    quick = PlainOffers(Offer, FileMetadata, SignedAlone, is_host)
    quick.expect(b"batch", root, len(bodies), SIGNER, SIGNER.raw)
    for index, (path, body) in enumerate(zip(paths, bodies, strict=True)):
        signed = BatchedOffer(b"batch", index, path, body).encode()
        offer, wanted = quick.open(signed), carefully(signed, root, len(bodies))
        short = wanted is not None and len(wanted.content) != 34
        if wanted is not None and plain_enough(wanted) and not short:
            assert offer == wanted
            assert offer is not None
            assert offer.form == wanted.form
            assert quick.read(signed, SIGNER.raw, SIGNER) == wanted
        else:
            assert offer is None
        at = data.draw(st.integers(0, len(signed) - 1))
        for bad in (
            signed[:at],
            signed + b"\x00",
            signed[:at] + data.draw(st.binary(min_size=1, max_size=12)) + signed[at + 1 :],
        ):
            taken = quick.open(bad)
            assert taken is None or taken == carefully(bad, root, len(bodies))
            quick.expect(b"batch", root, len(bodies), SIGNER, SIGNER.raw)


@given(st.binary(max_size=60))
def test_the_quick_way_takes_no_garbage(raw: bytes) -> None:
    quick = PlainOffers(Offer, FileMetadata, SignedAlone, is_host)
    for signed in (raw, b"\x5a" + raw, b"\x5a\x00\x60\x00\x6a\x00\x72" + raw):
        assert quick.open(signed) is None
        assert quick.read(signed, SIGNER.raw, SIGNER) is None


def test_the_quick_way_has_no_bounds_above_the_careful_ones() -> None:
    bounds = (
        MAX_USER_ID_BYTES,
        MAX_USER_NAME_BYTES,
        MAX_FILE_NAME_BYTES,
        MAX_HOST_CHARS,
        MAX_PORT,
        MAX_URL_BYTES,
    )
    assert (*bounds, MAX_LIFETIME_S) == PLAIN_BOUNDS


@given(BODIES, st.binary(max_size=20), st.binary(max_size=20), st.data())
def test_what_an_offer_claims_is_what_the_general_decoder_reads(
    fields: dict[str, Any], key: bytes, signature: bytes, data: st.DataObject
) -> None:
    """Or it is left to that one."""
    raw = OfferBody(**fields).SerializeToString(deterministic=True)
    alone = Envelope(public_key=key, payload_type=b"/t", payload=raw, signature=signature).SerializeToString()
    batched = BatchedOffer(key, 3, signature, raw).encode()
    at = data.draw(st.integers(0, 200))
    other = data.draw(st.binary(max_size=3))
    for signed in (alone, batched, alone[:at], batched[:at], alone + other, batched + other):
        claimed = _merkle.claims(signed)
        assert claimed in (None, twin.claims(signed))
    if raw and plain(raw):
        assert _merkle.claims(batched) == twin.claims(batched)
        if key and signature:
            assert _merkle.claims(alone) == twin.claims(alone) is not None


@given(st.binary(max_size=80))
def test_any_bytes_claim_nothing_else(signed: bytes) -> None:
    for one in (signed, b"\x0a" + signed, b"\x5a" + signed):
        assert _merkle.claims(one) in (None, twin.claims(one))


@given(
    st.lists(st.binary(max_size=200), max_size=9), st.lists(st.binary(max_size=200), max_size=3), st.data()
)
def test_a_store_is_split_as_the_general_decoder_does(
    offers: list[bytes], whole: list[bytes], data: st.DataObject
) -> None:
    body = OfferRequest(store=Store(offers=offers, whole=whole)).SerializeToString()
    assert _merkle.split_store(body) == (offers, whole) == twin.split_store(body)
    at = data.draw(st.integers(0, len(body)))
    other = data.draw(st.binary(max_size=5))
    for damaged in (body[:at], body + other, body[:at] + other + body[at + 1 :]):
        split = _merkle.split_store(damaged)
        assert split == twin.split_store(damaged)
        if split is not None:
            read = OfferRequest.FromString(damaged).store
            assert split == (list(read.offers), list(read.whole))


def test_what_is_untracked_is_the_same_object_and_no_business_of_the_collector() -> None:
    for made in ([1, 2], {"a": 1}, FileMetadata("192.0.2.1", 1, 0), Named(b"x", NamedBy.CID, None)):
        assert gc.is_tracked(made) or isinstance(made, dict)
        for _ in range(2):
            assert _merkle.untracked(made) is made
            assert not gc.is_tracked(made)
    for leaf in (5, b"x"):
        assert _merkle.untracked(leaf) is leaf


def test_plain_offers_and_their_metadata_are_untracked() -> None:
    offer, _ = sign_offers(identity(1), [Signing(terms()), Signing(terms(user=b"v"))], START)
    assert not gc.is_tracked(offer)
    assert not gc.is_tracked(offer.metadata)
