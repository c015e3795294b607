"""What a node tells about itself and about its peers: values for the services above it."""

from __future__ import annotations

from dataclasses import dataclass

from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_info import PeerInfo


@dataclass(frozen=True, slots=True)
class PeerView:
    """A peer as this node sees it; `common_prefix` in bits, with the key it was listed for."""

    peer: PeerInfo
    agent_version: str = ""
    connected: bool = False
    common_prefix: int = 0


@dataclass(frozen=True, slots=True)
class NodeView:
    """This node: `listen` with /p2p, as others may dial it; `offers` and `own_offers` without withdrawn ones;
    `mode` "client" or "server". `troubles`: what keeps it from doing all it should, and what to do about
    it."""

    listen: tuple[Multiaddr, ...]
    agent_version: str
    peers: int
    connections: int
    offers: int
    own_offers: int
    mode: str
    troubles: tuple[str, ...] = ()
