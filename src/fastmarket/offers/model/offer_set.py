"""Offers gathered from many mouths, one per identity."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fastmarket.formats.identity import PeerId
from fastmarket.offers.model.offer import Offer, OfferKey


def price_order(offer: Offer) -> tuple[int, bytes, bytes]:
    """Cheapest first; equal prices in an order on which every node agrees."""
    return (offer.metadata.price_per_mb, offer.provider.raw, offer.user_id)


class OfferSet:
    """Of each identity the offer with the highest seq; tombstones are kept, and never shown."""

    __slots__ = ("_offers", "_providers")

    def __init__(self, offers: Iterable[Offer] = ()) -> None:
        self._offers: dict[OfferKey, Offer] = {}
        self._providers: set[PeerId] = set()
        for offer in offers:
            self.add(offer)

    def add(self, offer: Offer) -> bool:
        """Whether the offer told anything new."""
        known = self._offers.get(offer.key)
        if known is not None and not offer.replaces(known):
            return False
        self._offers[offer.key] = offer
        self._providers.add(offer.provider)
        return True

    def cheapest(self, now: float) -> list[Offer]:
        """The live ones, cheapest first."""
        return sorted((offer for offer in self._offers.values() if offer.live(now)), key=price_order)

    def offered_by(self, provider: PeerId) -> bool:
        """Whether there is anything of that provider, tombstones included."""
        return provider in self._providers

    def __contains__(self, offer: Offer) -> bool:
        """Whether some version of the offer is there."""
        return offer.key in self._offers

    def __iter__(self) -> Iterator[Offer]:
        return iter(self._offers.values())

    def __len__(self) -> int:
        return len(self._offers)
