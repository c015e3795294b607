"""fastmarket.native.kad_fields and its plain twin agree, on messages whole, damaged and made up."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastmarket.native import kad_fields
from fastmarket.pb.libp2p import kad_pb2
from tests.reference import kad_fields as twin


def fields(read, body, *bounds):
    """None: refused."""
    try:
        return read(body, *bounds)
    except ValueError:
        return None


UVARINTS = st.integers(0, 2**64 - 1) | st.sampled_from([0, 1, 4, 127, 128])
SOME = st.binary(max_size=140)
MESSAGES = st.builds(
    lambda kind, key, record, closer, providers: kad_pb2.Message(
        type=kind,
        key=key,
        closerPeers=[kad_pb2.Message.Peer(id=raw) for raw in closer],
        providerPeers=[kad_pb2.Message.Peer(id=raw) for raw in providers],
        **({"record": {"value": record}} if record else {}),
    ).SerializeToString(),
    st.integers(0, 5),
    SOME,
    SOME,
    st.lists(SOME, max_size=6),
    st.lists(SOME, max_size=6),
)
FIELDS = st.builds(
    lambda number, wire, value, data: (
        encode_big(number << 3 | wire)
        + (encode_big(value) if wire == 0 else encode_big(len(data)) + data if wire == 2 else data)
    ),
    st.sampled_from([1, 2, 3, 8, 9, 10, 100, 2**40]),
    st.sampled_from([0, 2, 2, 2, 1, 5, 3, 4, 6, 7]),
    UVARINTS,
    st.binary(max_size=9),
)


def encode_big(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


@given(MESSAGES | st.lists(FIELDS, max_size=5).map(b"".join) | st.binary(max_size=30), st.data())
@settings(max_examples=600)
def test_a_message_is_read_as_the_twin_reads_it(body, data):
    bounds = data.draw(st.integers(0, 7)), data.draw(st.integers(0, 7))
    assert fields(kad_fields.message_fields, body, *bounds) == fields(twin.message_fields, body, *bounds)
    damaged = bytearray(body[: data.draw(st.integers(0, len(body)))])
    if damaged:
        damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= data.draw(st.integers(1, 255))
    cut = bytes(damaged)
    assert fields(kad_fields.message_fields, cut, *bounds) == fields(twin.message_fields, cut, *bounds)


@pytest.mark.parametrize(
    "raw", [b"\x80" * 9 + b"\x02", b"\x80" * 10, b"\x80" * 10 + b"\x00", b"\xff" * 9 + b"\x01"]
)
def test_long_varints(raw):
    for body in (raw, b"\x08" + raw, b"\x12" + raw, raw + b"\x00"):
        assert fields(kad_fields.message_fields, body, 1, 1) == fields(twin.message_fields, body, 1, 1)
    assert kad_fields.message_fields(b"\x08" + b"\xff" * 9 + b"\x01", 0, 0)[0] == 2**64 - 1
