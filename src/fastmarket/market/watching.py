"""What changed about the holders of a content from one search to the next."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fastmarket.offers.model.offer import Offer, OfferKey

# A search may miss a holder whose storers were slow this once.
MISSES_TO_BE_GONE = 2


@dataclass(frozen=True, slots=True)
class Seen:
    """`present`: new, or in a new version, cheapest first; `gone`: as they were told last."""

    present: tuple[Offer, ...]
    gone: tuple[Offer, ...]


class Watching:
    """One content, and what its watcher was told so far."""

    def __init__(self, content: bytes, max_price: int | None = None) -> None:
        self.content = content
        self._max_price = max_price
        self._told: dict[OfferKey, Offer] = {}
        self._missed: dict[OfferKey, int] = {}

    def saw(self, offers: Iterable[Offer]) -> Seen:
        """The live offers a search found, cheapest first."""
        found = {offer.key: offer for offer in offers}
        gone = []
        for key, told in tuple(self._told.items()):
            offer = found.get(key)
            misses = 0 if offer is not None else self._missed.get(key, 0) + 1
            if misses >= MISSES_TO_BE_GONE or (offer is not None and not self._wanted(offer)):
                gone.append(told)
                del self._told[key]
                self._missed.pop(key, None)
            elif misses:
                self._missed[key] = misses
            else:
                self._missed.pop(key, None)
        present = [offer for offer in found.values() if self._wanted(offer) and self._is_new(offer)]
        self._told.update((offer.key, offer) for offer in present)
        return Seen(tuple(present), tuple(gone))

    def _wanted(self, offer: Offer) -> bool:
        return self._max_price is None or offer.price_per_mb <= self._max_price

    def _is_new(self, offer: Offer) -> bool:
        told = self._told.get(offer.key)
        return told is None or offer.replaces(told)
