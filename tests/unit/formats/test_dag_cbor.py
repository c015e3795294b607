"""Maps of DAG-CBOR: what IPNS needs of one is read, and whatever else its writer signed along is skipped."""

from __future__ import annotations

import contextlib
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmarket.errors import PeerFault
from fastmarket.formats.dag_cbor import MAX_BYTES, MAX_DEPTH, decode_map, encode_map


class Link(bytes):
    """A CID."""


def head(major: int, number: int) -> bytes:
    """By RFC 8949, section 3, the shortest."""
    for short, size in ((24, 0), (24, 1), (25, 2), (26, 4), (27, 8)):
        if size == 0 and number < 24:
            return bytes([major << 5 | number])
        if size and number < 1 << 8 * size:
            return bytes([major << 5 | short]) + number.to_bytes(size, "big")
    raise OverflowError


def encoded(value: Any) -> bytes:
    """Any value of the IPLD data model."""
    if value is None or isinstance(value, bool):
        return {False: b"\xf4", True: b"\xf5", None: b"\xf6"}[value]
    if isinstance(value, int):
        return head(0, value) if value >= 0 else head(1, -1 - value)
    if isinstance(value, float):
        return b"\xfb" + struct.pack(">d", value)
    if isinstance(value, Link):
        return head(6, 42) + encoded(b"\0" + bytes(value))
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        return head(3, len(value.encode())) + value.encode()
    if isinstance(value, list):
        return head(4, len(value)) + b"".join(map(encoded, value))
    return head(5, len(value)) + b"".join(encoded(key) + encoded(item) for key, item in value.items())


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64 - 1)
    | st.floats()
    | st.binary(max_size=12)
    | TEXTS
    | st.binary(max_size=12).map(Link)
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4)
)


@given(st.dictionaries(TEXTS, VALUES, max_size=8))
def test_what_is_not_needed_is_skipped(values: dict[str, Any]) -> None:
    wanted = {
        key: value.encode() if isinstance(value, str) else value
        for key, value in values.items()
        if (isinstance(value, int) and not isinstance(value, bool) and value >= 0)
        or (isinstance(value, bytes | str) and not isinstance(value, Link))
    }
    assert decode_map(encoded(values)) == wanted
    assert decode_map(encode_map(wanted)) == wanted


@given(st.dictionaries(TEXTS, VALUES, min_size=1, max_size=4), st.data())
def test_a_map_that_is_cut_or_changed_is_the_peers_fault_at_most(
    values: dict[str, Any], data: st.DataObject
) -> None:
    raw = encoded(values)
    at = data.draw(st.integers(0, len(raw) - 1))
    with pytest.raises(PeerFault):
        decode_map(raw[:at])
    with pytest.raises(PeerFault):
        decode_map(raw + b"\0")
    with contextlib.suppress(PeerFault):
        decode_map(raw[:at] + data.draw(st.binary(max_size=3)) + raw[at + 1 :])


@given(st.binary(max_size=60))
def test_any_bytes_as_a_map(raw: bytes) -> None:
    for rest in (raw, b"\xa1\x61a" + raw):
        with contextlib.suppress(PeerFault):
            decode_map(rest)


@pytest.mark.parametrize(
    "value",
    [
        "9f01ff",  # lengths that are open
        "bf616101ff",
        "5f4101ff",
        "d82b4100",  # another tag
        "c001",
        "f8ff",  # simple values that DAG-CBOR has not
        "e0",
        "ff",
        "9bffffffffffffffff",  # more items than bytes
        "bbffffffffffffffff",
        "bb8000000000000000",
        "5bffffffffffffffff00",
        "3b",
    ],
)
def test_what_no_writer_of_dag_cbor_makes(value: str) -> None:
    with pytest.raises(PeerFault):
        decode_map(bytes.fromhex("a16161" + value))


def test_bounds() -> None:
    deep = lambda depth: b"\xa1\x61a" + b"\x81" * depth + b"\xf6"  # noqa: E731
    assert decode_map(deep(MAX_DEPTH - 1)) == {}
    for depth in (MAX_DEPTH, MAX_BYTES - 4):
        with pytest.raises(PeerFault, match="too deeply"):
            decode_map(deep(depth))
    wide = encoded({"a": [None] * (MAX_BYTES - 6)})
    assert len(wide) == MAX_BYTES
    assert decode_map(wide) == {}
    with pytest.raises(PeerFault, match="bytes"):
        decode_map(wide + b"\0")


def test_many_fields() -> None:
    many = {f"_app{number}": -number for number in range(1, 300)}
    assert decode_map(encoded({**many, "a": 1})) == {"a": 1}


def test_one_key_once() -> None:
    for value in (b"\x01", b"\xf6"):
        with pytest.raises(PeerFault, match="key"):
            decode_map(b"\xa2" + (b"\x61a" + value) * 2)
