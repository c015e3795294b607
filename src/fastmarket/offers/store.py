"""The offers a node keeps for the network: bounded, ordered by price, forgotten when their time is over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from heapq import heappop, heappush
from math import inf
from typing import TypeAlias

from fastmarket.config import OfferConfig
from fastmarket.offers.messages import OFFER_OVERHEAD_BYTES, Ack, FindRequest
from fastmarket.offers.model import Offer, OfferKey
from fastmarket.offers.offer_set import price_order
from fastmarket.offers.store_index import StoreIndex


@dataclass(frozen=True, slots=True)
class Found:
    """Envelopes for one FIND reply, cheapest first, then tombstones; `more`: that was not all."""

    envelopes: tuple[bytes, ...]
    more: bool


_Shelf: TypeAlias = dict[OfferKey, Offer]
"""All entries of one content."""


class OfferStore:
    """Verified offers by content.

    Bounds: offers a content, a provider and in total, bytes in total. A full content gives the place of an
    offer (the dearest) of the provider with most offers for it to a provider with at least two fewer; so
    nobody alone can keep others out, and a crowd of equals keeps first come, first served. The other bounds
    refuse. Own offers (`own=True`) are refused by none of this and displaced by nobody.
    """

    def __init__(self, config: OfferConfig) -> None:
        self.noted: Callable[[Offer, bool], None] = lambda offer, own: None
        """Told of every offer put in and whether it is an own one."""
        self.changed: Callable[[bytes], None] = lambda content: None
        """Told of every content whose offers become others, but by running out."""
        self._config = config
        # Plain dicts, no object around an offer: they are put in and taken up again by the hundred thousand.
        self._shelves: dict[bytes, _Shelf] = {}
        self._ordered: dict[bytes, list[Offer]] = {}  # of a shelf, made when it is asked for
        self._own: set[OfferKey] = set()
        # Of an offer that was shortened, the end of what it replaced, which must not come back from a stale
        # copy. Others are held until their own end.
        self._held_until: dict[OfferKey, int] = {}
        self._index = StoreIndex()
        self._per_provider: Counter[bytes] = Counter()
        self._count = 0
        self._bytes = 0
        # Expiry: identities by the step of time in which they end, and a heap of those steps. Unlike one heap
        # entry for each version this cannot be made to grow by replacing an offer again and again.
        self._ends: dict[int, set[OfferKey]] = {}
        self._steps: list[int] = []

    def __len__(self) -> int:
        return self._count

    @property
    def stored_bytes(self) -> int:
        """Bytes of all envelopes."""
        return self._bytes

    def __iter__(self) -> Iterator[Offer]:
        for shelf in self._shelves.values():
            yield from shelf.values()

    def get(self, key: OfferKey) -> Offer | None:
        """The version held, tombstones too."""
        shelf = self._shelves.get(key[0])
        return shelf.get(key) if shelf else None

    def add(self, offer: Offer, now: float, *, own: bool = False) -> Ack:
        """Keeps a verified offer, if it is newer than what is held and there is room."""
        if offer.not_after <= now:
            return Ack.EXPIRED
        key = offer.key
        shelf = self._shelves.get(offer.content)
        held = shelf.get(key) if shelf else None
        held_until = offer.not_after
        if held is not None:
            if held.seq == offer.seq and held.body == offer.body:
                return Ack.STORED
            if not offer.replaces(held):
                return Ack.SUPERSEDED
            held_until = max(held_until, self._held_until.get(key, held.not_after))
            own = own or key in self._own
            self._drop(key)
        elif not own and not self._make_room(offer, shelf):
            return Ack.FULL
        self._put(key, offer, held_until, own)
        return Ack.STORED

    def find(self, request: FindRequest, now: float, max_bytes: int) -> Found:
        """The cheapest live offers that the request wants and `max_bytes` can hold, then the tombstones.

        Those whatever their price: a storer that slept through a withdrawal still shows the offer, and who
        asks both shall know better.
        """
        envelopes: list[bytes] = []
        size, skipped = 0, 0
        most = request.max_price_per_mb
        for offer in self._in_order(request.content):
            dear = most is not None and offer.price_per_mb > most and not offer.withdrawn
            if dear or offer.not_after <= now:
                continue
            if skipped < request.skip:
                skipped += 1
                continue
            size += len(offer.envelope) + OFFER_OVERHEAD_BYTES
            if len(envelopes) >= request.limit or size > max_bytes:
                return Found(tuple(envelopes), True)
            envelopes.append(offer.envelope)
        return Found(tuple(envelopes), False)

    def offers(self, content: bytes, now: float) -> Iterator[Offer]:
        """The live offers for a content, cheapest first."""
        yield from (offer for offer in self._in_order(content) if offer.live(now))

    def until(self, content: bytes, now: float) -> float:
        """When the first of the entries that hold runs out."""
        ends = (offer.not_after for offer in self._in_order(content) if offer.not_after > now)
        return min(ends, default=inf)

    def contents_under(self, prefix: int) -> list[bytes]:
        """Contents held whose keys begin with a prefix of `offers.store_index.PREFIX_BITS` bits, in order."""
        return self._index.under(prefix)

    def held(self, content: bytes) -> Iterator[Offer]:
        """Every entry for a content, tombstones and expired ones included."""
        yield from self._shelves.get(content, {}).values()

    def disown(self, key: OfferKey) -> None:
        """From now on the offer is one like any other."""
        self._own.discard(key)

    def next_timer(self) -> float | None:
        """When something expires."""
        return (self._steps[0] + 1) * self._config.expiry_step_s if self._steps else None

    def handle_timer(self, now: float) -> int:
        """Forgets what is over; how many offers that were."""
        dropped = 0
        while (due := self.next_timer()) is not None and due <= now:
            step = heappop(self._steps)
            for key in tuple(self._ends[step]):
                self._drop(key)
                dropped += 1
            del self._ends[step]
        return dropped

    def _make_room(self, offer: Offer, shelf: _Shelf | None) -> bool:
        config = self._config
        if (
            self._count >= config.max_offers
            or self._bytes + len(offer.envelope) > config.max_stored_bytes
            or self._per_provider[offer.provider.raw] >= config.max_offers_per_provider
        ):
            return False
        if shelf is None or len(shelf) < config.max_offers_per_content:
            return True
        displaced = _displaceable(shelf, self._own, offer.provider.raw)
        if displaced is None:
            return False
        self._drop(displaced)
        return True

    def _in_order(self, content: bytes) -> list[Offer]:
        """All for a content: offers, cheapest first, then tombstones."""
        ordered = self._ordered.get(content)
        if ordered is None:
            shelf = self._shelves.get(content)
            if shelf is None:
                return []
            ordered = sorted(shelf.values(), key=lambda offer: (offer.withdrawn, price_order(offer)))
            self._ordered[content] = ordered
        return ordered

    def _put(self, key: OfferKey, offer: Offer, held_until: int, own: bool) -> None:
        content, provider, _ = key
        shelf = self._shelves.get(content)
        if shelf is None:
            self._shelves[content] = {key: offer}
            self._index.add(content)
        else:
            shelf[key] = offer
            self._ordered.pop(content, None)
        if own:
            self._own.add(key)
        if held_until != offer.not_after:
            self._held_until[key] = held_until
        self._per_provider[provider] += 1
        self._count += 1
        self._bytes += len(offer.envelope)
        step = int(held_until // self._config.expiry_step_s)
        ending = self._ends.get(step)
        if ending is None:
            ending = self._ends[step] = set()
            heappush(self._steps, step)
        ending.add(key)
        self.changed(content)
        self.noted(offer, own)

    def _drop(self, key: OfferKey) -> None:
        content, provider, _ = key
        shelf = self._shelves[content]
        offer = shelf.pop(key)
        self._ordered.pop(content, None)
        if not shelf:
            del self._shelves[content]
            self._index.discard(content)
        self._own.discard(key)
        self.changed(content)
        self._per_provider[provider] -= 1
        if not self._per_provider[provider]:
            del self._per_provider[provider]
        self._count -= 1
        self._bytes -= len(offer.envelope)
        held_until = self._held_until.pop(key, offer.not_after)
        self._ends[int(held_until // self._config.expiry_step_s)].discard(key)


def _displaceable(shelf: _Shelf, own: Collection[OfferKey], newcomer: bytes) -> OfferKey | None:
    """The dearest offer of the provider with most, if the newcomer's provider has at least two fewer."""
    others = [offer for key, offer in shelf.items() if key not in own]
    held = Counter(offer.provider.raw for offer in others)
    if not held:
        return None
    greediest, most = max(held.items(), key=lambda item: (item[1], item[0]))
    if most < held[newcomer] + 2:
        return None
    return max((offer for offer in others if offer.provider.raw == greediest), key=price_order).key
