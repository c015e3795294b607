"""What can be answered out of the store with certainty: the offers of a node that has nobody to ask."""

from __future__ import annotations

from collections.abc import Sized

from fastmarket.offers.model import Offer
from fastmarket.offers.store import OfferStore


class KnownOffers:
    """The live offers of contents asked for lately, as they are at the moment of asking.

    What another node acknowledged to its caller (a new price, a withdrawal) has to be seen here at once, and
    an acknowledgement is by a majority of the storers: being one of them is no certainty. So only a node that
    a search would ask nobody for knows an answer without one.
    """

    __slots__ = ("_kept", "_max_contents", "large", "store", "table")

    def __init__(self, store: OfferStore, others: tuple[Sized, Sized], max_contents: int) -> None:
        """`others`: whom searches begin with, from whatever is there at the time (`Engine.askable`)."""
        self.store = store
        self.table, self.large = others
        self._max_contents = max_contents
        self._kept: dict[bytes, Known] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, content: bytes, now: float) -> Known | None:
        """What a search would find; None: it has to be made."""
        if self.table or self.large:
            return None
        kept = self._kept.pop(content, None)
        if kept is None or not kept.holds(now):
            live = tuple(self.store.offers(content, now))
            kept = Known(live, min((offer.not_after for offer in live), default=float("inf")), self)
        self._kept[content] = kept
        if len(self._kept) > self._max_contents:
            del self._kept[next(iter(self._kept))]
        return kept


class Known:
    """Live offers of a content, cheapest first."""

    __slots__ = ("_changes", "_source", "_until", "offers")

    def __init__(self, offers: tuple[Offer, ...], until: float, source: KnownOffers) -> None:
        """`until`: unix seconds, when the first of them is over."""
        self.offers = offers
        self._until = until
        self._source = source
        self._changes = source.store.changes

    def holds(self, now: float) -> bool:
        """Whether that is still all there is. Of few steps: it stands before every answer given again."""
        source = self._source
        return (
            source.store.changes == self._changes
            and now < self._until
            and not source.table
            and not source.large
        )
