"""Offers that are known without a lookup: all, if there are no peers to ask; else what a recent lookup found,
if that is configured."""

from __future__ import annotations

from collections.abc import Sequence, Sized

from fastmarket.bounded_map import BoundedMap, Eviction
from fastmarket.config import OfferConfig
from fastmarket.offers.model.mixing import in_fronts
from fastmarket.offers.model.offer import Offer
from fastmarket.offers.model.offer_set import OfferSet
from fastmarket.offers.store.offer_store import OfferStore


class LocalAnswers:
    """The live offers of contents that were requested recently, as they are at each request.

    What another node acknowledged to its caller (a new price, a withdrawal) has to be visible here at once.
    An acknowledgement is by a majority of the storers, which need not include this node. So a node knows an
    answer without a lookup only if a lookup would have no peer to ask. With `fresh_s` the results of a
    complete lookup are served for so long from its start, updated by what this node stores meanwhile.
    """

    __slots__ = ("_found", "_kept", "config", "large", "store", "table")

    def __init__(self, store: OfferStore, others: tuple[Sized, Sized], config: OfferConfig) -> None:
        """`others`: the peers that lookups start with, as they are at any time (`Engine.seeds`)."""
        self.store = store
        self.table, self.large = others
        self.config = config
        self._kept: BoundedMap[bytes, LocalAnswer] = BoundedMap(
            config.max_known, eviction=Eviction.LEAST_RECENTLY_USED
        )
        # With the time until which it is fresh; weighed in offers.
        self._found: BoundedMap[bytes, tuple[tuple[Offer, ...], float]] = BoundedMap(
            config.max_known, max_weight=config.max_fresh_offers
        )

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, content: bytes, now: float) -> LocalAnswer | None:
        """The known answer; None: a lookup is needed."""
        kept = self._kept.get(content)
        if kept is not None and kept.is_current(now):
            return kept
        kept = self._make(content, now)
        if kept is None:
            self._kept.pop(content)
        else:
            self._kept.put(content, kept)
        return kept

    def on_found(self, content: bytes, offers: Sequence[Offer], begun: float) -> None:
        """A complete lookup that started at `begun` found these: the live offers in order, then every other
        version it met, tombstones included."""
        if self.config.fresh_s:
            self._found.put(content, (tuple(offers), begun + self.config.fresh_s), len(offers))

    def _make(self, content: bytes, now: float) -> LocalAnswer | None:
        if not self.table and not self.large:
            live = in_fronts(list(self.store.offers(content, now)))
            return LocalAnswer(tuple(live), float("inf"), self, searched=False)
        offers, fresh_until = self._found.peek(content) or ((), 0.0)
        if now >= fresh_until:
            self._found.pop(content)
            return None
        offers_now = OfferSet((*offers, *self.store.held(content)))
        offers_now.ranks.on_answer(None, (offer.key for offer in offers))
        return LocalAnswer(tuple(offers_now.in_order(now)), fresh_until, self, searched=True)


class LocalAnswer:
    """Live offers of a content, in the order of `OfferSet.in_order`."""

    __slots__ = ("_searched", "_source", "_until", "_version", "offers")

    def __init__(
        self, offers: tuple[Offer, ...], until: float, source: LocalAnswers, *, searched: bool
    ) -> None:
        """`until`: unix seconds, when the answer expires at the latest."""
        self.offers = offers
        self._until = min((offer.not_after for offer in offers), default=until)
        self._until = min(self._until, until)
        self._source = source
        self._searched = searched
        self._version = source.store.version

    def is_current(self, now: float) -> bool:
        """Whether this is still the answer. Cheap: it is called before each cached answer is served."""
        source = self._source
        return (
            source.store.version == self._version
            and now < self._until
            and (self._searched or not (source.table or source.large))
        )
