"""fastmarket: a peer-to-peer market node (signed file offers in a libp2p Kademlia DHT)."""

from fastmarket._version import __version__

__all__ = ["__version__"]
