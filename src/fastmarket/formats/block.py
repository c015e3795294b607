"""Blocks: the bytes behind one CID, and whether some bytes are they.

Links hold CIDs in binary form. They are read here by their own bounds, which differ from those of a DHT key:
an identity CID carries its block in itself.

Sources: multiformats/cid and multihash; ipfs/specs, trustless-gateway (2 MiB), IPIP-0512 (identity CIDs of at
most 128 bytes); boxo, verifcid (hash functions and digest lengths).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import NamedTuple

from fastmarket.errors import PeerFault
from fastmarket.formats.cid import MIN_DIGEST_BYTES, SHA2_256_BYTES, SHA2_256_PREFIX, Cid, Codec
from fastmarket.formats.multicodec import IDENTITY
from fastmarket.formats.varint import decode_uvarint
from fastmarket.native.sha256 import sha256

MAX_BLOCK_BYTES = 2 * 1024 * 1024
"""The largest block that IPFS implementations exchange; what is longer is never hashed."""

MAX_DIGEST_BYTES = 128
"""Of any hash function, and so the longest block that an identity CID may carry."""

RAW_HEAD = b"\x01\x55"
"""How the binary CID of a raw block begins."""

_V1_HEADS = (RAW_HEAD + SHA2_256_PREFIX, b"\x01\x70" + SHA2_256_PREFIX)  # raw, dag-pb
_V1_BYTES = 36  # of a CIDv1 with such a head
_SHA2_256 = SHA2_256_PREFIX[0]
_BLAKE2B, _BLAKE2S = 0xB200, 0xB240  # codes of digests of no bytes; the next ones have one byte more each


class CidParts(NamedTuple):
    """A binary CID taken apart; `code` is the hash function's, `digest` an identity CID's block."""

    version: int
    codec: int
    code: int
    digest: bytes


def is_usual(raw: bytes) -> bool:
    """Whether the bytes are a CID of a raw or dag-pb block by SHA-256, as nearly all are: nothing is wrong
    with it."""
    size = len(raw)
    return (size == _V1_BYTES and raw.startswith(_V1_HEADS)) or (
        size == SHA2_256_BYTES and raw.startswith(SHA2_256_PREFIX)
    )


def split_cid(raw: bytes) -> CidParts:
    """The parts of a binary CID that fills `raw`. Raises PeerFault if it is malformed, or if its digest has
    more than MAX_DIGEST_BYTES."""
    parts, end = read_cid(raw, 0)
    if end != len(raw):
        raise PeerFault("bytes behind a CID")
    return parts


def read_cid(buf: bytes, at: int) -> tuple[CidParts, int]:
    """The parts of the binary CID at `at`, and where it ends. Raises PeerFault as `split_cid` does."""
    if buf[at : at + 2] == SHA2_256_PREFIX:
        version, codec, digest_at = 0, int(Codec.DAG_PB), at + 2
        code, size = _SHA2_256, SHA2_256_BYTES - 2
    else:
        version, codec_at = decode_uvarint(buf, at)
        if version != 1:
            raise PeerFault(f"a CID of version {version}")
        codec, hash_at = decode_uvarint(buf, codec_at)
        code, size_at = decode_uvarint(buf, hash_at)
        size, digest_at = decode_uvarint(buf, size_at)
    if size > MAX_DIGEST_BYTES:
        raise PeerFault(f"a CID with a digest of {size} bytes, of at most {MAX_DIGEST_BYTES}")
    if len(buf) - digest_at < size:
        raise PeerFault("a CID is cut short")
    return CidParts(version, codec, code, buf[digest_at : digest_at + size]), digest_at + size


def _sha2_256_twice(block: bytes) -> bytes:
    return sha256(sha256(block))


def _hashlib(name: str) -> Callable[[bytes], bytes]:
    return lambda block: hashlib.new(name, block, usedforsecurity=False).digest()


def _blake2b(size: int) -> Callable[[bytes], bytes]:
    return lambda block: hashlib.blake2b(block, digest_size=size).digest()


def _blake2s(size: int) -> Callable[[bytes], bytes]:
    return lambda block: hashlib.blake2s(block, digest_size=size).digest()


# What names a block: those of IPFS that the standard library computes. SHA-1 has collisions; identity hashes
# nothing and is treated on its own.
_HASHES: dict[int, tuple[int, Callable[[bytes], bytes]]] = {
    _SHA2_256: (32, sha256),
    0x13: (64, _hashlib("sha512")),
    0x14: (64, _hashlib("sha3_512")),
    0x15: (48, _hashlib("sha3_384")),
    0x16: (32, _hashlib("sha3_256")),
    0x17: (28, _hashlib("sha3_224")),
    0x19: (64, lambda block: hashlib.shake_256(block).digest(64)),
    0x20: (48, _hashlib("sha384")),
    0x56: (32, _sha2_256_twice),
    **{_BLAKE2B + size: (size, _blake2b(size)) for size in range(MIN_DIGEST_BYTES, 65)},
    **{_BLAKE2S + size: (size, _blake2s(size)) for size in range(MIN_DIGEST_BYTES, 33)},
}


def is_verifiable(parts: CidParts) -> bool:
    """Whether bytes can be told to be the block: by a hash function that is allowed, or identity."""
    known = _HASHES.get(parts.code)
    return parts.code == IDENTITY or (known is not None and known[0] == len(parts.digest))


def inline_block(cid: Cid | bytes) -> bytes | None:
    """The block that an identity CID carries; None for any other CID, whose block has to be fetched. Raises
    PeerFault if the bytes are not a CID."""
    parts = split_cid(cid.raw if isinstance(cid, Cid) else cid)
    return parts.digest if parts.code == IDENTITY else None


def digest_of(code: int, size: int, block: bytes) -> bytes | None:
    """The digest of `size` bytes of a block by the hash function of that code; None if no block has one, or
    if it is longer than MAX_BLOCK_BYTES."""
    known = _HASHES.get(code)
    if known is None or known[0] != size or len(block) > MAX_BLOCK_BYTES:
        return None
    return known[1](block)


def verify_block(cid: Cid | bytes, block: bytes) -> bool:
    """Whether `block` is the one behind `cid` (bytes: binary, as in a link).

    False as well for a block of more than MAX_BLOCK_BYTES, and for a CID that is malformed or whose hash
    function is not allowed.
    """
    if len(block) > MAX_BLOCK_BYTES:
        return False
    raw = cid.raw if isinstance(cid, Cid) else cid
    if is_usual(raw):
        return raw.endswith(sha256(block))
    try:
        parts = split_cid(raw)
    except PeerFault:
        return False
    if parts.code == IDENTITY:
        return block == parts.digest
    known = _HASHES.get(parts.code)
    return known is not None and known[0] == len(parts.digest) and known[1](block) == parts.digest
