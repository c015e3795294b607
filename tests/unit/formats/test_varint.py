from __future__ import annotations

import re
from pathlib import Path

import pytest

from fastmarket.errors import CallerFault, LimitExceeded, PeerFault
from fastmarket.formats.varint import (
    FrameDecoder,
    decode_protobuf_varint,
    decode_uvarint,
    encode_uvarint,
    frame,
    try_uvarint,
)

# multiformats/unsigned-varint, "Examples"
SPEC = {1: "01", 127: "7f", 128: "8001", 255: "ff01", 300: "ac02", 16384: "808001"}


@pytest.mark.parametrize(("value", "encoded"), SPEC.items())
def test_examples_of_the_specification(value: int, encoded: str) -> None:
    assert encode_uvarint(value).hex() == encoded
    assert decode_uvarint(bytes.fromhex(encoded)) == (value, len(encoded) // 2)


def test_largest_value() -> None:
    assert encode_uvarint(2**63 - 1) == b"\xff" * 8 + b"\x7f"
    assert decode_uvarint(b"\xff" * 8 + b"\x7f") == (2**63 - 1, 9)


@pytest.mark.parametrize("value", [-1, 2**63])
def test_a_value_outside_is_the_callers_fault(value: int) -> None:
    with pytest.raises(CallerFault, match=r"^n: "):
        encode_uvarint(value)


@pytest.mark.parametrize("raw", [b"\x80\x00", b"\x81\x80\x00", b"\xff" * 9, b"\xff" * 9 + b"\x01"])
def test_too_long_or_not_minimal(raw: bytes) -> None:
    with pytest.raises(PeerFault):
        try_uvarint(raw)


@pytest.mark.parametrize("raw", [b"", b"\x80", b"\xff" * 8])
def test_cut_short(raw: bytes) -> None:
    assert try_uvarint(raw) is None
    with pytest.raises(PeerFault):
        decode_uvarint(raw)


def test_offset() -> None:
    assert decode_uvarint(b"\xff\xac\x02\x05", 1) == (300, 3)
    assert try_uvarint(b"\xac\x02", 2) is None


def test_decoder_puts_frames_together_from_single_bytes() -> None:
    decoder = FrameDecoder(limit=1000)
    bodies = [b"", b"a", b"b" * 127, b"c" * 1000]
    stream = b"".join(map(frame, bodies))
    assert [body for at in range(len(stream)) for body in decoder.feed(stream[at : at + 1])] == bodies
    assert decoder.pending == 0


def test_decoder_keeps_the_rest() -> None:
    decoder = FrameDecoder(limit=10)
    assert decoder.feed(frame(b"one") + b"\x03tw") == [b"one"]
    assert decoder.pending == 3
    assert decoder.feed(b"o" + frame(b"three") + b"\x00") == [b"two", b"three", b""]
    assert decoder.pending == 0


def test_decoder_refuses_a_length_over_the_limit_before_its_body() -> None:
    decoder = FrameDecoder(limit=300)
    decoder.feed(frame(b"x" * 300))
    with pytest.raises(LimitExceeded) as caught:
        decoder.feed(encode_uvarint(301))
    assert (caught.value.limit, caught.value.got) == (300, 301)
    assert decoder.pending == 0


def test_decoder_refuses_a_length_that_never_ends() -> None:
    decoder = FrameDecoder(limit=300)
    for _ in range(8):
        assert decoder.feed(b"\xff") == []
    with pytest.raises(PeerFault):
        decoder.feed(b"\xff")


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b"\x05", 5),
        (b"\x85\x00", 5),
        (b"\x80" * 9 + b"\x00", 0),
        (b"\xff" * 9 + b"\x01", 2**64 - 1),
        (b"\xac\x02", 300),
    ],
)
def test_protobuf_takes_ten_bytes_and_longer_forms(raw: bytes, value: int) -> None:
    assert decode_protobuf_varint(b"." + raw + b".", 1) == (value, 1 + len(raw))


@pytest.mark.parametrize("raw", [b"", b"\x80", b"\xff" * 10, b"\xff" * 11 + b"\x01"])
def test_protobuf_takes_no_more(raw: bytes) -> None:
    with pytest.raises(PeerFault, match="varint"):
        decode_protobuf_varint(raw)


SOURCES = Path(__file__).parents[3] / "src" / "fastmarket"
# What reads seven bits of a byte and goes on, by hand.
_BY_HAND = re.compile(
    r"& ?0x(?:7f|80)\b|& ?_ONE_BYTE_LENGTH|<< ?7\b|>> ?7\b|[<>]=? ?0x(?:7f|80)\b", re.IGNORECASE
)
# Files that may; others use this module. Those of libp2p read a head of two bytes at most, which nearly
# every request and every protocol name has, and so does that of Bitswap, of blocks; a call would cost more
# than the reading.
_MAY = {"formats/varint.py", "libp2p/streams.py", "libp2p/multistream.py", "exchange/bitswap/message.py"}


def test_there_is_one_reader_of_varints() -> None:
    found = {
        source.relative_to(SOURCES).as_posix()
        for source in SOURCES.rglob("*.py")
        if not source.stem.endswith("_pb2") and _BY_HAND.search(source.read_text())
    }
    assert found == _MAY
