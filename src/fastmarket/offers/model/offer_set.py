"""Offers from many sources, one version of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from fastmarket.formats.identity import PeerId
from fastmarket.offers.model.mixing import FRONT, drawn, in_fronts, price_order
from fastmarket.offers.model.named import StorerRanks
from fastmarket.offers.model.offer import Offer, OfferKey


def nothing_seen(provider: bytes) -> float:
    """The standing of every holder, for a node that has never fetched anything."""
    return 0.0


class OfferSet:
    """Keeps the highest seq of each offer. Tombstones are kept, but `in_order` leaves them out."""

    __slots__ = ("_offers", "_providers", "ranks")

    def __init__(self, offers: Iterable[Offer] = (), ranks: StorerRanks | None = None) -> None:
        self.ranks = StorerRanks() if ranks is None else ranks
        """What storers said of the offers; given to the search that finds them."""
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

    def in_order(self, now: float, standing: Callable[[bytes], float] = nothing_seen) -> list[Offer]:
        """The live offers in the order in which a buyer should look at them (`mixing`).

        `standing` of a provider (raw peer id), by what this node saw itself: positive if it delivered,
        negative if it failed. Up to `FRONT` offers: cheapest first. Of more, one in turn from four lanes:
        those that storers put in front, those of holders that delivered, again those that storers put in
        front, the cheapest. Then each `FRONT` of them is ordered by price. Offers of holders that failed
        follow all others, those that failed least first.
        """
        live = sorted((offer for offer in self._offers.values() if offer.is_live(now)), key=price_order)
        standings = {provider: standing(provider) for provider in {offer.provider.raw for offer in live}}
        good = [offer for offer in live if standings[offer.provider.raw] >= 0]
        bad = [offer for offer in live if standings[offer.provider.raw] < 0]
        bad.sort(key=lambda offer: -standings[offer.provider.raw])
        if len(good) > FRONT:
            by_key = {offer.key: offer for offer in good}
            named = [by_key[key] for key in self.ranks.in_front(FRONT, by_key)]
            proven = [offer for offer in good if standings[offer.provider.raw] > 0]
            proven.sort(key=lambda offer: -standings[offer.provider.raw])
            turns = iter(named)  # it has two turns in each round
            good = in_fronts(list(drawn((turns, proven, turns, good))))
        return good + bad

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
