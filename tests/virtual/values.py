"""Peers, identities and terms out of nothing but a number."""

from __future__ import annotations

from hashlib import sha256

from fastmarket.formats.identity import Identity, PeerId
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.offers.model.metadata import FileMetadata
from fastmarket.offers.model.offer import OfferTerms

START = 1_700_000_000.0
CONTENT = b"\x12\x20" + sha256(b"content").digest()


def identity(number: int) -> Identity:
    """A key pair; nodes of a `VirtualNetwork` have those from 1."""
    return Identity.from_seed(sha256(b"peer %d" % number).digest())


def peer_id_of(number: int | str) -> PeerId:
    """A peer id without a key."""
    return PeerId.from_bytes(b"\x12\x20" + sha256(f"peer {number}".encode()).digest())


def addr_of(number: int) -> Multiaddr:
    """A listen address of its own."""
    return Multiaddr.from_text(f"/ip4/10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}/tcp/16899")


def peer_info_of(number: int) -> PeerInfo:
    """The number as a peer with an address."""
    return PeerInfo(peer_id_of(number), (addr_of(number),))


def terms(price: int = 5, *, content: bytes = CONTENT, user: bytes = b"u", port: int = 4000) -> OfferTerms:
    """What is registered."""
    return OfferTerms(content, user, "someone", FileMetadata("192.0.2.7", port, price))
