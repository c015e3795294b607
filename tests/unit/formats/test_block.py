"""formats.block: which bytes are the block of a CID."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmarket.errors import PeerFault
from fastmarket.formats.block import (
    MAX_BLOCK_BYTES,
    MAX_DIGEST_BYTES,
    inline_block,
    is_verifiable,
    split_cid,
    verify_block,
)
from fastmarket.formats.cid import Cid, new_cidv0
from fastmarket.formats.varint import encode_uvarint

BLOCK = b"some block"
HASHES = {
    0x12: hashlib.sha256(BLOCK).digest(),
    0x13: hashlib.sha512(BLOCK).digest(),
    0x14: hashlib.sha3_512(BLOCK).digest(),
    0x15: hashlib.sha3_384(BLOCK).digest(),
    0x16: hashlib.sha3_256(BLOCK).digest(),
    0x17: hashlib.sha3_224(BLOCK).digest(),
    0x19: hashlib.shake_256(BLOCK).digest(64),
    0x20: hashlib.sha384(BLOCK).digest(),
    0x56: hashlib.sha256(hashlib.sha256(BLOCK).digest()).digest(),
    0xB220: hashlib.blake2b(BLOCK, digest_size=32).digest(),
    0xB240: hashlib.blake2b(BLOCK, digest_size=64).digest(),
    0xB260: hashlib.blake2s(BLOCK).digest(),
    0x00: BLOCK,
}


def cid_by(code: int, digest: bytes, codec: int = 0x55) -> bytes:
    return b"\x01" + b"".join(map(encode_uvarint, (codec, code, len(digest)))) + digest


@pytest.mark.parametrize("code", HASHES)
@pytest.mark.parametrize("codec", [0x55, 0x70, 0x0129])
def test_a_block_is_verified_by_every_hash_function_that_is_allowed(code: int, codec: int) -> None:
    cid = cid_by(code, HASHES[code], codec)
    assert is_verifiable(split_cid(cid))
    assert verify_block(cid, BLOCK)
    assert not verify_block(cid, BLOCK + b"!")
    assert not verify_block(cid[:-1], BLOCK)
    assert not verify_block(cid + b"\0", BLOCK)


@pytest.mark.parametrize(
    ("code", "digest"),
    [
        (0x11, hashlib.sha1(BLOCK).digest()),  # collides
        (0x12, hashlib.sha256(BLOCK).digest()[:20]),  # cut short
        (0xB213, hashlib.blake2b(BLOCK, digest_size=19).digest()),  # too short to be unique
        (0x7777, b"x" * 32),
    ],
)
def test_hash_functions_that_are_not_allowed(code: int, digest: bytes) -> None:
    assert not is_verifiable(split_cid(cid_by(code, digest)))
    assert not verify_block(cid_by(code, digest), BLOCK)


def test_both_versions_name_the_same_block() -> None:
    v0 = new_cidv0(BLOCK)
    assert verify_block(v0, BLOCK)
    assert verify_block(v0.raw, BLOCK)
    assert verify_block(Cid(1, 0x70, v0.multihash), BLOCK)
    assert not verify_block(v0, b"another")


def test_a_block_of_more_than_the_limit_is_none() -> None:
    for size, found in ((MAX_BLOCK_BYTES, True), (MAX_BLOCK_BYTES + 1, False)):
        assert verify_block(new_cidv0(bytes(size)), bytes(size)) is found


def test_an_identity_cid_carries_its_block_up_to_the_limit() -> None:
    assert inline_block(cid_by(0, b"abc")) == b"abc"
    assert inline_block(cid_by(0, b"")) == b""
    assert inline_block(cid_by(0, bytes(MAX_DIGEST_BYTES))) == bytes(MAX_DIGEST_BYTES)
    assert inline_block(new_cidv0(BLOCK)) is None
    assert inline_block(Cid.from_text("bafkqabtimvwgy3yk")) == b"hello\n"
    with pytest.raises(PeerFault, match="digest of 129"):
        inline_block(cid_by(0, bytes(MAX_DIGEST_BYTES + 1)))


@given(
    st.one_of(st.binary(max_size=200), st.binary(max_size=60).map(lambda more: b"\x01\x55\x12\x20" + more))
)
def test_bytes_of_a_stranger_raise_nothing_else(raw: bytes) -> None:
    try:
        parts = split_cid(raw)
    except PeerFault:
        assert not verify_block(raw, BLOCK)
    else:
        assert verify_block(raw, BLOCK) in (True, False)
        assert len(parts.digest) <= MAX_DIGEST_BYTES
