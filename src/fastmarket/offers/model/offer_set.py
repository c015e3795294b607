"""Offers from many sources, one version of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fastmarket.formats.identity import PeerId
from fastmarket.offers.model.offer import Offer, OfferKey


def price_order(offer: Offer) -> tuple[int, bytes, bytes]:
    """Cheapest first; equal prices in an order on which every node agrees."""
    return (offer.metadata.price_per_mb, offer.provider.raw, offer.user_id)


class OfferSet:
    """Keeps the highest seq of each offer. Tombstones are kept, but `cheapest` leaves them out."""

    __slots__ = ("_offers", "_providers")

    def __init__(self, offers: Iterable[Offer] = ()) -> None:
        self._offers: dict[OfferKey, Offer] = {}
        self._providers: set[PeerId] = set()
        for offer in offers:
            self.add(offer)

    def add(self, offer: Offer) -> bool:
        """Adds a version; returns whether it is new or newer than the one held."""
        known = self._offers.get(offer.key)
        if known is not None and not offer.replaces(known):
            return False
        self._offers[offer.key] = offer
        self._providers.add(offer.provider)
        return True

    def cheapest(self, now: float) -> list[Offer]:
        """The live offers, cheapest first."""
        return sorted((offer for offer in self._offers.values() if offer.is_live(now)), key=price_order)

    def has_provider(self, provider: PeerId) -> bool:
        """Whether the set has an offer or a tombstone of that provider."""
        return provider in self._providers

    def __contains__(self, offer: Offer) -> bool:
        """Whether the set has some version of the offer."""
        return offer.key in self._offers

    def __iter__(self) -> Iterator[Offer]:
        return iter(self._offers.values())

    def __len__(self) -> int:
        return len(self._offers)
