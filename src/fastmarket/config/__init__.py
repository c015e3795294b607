"""Frozen dataclasses that hold every parameter and bound, one per layer.

Units are part of the name (`_s` seconds, `_bytes`); where a number is not ours, its source stands beside it.
"""

from fastmarket.config.access import AccessConfig
from fastmarket.config.bitswap import BitswapConfig
from fastmarket.config.connection import ConnectionConfig
from fastmarket.config.content import ContentConfig
from fastmarket.config.fetching import FetchConfig
from fastmarket.config.fleet import FleetConfig
from fastmarket.config.holders import HolderConfig
from fastmarket.config.host import HostConfig
from fastmarket.config.kad import KadConfig
from fastmarket.config.market import MarketConfig
from fastmarket.config.memory import MemoryConfig
from fastmarket.config.node import NodeConfig
from fastmarket.config.offers import OfferConfig
from fastmarket.config.payments import CreditPolicy, PaymentConfig, SettlementPolicy
from fastmarket.config.port_map import PortMapConfig
from fastmarket.config.storage import StorageConfig
from fastmarket.config.web import WebConfig

__all__ = [
    "AccessConfig",
    "BitswapConfig",
    "ConnectionConfig",
    "ContentConfig",
    "CreditPolicy",
    "FetchConfig",
    "FleetConfig",
    "HolderConfig",
    "HostConfig",
    "KadConfig",
    "MarketConfig",
    "MemoryConfig",
    "NodeConfig",
    "OfferConfig",
    "PaymentConfig",
    "PortMapConfig",
    "SettlementPolicy",
    "StorageConfig",
    "WebConfig",
]
