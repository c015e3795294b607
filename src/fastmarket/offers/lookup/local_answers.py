"""What is known of a content without asking others: everything, where there is nobody to ask; else what a
search found a moment ago, if that is wanted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Sized

from fastmarket.config import OfferConfig
from fastmarket.offers.model.offer import Offer
from fastmarket.offers.model.offer_set import OfferSet
from fastmarket.offers.store.offer_store import OfferStore


class LocalAnswers:
    """The live offers of contents asked for lately, as they are at the moment of asking.

    What another node acknowledged to its caller (a new price, a withdrawal) has to be seen here at once, and
    an acknowledgement is by a majority of the storers: being one of them is no certainty. So only a node that
    a search would ask nobody for knows an answer without one. Whoever can do with an older answer says so:
    with `fresh_s`, what a whole search found is told again for so long from its beginning; what came here
    meanwhile counts all the same.
    """

    __slots__ = ("_found", "_found_offers", "_kept", "config", "large", "store", "table")

    def __init__(self, store: OfferStore, others: tuple[Sized, Sized], config: OfferConfig) -> None:
        """`others`: whom searches begin with, from whatever is there at the time (`Engine.askable`)."""
        self.store = store
        self.table, self.large = others
        self.config = config
        self._kept: dict[bytes, LocalAnswer] = {}
        self._found: dict[bytes, tuple[tuple[Offer, ...], float]] = {}  # and until when it is fresh
        self._found_offers = 0

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, content: bytes, now: float) -> LocalAnswer | None:
        """What is known; None: a search has to be made."""
        kept = self._kept.pop(content, None)
        if kept is None or not kept.holds(now):
            kept = self._make(content, now)
            if kept is None:
                return None
        self._kept[content] = kept
        if len(self._kept) > self.config.max_known:
            del self._kept[next(iter(self._kept))]
        return kept

    def found(self, content: bytes, offers: Sequence[Offer], begun: float) -> None:
        """A search that began then, and asked all it wanted to, brought these: every version it met,
        tombstones, too."""
        if not self.config.fresh_s:
            return
        self._forget(content)
        self._found[content] = (tuple(offers), begun + self.config.fresh_s)
        self._found_offers += len(offers)
        while len(self._found) > self.config.max_known or self._found_offers > self.config.max_fresh_offers:
            self._forget(next(iter(self._found)))

    def _make(self, content: bytes, now: float) -> LocalAnswer | None:
        if not self.table and not self.large:
            live: Iterable[Offer] = self.store.offers(content, now)
            return LocalAnswer(tuple(live), float("inf"), self, searched=False)
        offers, fresh_until = self._found.get(content, ((), 0.0))
        if now >= fresh_until:
            self._forget(content)
            return None
        offers_now = OfferSet((*offers, *self.store.held(content)))
        return LocalAnswer(tuple(offers_now.cheapest(now)), fresh_until, self, searched=True)

    def _forget(self, content: bytes) -> None:
        offers, _ = self._found.pop(content, ((), 0.0))
        self._found_offers -= len(offers)


class LocalAnswer:
    """Live offers of a content, cheapest first."""

    __slots__ = ("_searched", "_source", "_until", "_version", "offers")

    def __init__(
        self, offers: tuple[Offer, ...], until: float, source: LocalAnswers, *, searched: bool
    ) -> None:
        """`until`: unix seconds, when it is old at the latest."""
        self.offers = offers
        self._until = min((offer.not_after for offer in offers), default=until)
        self._until = min(self._until, until)
        self._source = source
        self._searched = searched
        self._version = source.store.version

    def holds(self, now: float) -> bool:
        """Whether that is still what is known. Of few steps: it stands before every answer given again."""
        source = self._source
        return (
            source.store.version == self._version
            and now < self._until
            and (self._searched or not (source.table or source.large))
        )
