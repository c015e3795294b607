"""fastmarket: a peer-to-peer market node (signed file offers in a libp2p Kademlia DHT).

The names below are imported when they are first used: a program that needs a CID does not load a DHT for it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from fastmarket._version import __version__

if TYPE_CHECKING:
    from fastmarket.config import NodeConfig
    from fastmarket.formats.cid import Cid, new_cidv0
    from fastmarket.formats.identity import Identity, PeerId
    from fastmarket.formats.multiaddr import Multiaddr
    from fastmarket.hashing import cid_of_file
    from fastmarket.market.client_values import ClientTls
    from fastmarket.market.grpc_client import MarketClient
    from fastmarket.net.bridge import DhtClient, DhtServer, bridge
    from fastmarket.node import Node
    from fastmarket.offers.model.metadata import FileMetadata
    from fastmarket.offers.model.offer import Offer

__all__ = [
    "Cid",
    "ClientTls",
    "DhtClient",
    "DhtServer",
    "FileMetadata",
    "Identity",
    "MarketClient",
    "Multiaddr",
    "Node",
    "NodeConfig",
    "Offer",
    "PeerId",
    "__version__",
    "bridge",
    "cid_of_file",
    "new_cidv0",
]

_HOMES = {
    "Cid": "formats.cid",
    "ClientTls": "market.client_values",
    "DhtClient": "net.bridge",
    "DhtServer": "net.bridge",
    "FileMetadata": "offers.model.metadata",
    "Identity": "formats.identity",
    "MarketClient": "market.grpc_client",
    "Multiaddr": "formats.multiaddr",
    "Node": "node",
    "NodeConfig": "config",
    "Offer": "offers.model.offer",
    "PeerId": "formats.identity",
    "bridge": "net.bridge",
    "cid_of_file": "hashing",
    "new_cidv0": "formats.cid",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
