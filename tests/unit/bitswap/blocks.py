"""Blocks, peers and wants for the tests."""

from __future__ import annotations

import hashlib

from fastmarket.exchange.bitswap.message import BlockWant
from fastmarket.formats.cid import sha256_multihash
from fastmarket.formats.identity import Identity, PeerId

RAW = b"\x01\x55"  # version 1, codec raw


def peer(number: int) -> PeerId:
    """The same for the same number."""
    return Identity.from_seed(hashlib.sha256(b"bitswap %d" % number).digest()).peer_id


def block(number: int, size: int = 100) -> bytes:
    """Likewise."""
    return hashlib.shake_128(b"%d" % number).digest(size)


def cid(data: bytes) -> bytes:
    """A CIDv1 of codec raw, in bytes."""
    return RAW + sha256_multihash(data)


def want(data: bytes, priority: int = 1, *, only_presence: bool = False, tells: bool = True) -> BlockWant:
    """The want of a block."""
    return BlockWant(cid(data), sha256_multihash(data), priority, only_presence, tells)
