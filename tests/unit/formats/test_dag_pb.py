"""formats.dag_pb: round trips, both orders, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmarket.errors import LimitExceeded, PeerFault
from fastmarket.formats.block import MAX_BLOCK_BYTES
from fastmarket.formats.dag_pb import (
    MAX_LINKS,
    PbLink,
    PbNode,
    decode_pb_node,
    encode_pb_link,
    encode_pb_node,
)
from tests.reference.unixfs import field

CID = b"\x12\x20" + bytes(32)
LINK = PbLink(CID, b"name", 7)

links = st.builds(
    PbLink,
    st.binary(max_size=40),
    st.none() | st.binary(max_size=20),
    st.none() | st.integers(0, (1 << 63) - 1),
)
nodes = st.builds(PbNode, st.lists(links, max_size=6).map(tuple), st.none() | st.binary(max_size=200))


@given(nodes)
def test_round_trip(node: PbNode) -> None:
    assert decode_pb_node(encode_pb_node(*node)) == node


@given(nodes)
def test_data_may_come_first(node: PbNode) -> None:
    links = b"".join(map(encode_pb_link, node.links))
    data = b"" if node.data is None else field(1, node.data)
    assert decode_pb_node(data + links) == node


def test_an_empty_block_is_an_empty_node() -> None:
    assert decode_pb_node(b"") == PbNode((), None)
    assert decode_pb_node(b"\x0a\x00") == PbNode((), b"")


ENCODED = encode_pb_link(LINK)
REFUSED = {
    "data twice": field(1, b"a") + field(1, b"b"),
    "links in two places": ENCODED + field(1, b"a") + ENCODED,
    "unknown field": field(3, b"x"),
    "data as a number": field(1, 5),
    "link as a number": field(2, 5),
    "cut short": ENCODED[:-1],
    "length of another form": b"\x0a\x81\x00x",
    "length beyond all bounds": b"\x0a" + b"\xff" * 9 + b"\x01",
    "link without a hash": field(2, field(2, b"name")),
    "empty link": field(2, b""),
    "hash twice": field(2, field(1, CID) + field(1, CID)),
    "name twice": field(2, field(1, CID) + field(2, b"a") + field(2, b"b")),
    "size twice": field(2, field(1, CID) + field(3, 1) + field(3, 1)),
    "size before name": field(2, field(1, CID) + field(3, 1) + field(2, b"a")),
    "unknown field of a link": field(2, field(1, CID) + field(4, 1)),
    "name beyond its link": field(2, field(1, CID) + b"\x12\x10"),
    "size beyond its link": field(2, field(1, CID) + b"\x18") + b"\x05",
}


@pytest.mark.parametrize("block", REFUSED.values(), ids=REFUSED)
def test_refused(block: bytes) -> None:
    with pytest.raises(PeerFault):
        decode_pb_node(block)


def test_bounds() -> None:
    with pytest.raises(LimitExceeded, match="bytes in a block"):
        decode_pb_node(bytes(MAX_BLOCK_BYTES + 1))
    small = encode_pb_link(PbLink(b"", None, None))
    assert len(decode_pb_node(small * MAX_LINKS).links) == MAX_LINKS
    with pytest.raises(LimitExceeded, match="links"):
        decode_pb_node(small * (MAX_LINKS + 1))


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    raw = bytearray(encode_pb_node(*draw(nodes)))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(raw)))
        raw[at : at + draw(st.integers(0, 2))] = draw(st.binary(max_size=3))
    return bytes(raw)


@given(st.binary(max_size=100) | damaged())
def test_bytes_of_a_stranger_raise_nothing_else(block: bytes) -> None:
    try:
        node = decode_pb_node(block)
    except PeerFault:
        return
    # Whatever is read has one meaning: written again, it is read as the same.
    assert decode_pb_node(encode_pb_node(*node)) == node
