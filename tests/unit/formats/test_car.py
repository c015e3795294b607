"""formats.car: streams written and read, cut anywhere, and what is refused."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastmarket.errors import LimitExceeded, PeerFault
from fastmarket.formats.block import MAX_BLOCK_BYTES
from fastmarket.formats.car import (
    MAX_HEADER_BYTES,
    MAX_SECTION_BYTES,
    CarReader,
    CarSection,
    car_section_head,
    encode_car_header,
    encode_car_section,
)
from fastmarket.formats.cid import Cid, new_cidv0
from fastmarket.formats.varint import encode_uvarint

ROOT = Cid.from_text("bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e")
BLOCK = b"hello world"
# The stream of that file, as go-car writes it.
HELLO = (
    bytes.fromhex(
        "3a a2 65 726f6f7473 81 d82a 5825 00 01551220"
        "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9"
        "67 76657273696f6e 01"
        "2f 01551220b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9"
    )
    + BLOCK
)


def read(stream: bytes) -> tuple[tuple[bytes, ...], list[CarSection]]:
    reader = CarReader()
    sections = reader.feed(stream)
    reader.finish()
    return reader.roots, sections


def test_a_stream_of_one_block() -> None:
    assert encode_car_header([ROOT]) + encode_car_section(ROOT, BLOCK) == HELLO
    assert encode_car_header([ROOT.raw]) + car_section_head(ROOT.raw, len(BLOCK)) + BLOCK == HELLO
    assert read(HELLO) == ((ROOT.raw,), [CarSection(ROOT.raw, BLOCK)])


@settings(deadline=None)
@given(st.lists(st.binary(max_size=300), max_size=5), st.lists(st.integers(0, 400), max_size=8))
def test_a_stream_cut_anywhere(blocks: list[bytes], cuts: list[int]) -> None:
    cids = [new_cidv0(block) for block in blocks]
    stream = encode_car_header(cids[:2])
    stream += b"".join(encode_car_section(cid, block) for cid, block in zip(cids, blocks, strict=True))
    reader, found = CarReader(), []
    ends = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    for start, end in pairwise(ends):
        found += reader.feed(stream[start:end])
    reader.finish()
    assert reader.roots == tuple(cid.raw for cid in cids[:2])
    assert found == [CarSection(cid.raw, block) for cid, block in zip(cids, blocks, strict=True)]


def test_fields_of_the_header_in_the_other_order() -> None:
    header = bytes.fromhex("a2 67 76657273696f6e 01 65 726f6f7473 80")
    assert read(encode_uvarint(len(header)) + header) == ((), [])


@pytest.mark.parametrize("end", [0, 1, 20, 58, 60, 70, len(HELLO) - 1])
def test_an_end_within_a_section_is_told(end: int) -> None:
    reader = CarReader()
    reader.feed(HELLO[:end])
    with pytest.raises(PeerFault, match="cut short"):
        reader.finish()


def test_a_block_that_is_another() -> None:
    false = HELLO[:-1] + b"!"
    with pytest.raises(PeerFault, match="not the one"):
        read(false)
    unseen = CarReader(verify=False)
    assert unseen.feed(false) == [CarSection(ROOT.raw, BLOCK[:-1] + b"!")]


def header(text: str) -> bytes:
    raw = bytes.fromhex(text)
    return encode_uvarint(len(raw)) + raw


EMPTY = encode_car_header([])
REFUSED = {
    "version 2": header("a1 67 76657273696f6e 02"),
    "no version": header("a1 65 726f6f7473 80"),
    "no roots": header("a1 67 76657273696f6e 01"),
    "version twice": header("a2 67 76657273696f6e 01 67 76657273696f6e 01"),
    "another field": header("a2 67 76657273696f6e 01 64 6d6f7265 01"),
    "not a map": header("80"),
    "a root without tag": header("a2 65 726f6f7473 81 4100 67 76657273696f6e 01"),
    "a root of another tag": header("a2 65 726f6f7473 81 d82b 4100 67 76657273696f6e 01"),
    "a root that is none": header("a2 65 726f6f7473 81 d82a 4100 67 76657273696f6e 01"),
    "a root that is text": header("a2 65 726f6f7473 81 d82a 6100 67 76657273696f6e 01"),
    "roots without end": header("a2 65 726f6f7473 9b ffffffffffffffff"),
    "a version that is text": header("a2 65 726f6f7473 80 67 76657273696f6e 6131"),
    "bytes behind the header": header("a2 65 726f6f7473 80 67 76657273696f6e 01 00"),
    "an empty header": b"\0",
    "an empty section": EMPTY + b"\0",
    "a section without CID": EMPTY + b"\x02\x01\x55",
    "a length of another form": EMPTY + b"\x81\x00",
    "text": b"HTTP/1.1 500 Internal Server Error",
}


@pytest.mark.parametrize("stream", REFUSED.values(), ids=REFUSED)
def test_refused(stream: bytes) -> None:
    with pytest.raises(PeerFault):
        read(stream)


def test_bounds_are_checked_before_anything_is_kept() -> None:
    for first, size, what in (
        (EMPTY, MAX_SECTION_BYTES + 1, "frame"),
        (b"", MAX_SECTION_BYTES + 1, "frame"),
    ):
        with pytest.raises(LimitExceeded, match=what):
            CarReader().feed(first + encode_uvarint(size))
    reader = CarReader()
    reader.feed(encode_uvarint(MAX_HEADER_BYTES + 10) + bytes(MAX_HEADER_BYTES - 10))
    with pytest.raises(LimitExceeded, match="header"):
        reader.feed(bytes(14))


def test_the_largest_block_passes() -> None:
    block = bytes(MAX_BLOCK_BYTES)
    stream = EMPTY + encode_car_section(new_cidv0(block), block)
    assert read(stream) == ((), [CarSection(new_cidv0(block).raw, block)])


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    raw = bytearray(HELLO)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(raw)))
        raw[at : at + draw(st.integers(0, 2))] = draw(st.binary(max_size=3))
    return bytes(raw)


@given(st.binary(max_size=200) | st.binary(max_size=90).map(lambda tail: EMPTY + tail) | damaged())
def test_bytes_of_a_stranger_raise_nothing_else(stream: bytes) -> None:
    try:
        read(stream)
    except PeerFault:
        return
