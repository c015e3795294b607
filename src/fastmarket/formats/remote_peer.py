"""The peer at the other end of a connection, as those see it that answer its requests."""

from __future__ import annotations

from dataclasses import dataclass

from fastmarket.formats.identity import PeerId
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.scope import source_block


@dataclass(frozen=True, slots=True)
class RemotePeer:
    """Made once for each connection: two connections of one peer have two of them, told apart by `is`.

    `block` is the address block it connects from, None for this machine or a private network; `addr` is None
    where the transport does not tell.
    """

    peer_id: PeerId
    block: bytes | None = None
    addr: Multiaddr | None = None

    @classmethod
    def at(cls, peer_id: PeerId, addr: Multiaddr | None) -> RemotePeer:
        """With the block that `addr` is in."""
        return cls(peer_id, source_block(addr), addr)
