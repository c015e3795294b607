"""The offers a node keeps for the network: bounded, ordered by price, forgotten when their time is over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from heapq import heappop, heappush

from fastmarket.config import OfferConfig
from fastmarket.offers.messages import OFFER_OVERHEAD_BYTES, Ack, FindRequest
from fastmarket.offers.model import Offer, OfferKey
from fastmarket.offers.offer_set import price_order
from fastmarket.offers.store_index import StoreIndex


@dataclass(slots=True)
class _Entry:
    """`held_until` outlives a shortened offer: what it replaced must not come back from a stale copy."""

    offer: Offer
    held_until: int
    own: bool


@dataclass(frozen=True, slots=True)
class Found:
    """Envelopes for one FIND reply, cheapest first, then tombstones; `more`: that was not all."""

    envelopes: tuple[bytes, ...]
    more: bool


class _Shelf:
    """All entries of one content, and their order, made when it is asked for."""

    __slots__ = ("entries", "ordered")

    def __init__(self) -> None:
        self.entries: dict[OfferKey, _Entry] = {}
        self.ordered: list[Offer] | None = None

    def in_order(self) -> list[Offer]:
        """Offers, cheapest first, then tombstones."""
        if self.ordered is None:
            held = (entry.offer for entry in self.entries.values())
            self.ordered = sorted(held, key=lambda offer: (offer.withdrawn, price_order(offer)))
        return self.ordered


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
        self._config = config
        self._shelves: dict[bytes, _Shelf] = {}
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
            for entry in shelf.entries.values():
                yield entry.offer

    def get(self, key: OfferKey) -> Offer | None:
        """The version held, tombstones too."""
        shelf = self._shelves.get(key[0])
        entry = shelf.entries.get(key) if shelf else None
        return entry.offer if entry else None

    def add(self, offer: Offer, now: float, *, own: bool = False) -> Ack:
        """Keeps a verified offer, if it is newer than what is held and there is room."""
        if offer.not_after <= now:
            return Ack.EXPIRED
        key = offer.key
        shelf = self._shelves.get(offer.content)
        held = shelf.entries.get(key) if shelf else None
        if held is not None:
            if held.offer.seq == offer.seq and held.offer.body == offer.body:
                return Ack.STORED
            if not offer.replaces(held.offer):
                return Ack.SUPERSEDED
        elif not own and not self._make_room(offer, shelf):
            return Ack.FULL
        held_until = offer.not_after
        if held is not None:
            self._drop(key)
            held_until, own = max(held_until, held.held_until), own or held.own
        self._put(key, _Entry(offer, held_until, own))
        return Ack.STORED

    def find(self, request: FindRequest, now: float, max_bytes: int) -> Found:
        """The cheapest live offers that the request wants and `max_bytes` can hold, then the tombstones.

        Those whatever their price: a storer that slept through a withdrawal still shows the offer, and who
        asks both shall know better.
        """
        envelopes: list[bytes] = []
        size, skipped = 0, 0
        shelf, most = self._shelves.get(request.content), request.max_price_per_mb
        for offer in shelf.in_order() if shelf is not None else ():
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
        shelf = self._shelves.get(content)
        if shelf is not None:
            yield from (offer for offer in shelf.in_order() if offer.live(now))

    def contents_under(self, prefix: int) -> list[bytes]:
        """Contents held whose keys begin with a prefix of `offers.store_index.PREFIX_BITS` bits, in order."""
        return self._index.under(prefix)

    def held(self, content: bytes) -> Iterator[Offer]:
        """Every entry for a content, tombstones and expired ones included."""
        shelf = self._shelves.get(content)
        if shelf is not None:
            yield from (entry.offer for entry in shelf.entries.values())

    def disown(self, key: OfferKey) -> None:
        """From now on the offer is one like any other."""
        shelf = self._shelves.get(key[0])
        entry = shelf.entries.get(key) if shelf else None
        if entry is not None:
            entry.own = False

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
        if shelf is None or len(shelf.entries) < config.max_offers_per_content:
            return True
        displaced = _displaceable(shelf, offer.provider.raw)
        if displaced is None:
            return False
        self._drop(displaced)
        return True

    def _put(self, key: OfferKey, entry: _Entry) -> None:
        offer = entry.offer
        content, provider, _ = key
        shelf = self._shelves.get(content)
        if shelf is None:
            shelf = self._shelves[content] = _Shelf()
            self._index.add(content)
        shelf.entries[key] = entry
        shelf.ordered = None
        self._per_provider[provider] += 1
        self._count += 1
        self._bytes += len(offer.envelope)
        step = self._step(entry)
        ending = self._ends.get(step)
        if ending is None:
            ending = self._ends[step] = set()
            heappush(self._steps, step)
        ending.add(key)
        self.noted(offer, entry.own)

    def _drop(self, key: OfferKey) -> None:
        shelf = self._shelves[key[0]]
        entry = shelf.entries.pop(key)
        shelf.ordered = None
        if not shelf.entries:
            del self._shelves[key[0]]
            self._index.discard(key[0])
        provider = entry.offer.provider.raw
        self._per_provider[provider] -= 1
        if not self._per_provider[provider]:
            del self._per_provider[provider]
        self._count -= 1
        self._bytes -= len(entry.offer.envelope)
        self._ends[self._step(entry)].discard(key)

    def _step(self, entry: _Entry) -> int:
        return int(entry.held_until // self._config.expiry_step_s)


def _displaceable(shelf: _Shelf, newcomer: bytes) -> OfferKey | None:
    """The dearest offer of the provider with most, if the newcomer's provider has at least two fewer."""
    held: Counter[bytes] = Counter()
    for entry in shelf.entries.values():
        if not entry.own:
            held[entry.offer.provider.raw] += 1
    if not held:
        return None
    greediest, most = max(held.items(), key=lambda item: (item[1], item[0]))
    if most < held[newcomer] + 2:
        return None
    candidates = (e.offer for e in shelf.entries.values() if not e.own and e.offer.provider.raw == greediest)
    return max(candidates, key=price_order).key
