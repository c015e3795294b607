"""What offers need of the node's Kademlia."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from fastmarket.config import KadConfig
from fastmarket.formats.identity import PeerId
from fastmarket.formats.kad_key import KadKey
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.lookup.lookup import Lookup
from fastmarket.kad.lookup.query import PutRequest, Query
from fastmarket.kad.records.put_job import PutJob
from fastmarket.kad.wire.response_cache import TableVersion


class Neighbourhood(Protocol):
    """`kad.engine.Engine` has all of it."""

    @property
    def config(self) -> KadConfig:
        """Lookups, and the protocol of peers that know no offers."""

    @property
    def local(self) -> PeerInfo:
        """This peer, with the addresses it has now."""

    @property
    def nearby(self) -> TableVersion:
        """Says when `closer_to` may answer otherwise than before."""

    def search(self, key: bytes, query: Query) -> Lookup:
        """A lookup towards a raw key."""

    def store_job(
        self, key: bytes, find: Query, store: PutRequest, timeout_s: float | None = None, retry_s: float = 0.0
    ) -> PutJob:
        """Put something on those closest to a raw key; tried again for `retry_s` seconds."""

    def nearest_ids(self, target: KadKey, count: int) -> list[PeerId]:
        """Those of the table closest to a key."""

    def seeds(self, target: KadKey, now: float) -> Iterable[PeerInfo]:
        """Peers of the table near a 32-byte target."""

    def closer_to(self, target: KadKey, exclude: PeerId | None, head: bytes = b"") -> bytes:
        """Behind `head` those near a target as closerPeers fields of a kad message, tag and length
        included."""
