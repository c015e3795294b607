"""Provider entries made from the node's offers, for replies to other nodes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from fastmarket.formats.identity import PeerId
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.providers.source import ProviderSource
from fastmarket.offers.store.offer_store import OfferStore


class AddressBook(Protocol):
    """Known addresses of peers; `libp2p.peerstore.PeerStore` on the network."""

    def addrs(self, peer_id: PeerId, now: float | None = None) -> Sequence[Multiaddr]:
        """Known listen addresses of the peer."""

    def hints_until(self, peer_id: PeerId) -> float:
        """How long these stay the same unless the peer is heard from again (unix seconds)."""


class OfferHolders(ProviderSource):
    """Holders of offers as providers, for peers that ask for providers and do not speak the offer
    protocol."""

    __slots__ = ("_addresses", "_local", "_store")

    def __init__(self, local: PeerId, store: OfferStore, addresses: AddressBook) -> None:
        self._local = local
        self._store = store
        self._addresses = addresses

    def holders(self, key: bytes, now: float) -> tuple[Iterable[PeerInfo], float]:
        book = self._addresses
        found, until = [], self._store.next_expiry(key, now)
        for peer_id in self._store.providers(key, now):
            if peer_id == self._local:
                found.append(PeerInfo(peer_id))
            else:
                found.append(PeerInfo(peer_id, tuple(book.addrs(peer_id, now))))
                until = min(until, book.hints_until(peer_id))
        return found, until

    def withdrawn_providers(self, key: bytes, now: float) -> frozenset[PeerId]:
        return self._store.withdrawn_providers(key, now)
