"""Identify on every connection: tells who we are and where we listen, learns the same of the peer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from fastmarket._version import __version__
from fastmarket.config import NodeConfig
from fastmarket.errors import FastmarketError, PeerFault
from fastmarket.formats.identity import Identity
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_record import encode_peer_record
from fastmarket.libp2p.connection import Connection
from fastmarket.libp2p.events import (
    Event,
    NegotiationFailed,
    StreamData,
    StreamEnded,
    StreamReady,
    StreamReset,
)
from fastmarket.libp2p.identify import (
    IDENTIFY_PROTOCOL,
    PUSH_PROTOCOL,
    IdentifyCollector,
    IdentifyInfo,
    IdentifyPushResponder,
    IdentifyResponder,
    encode_identify,
)
from fastmarket.libp2p.peerstore import PeerStore
from fastmarket.libp2p.ping import PING_PROTOCOL, PingResponder
from fastmarket.net.addresses import told_to
from fastmarket.net.clock import Clock
from fastmarket.net.link import Link

logger = logging.getLogger(__name__)

AGENT_VERSION = f"fastmarket/{__version__}"
PROTOCOL_VERSION = "/fastmarket/id/1.0.0"

OnIdentified = Callable[[Link, IdentifyInfo, float], None]
