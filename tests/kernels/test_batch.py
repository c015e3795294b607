"""fastmarket.native.batch against its twin: good batches, damaged ones, any bytes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmarket.formats.identity import PeerId
from fastmarket.native.batch import MAX_COUNT, SignedBatch, count_signatures, encode_body, tree_root
from fastmarket.native.merkle import PlainOffers, plain_body
from fastmarket.offers.model.metadata import FileMetadata, is_host
from fastmarket.offers.model.offer import Offer, SignedAlone
from fastmarket.pb.fastmarket.v1.offer_pb2 import OfferBody
from tests.kernels.test_merkle import IN_ORDER, carefully, plain_enough
from tests.reference import merkle as twin
from tests.reference.batched import BatchedOffer

OFFERS = st.builds(
    BatchedOffer,
    st.binary(max_size=300),
    st.integers(0, 2**63 - 1),
    st.binary(max_size=300),
    st.binary(max_size=300),
)
BODIES = st.lists(st.binary(max_size=200), min_size=2, max_size=40)


def agree(data: bytes) -> SignedBatch | None:
    """Both take it, and read the same, or both refuse it for the same reason."""
    try:
        wanted: Any = twin.split_whole(data)
    except ValueError as error:
        with pytest.raises(ValueError, match=str(error)):
            SignedBatch(data)
        return None
    made = SignedBatch(data)
    assert (made.envelope, [made.body(index) for index in range(made.count)]) == wanted
    return made


@given(st.binary(max_size=300), BODIES, st.data())
def test_a_batch_is_cut_into_its_parts_and_damage_is_told_alike(
    envelope: bytes, bodies: list[bytes], data: st.DataObject
) -> None:
    made = SignedBatch.join(envelope, bodies)
    assert twin.split_whole(made.data) == (envelope, bodies)
    at = data.draw(st.integers(0, len(made.data) - 1))
    agree(made.data)
    agree(made.data[:at])
    agree(made.data + b"\x00")
    agree(made.data[:at] + data.draw(st.binary(min_size=1, max_size=12)) + made.data[at + 1 :])


@given(st.binary(max_size=60))
def test_any_bytes(raw: bytes) -> None:
    agree(raw)
    agree(b"\x5a" + raw)
    agree(b"\x5a\x00\x72\x00\x72" + raw)


def test_lengths_that_lie() -> None:
    for head in (b"\xff" * 8 + b"\x7f", b"\xff" * 9, b"\x80\x00", b"\xff\xff\xff\xff\x7f", b"\x80" * 20):
        agree(b"\x5a" + head + bytes(50))
        agree(b"\x5a\x00\x72" + head + b"\x72\x00")
        agree(b"\x5a\x00\x72\x00\x72" + head)


@given(BODIES, st.data())
def test_an_offer_travels_by_itself_with_its_path(bodies: list[bytes], data: st.DataObject) -> None:
    made = SignedBatch.join(b"envelope", bodies)
    root, paths = twin.merkle_tree(bodies)
    assert made.root() == root == tree_root(bodies)
    index = data.draw(st.integers(0, len(bodies) - 1))
    assert made.signed(index) == BatchedOffer(b"envelope", index, paths[index], bodies[index]).encode()


@pytest.mark.parametrize("count", [2, 3, 127, 128, 129, 255, 256])
def test_trees_of_every_shape(count: int) -> None:
    bodies = [b"%d" % number for number in range(count)]
    made = SignedBatch.join(b"", bodies)
    root, paths = twin.merkle_tree(bodies)
    assert made.root() == root == tree_root(bodies)
    for index, path in enumerate(paths):
        assert made.signed(index) == BatchedOffer(b"", index, path, bodies[index]).encode()


def test_bounds() -> None:
    assert tree_root([b"one"]) == twin.merkle_tree([b"one"])[0]
    for bad in ([], [b""] * (MAX_COUNT + 1), [bytes(4097), b""]):
        with pytest.raises(ValueError):  # noqa: PT011 - each says why
            tree_root(bad)
    for bad in ([], [b""], [b""] * (MAX_COUNT + 1)):
        with pytest.raises(ValueError):  # noqa: PT011
            SignedBatch.join(b"", bad)
    long = SignedBatch.join(b"", [bytes(4097), b""])
    for call in (long.root, lambda: long.signed(1)):
        with pytest.raises(ValueError, match="too long"):
            call()
    made = SignedBatch.join(b"", [b"a", b"b"])
    for index in (-1, 2, 2**40):
        with pytest.raises(IndexError):
            made.body(index)
        with pytest.raises(IndexError):
            made.signed(index)


NUMBER = st.integers(0, 2**64 - 1)
FIELDS = st.tuples(
    *(st.binary(max_size=200), st.binary(max_size=40), st.binary(max_size=40)),
    *(st.text(st.characters(exclude_categories=["Cs"]), max_size=200), st.text("1.:a", max_size=20)),
    *(st.integers(0, 2**32 - 1), NUMBER, st.none() | NUMBER),
    st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=200),
    *(NUMBER, NUMBER, NUMBER, st.booleans(), st.none() | NUMBER, st.none() | st.integers(0, 2**32 - 1)),
    *(NUMBER, st.text(st.characters(exclude_categories=["Cs"]), max_size=200)),
)


@given(FIELDS)
def test_a_body_is_written_as_protobuf_writes_it(fields: tuple[Any, ...]) -> None:
    raw = encode_body(*fields)
    assert raw == twin.encode_body(*fields)
    assert plain_body(raw) in (None, fields)


def test_a_field_that_cannot_be_written() -> None:
    good = (b"c", b"p", b"u", "n", "ip", 1, 1, None, None, 1, 1, 1, False, None, None, 1, "")
    for at, value in (
        (6, 2**64),
        (6, -1),
        (9, 2**64),
        (5, 2**32),
        (7, 2**64),
        (13, 2**64),
        (14, 2**32),
        (15, 2**64),
    ):
        with pytest.raises(OverflowError):
            encode_body(*(*good[:at], value, *good[at + 1 :]))  # type: ignore[arg-type]
    with pytest.raises(UnicodeEncodeError):
        encode_body(*(*good[:3], "\ud800", *good[4:]))  # type: ignore[arg-type]


SIGNER = PeerId(b"\x12\x20" + bytes(32))


def body(number: int, **more: Any) -> bytes:
    content = b"\x12\x20" + bytes((number,)) * 32
    fields = {
        "provider": SIGNER.raw,
        "ip": "192.0.2.1",
        "port": 4000,
        "issued_at": 1,
        "not_after": number + 2,
    }
    return OfferBody(content=content, **fields | more).SerializeToString(deterministic=True)


def test_offers_of_a_batch_are_made_but_for_those_that_are_not_plain() -> None:
    bodies = [body(1), body(2, port=0), body(3, provider=b"other"), body(4, name="\xeb"), body(5), b"garbage"]
    made = SignedBatch.join(b"envelope", bodies)
    offers = made.offers(PlainOffers(Offer, FileMetadata, SignedAlone, is_host), SIGNER, SIGNER.raw)
    assert [offer is not None for offer in offers] == [True, False, False, False, True, False]
    for index in (0, 4):
        offer = offers[index]
        assert offer is not None
        assert (offer.signed, offer.slot, offer.body) == (made, index, bodies[index])
        assert (offer.provider, offer.not_after) == (SIGNER, index + 3)
        assert offer.envelope == made.signed(index)


@given(st.lists(OFFERS, max_size=3), st.lists(st.binary(max_size=40), max_size=3), st.data())
def test_signatures_are_counted(offers: list[BatchedOffer], others: list[bytes], data: st.DataObject) -> None:
    signed = data.draw(st.lists(st.sampled_from([one.encode() for one in offers] + others + [b"\x5a"])))
    assert count_signatures(iter(signed)) == len(set(map(twin.batch_of, signed)))


@given(st.lists(IN_ORDER, min_size=2, max_size=6))
def test_of_a_batch_as_of_single_offers_the_quick_way_takes_what_the_careful_way_takes(
    fields: list[dict[str, Any]],
) -> None:
    bodies = [OfferBody(**one).SerializeToString(deterministic=True) for one in fields]
    made = SignedBatch.join(b"batch", bodies)
    offers = made.offers(PlainOffers(Offer, FileMetadata, SignedAlone, is_host), SIGNER, SIGNER.raw)
    for index, offer in enumerate(offers):
        wanted = carefully(made.signed(index), made.root(), made.count)
        if wanted is not None and plain_enough(wanted) and len(wanted.content) == 34:
            assert offer is not None
            assert offer[:9] == wanted[:9]
            assert (offer.signed, offer.slot, offer.body) == (made, index, bodies[index])
        else:
            assert offer is None
