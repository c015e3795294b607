from __future__ import annotations

import pytest

from fastmarket.errors import CallerFault, LimitExceeded, PeerFault
from fastmarket.formats.varint import FrameDecoder, decode_uvarint, encode_uvarint, frame, try_uvarint

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
