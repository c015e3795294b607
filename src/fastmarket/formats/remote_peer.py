"""The peer at the other end of a connection, as the code that answers its requests sees it."""

from __future__ import annotations

from dataclasses import dataclass

from fastmarket.formats.identity import PeerId
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.scope import source_block


@dataclass(frozen=True, slots=True)
class RemotePeer:
    """One object for each connection: `is` tells two connections of one peer apart.

    `block` is the address block that the peer connects from, None for this machine or a private network;
    `addr` is None if the transport does not report it.
    """

    peer_id: PeerId
    block: bytes | None = None
    addr: Multiaddr | None = None

    @classmethod
    def at(cls, peer_id: PeerId, addr: Multiaddr | None) -> RemotePeer:
        """With the address block of `addr`."""
        return cls(peer_id, source_block(addr), addr)
