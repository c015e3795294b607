"""fastmarket._merkle against its twin: good offers, damaged ones, any bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fastmarket import _merkle
from fastmarket.offers.batch import BatchedOffer
from fastmarket.offers.merkle import merkle_tree
from fastmarket.pb.fastmarket.v1.offer_pb2 import OfferBody
from tests.reference import merkle as twin

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
    assert _merkle.batch_of(signed) == twin.batch_of(signed)
    if isinstance(answer, tuple):
        assert _merkle.body_of(signed) == answer[3]
    return answer


@given(LEAVES, st.data())
def test_every_leaf_leads_to_the_root_and_no_other_does(leaves: list[bytes], data: st.DataObject) -> None:
    root, paths = merkle_tree(leaves)
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
        root, paths = merkle_tree(leaves)
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
    texts = str(fields.get("user_name", "")) + str(fields.get("name", ""))
    numbers = [fields.get(name, 0) for name in ("price_per_mb", "size", "seq", "issued_at", "not_after")]
    if (not texts or (texts.isascii() and texts.isprintable())) and max(numbers) < 2**63:
        assert plain(raw)
    at = data.draw(st.integers(0, len(raw)))
    plain(raw[:at])
    plain(raw[:at] + data.draw(st.binary(min_size=1, max_size=12)) + raw[at:])
    plain(raw[:at] + data.draw(st.binary(min_size=1, max_size=12)) + raw[at + 1 :])


@given(st.binary(max_size=60))
def test_any_bytes_as_a_body(raw: bytes) -> None:
    plain(raw)
