"""A peer and where it may be reached."""

from __future__ import annotations

from dataclasses import dataclass

from fastmarket.formats.identity import PeerId
from fastmarket.formats.multiaddr import Multiaddr


@dataclass(frozen=True, slots=True)
class PeerInfo:
    """`addrs` in the order they were learnt; they may or may not end in the peer's own /p2p part."""

    peer_id: PeerId
    addrs: tuple[Multiaddr, ...] = ()
