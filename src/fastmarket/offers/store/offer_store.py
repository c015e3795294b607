"""The offers a node keeps for the network: bounded, ordered by price, forgotten when their time is over.

(Over 400 lines: every way in has a quick one beside it, for batches, and all of them keep the same counts.)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import groupby
from math import inf
from operator import attrgetter
from typing import Final, TypeAlias

from fastmarket.config import OfferConfig
from fastmarket.kad.records.shares import Source
from fastmarket.native.batch import SignedBatch
from fastmarket.offers.model.batch import contents, key_of
from fastmarket.offers.model.offer import MAX_ENVELOPE_BYTES, Offer, OfferKey, SignedAlone, alone
from fastmarket.offers.model.offer_set import price_order
from fastmarket.offers.store.changes import BatchChange, Change, Changes, Displaced
from fastmarket.offers.store.crowd import Crowd
from fastmarket.offers.store.held_batches import HeldBatches
from fastmarket.offers.store.store_index import StoreIndex
from fastmarket.offers.store.units import (
    PLACE_BYTES,
    Newcomer,
    Tombstone,
    Unit,
    UnitShares,
    cost_of,
    unit_of,
    unknown,
)
from fastmarket.offers.wire.messages import OFFER_OVERHEAD_BYTES, Ack, FindRequest

# A tombstone is its offer, with a mark and a larger seq.
_TOMBSTONE_EXTRA_BYTES = 16
# Of the tuple that an offer is: twice as quick to reach, for all of a batch.
_CONTENT: Final = 0
_NOT_AFTER: Final = 7
assert (Offer._fields[_CONTENT], Offer._fields[_NOT_AFTER]) == ("content", "not_after")


@dataclass(frozen=True, slots=True)
class FoundOffers:
    """Envelopes for one FIND reply, cheapest first, then tombstones; `more`: that was not all."""

    envelopes: tuple[bytes, ...]
    more: bool


_Shelf: TypeAlias = dict[OfferKey, Offer]
"""All entries of one content, where there are several."""

_NOBODY: _Shelf = {}


class OfferStore:
    """Verified offers by content.

    Bounds: offers a content, a provider and in total, bytes in total, and what may come from one sender and
    one address block. A full store takes from whoever has most (`offers.shares`), a full content likewise
    (`offers.store.crowd`): so nobody alone can keep others out. Of what is held newer versions are taken
    first of all, unless they are longer. Own offers (`own=True`) are refused by none of this and displaced by
    nobody.
    """

    def __init__(self, config: OfferConfig, changes: Changes | None = None, local: bytes = bytes(32)) -> None:
        """`changes` are told of every offer put in; `local`: our key, from which distances count."""
        self.changed: Callable[[Sequence[bytes]], None] = lambda contents: None
        """Told of contents whose offers become others, but by running out."""
        self.version = 0
        """Grows with everything that comes in or goes."""
        self._config = config
        self._changes = changes or Changes()
        # Plain dicts, no object around an offer, and none around the only one of a content: they are put in
        # and taken up again by the hundred thousand.
        self._shelves: dict[bytes, Offer | _Shelf] = {}
        self._ordered: dict[bytes, list[Offer]] = {}  # of a shelf, made when it is asked for
        self._own: set[OfferKey] = set()
        # Of an offer that was shortened, the end of what it replaced, which must not come back from a stale
        # copy. Others are held until their own end.
        self._held_until: dict[OfferKey, int] = {}
        self._index = StoreIndex()
        self._per_provider: Counter[bytes] = Counter()
        self._count = 0
        self._bytes = 0
        self._batches = HeldBatches()
        total = config.max_stored_bytes + PLACE_BYTES * config.max_offers
        block, sender = (int(total * share) for share in (config.max_block_share, config.max_sender_share))
        self._shares = UnitShares(local, block, sender)
        self._crowds: dict[bytes, Crowd] = {}  # of full contents for which something was refused since
        self._bounded: set[bytes] = set()  # providers at their bound, of whom something was refused
        # Expiry: identities by the step of time in which they end, and a heap of those steps. Unlike one heap
        # entry for each version this cannot be made to grow by replacing an offer again and again. Offers of
        # a batch that was put in as a whole are found by way of that.
        self._ends: dict[int, set[OfferKey]] = {}
        self._steps: list[int] = []

    def __len__(self) -> int:
        return self._count

    @property
    def stored_bytes(self) -> int:
        """Bytes of all signed offers, and of batches as long as one of their offers is held."""
        return self._bytes + self._batches.size

    def __iter__(self) -> Iterator[Offer]:
        for content in self._shelves:
            yield from self.held(content)

    def get(self, key: OfferKey) -> Offer | None:
        """The version held, tombstones too."""
        shelf = self._shelves.get(key[0])
        if isinstance(shelf, Offer):
            return shelf if shelf.key == key else None
        return shelf.get(key) if shelf else None

    def add(
        self,
        offer: Offer,
        now: float,
        *,
        own: bool = False,
        previous: Offer | None = None,
        source: Source | None = None,
    ) -> Ack:
        """Keeps a verified offer, if it is newer than what is held and there is room.

        `previous`: what an own one replaces; this may have ended here before. `source`: whom one of others
        came from; None: from disk, and nothing gives way to it.
        """
        put: list[Change] = []
        ack = self._take(offer, now, own, put, previous, source)
        for change in put:
            self._changes.note(change)
        return ack

    def add_batch(
        self,
        offers: Sequence[Offer],
        now: float,
        *,
        own: bool = False,
        previous: Sequence[Offer | None] = (),
        source: Source | None = None,
    ) -> list[Ack]:
        """`add` for all the offers of a batch, in its order."""
        batch = offers[0].signed
        assert isinstance(batch, SignedBatch)
        together = len(offers) == batch.count and self._end_together(offers, now)
        gone: Sequence[Offer] | None = None
        if together and self._put_new(batch, offers, own, source):
            gone = [one for one in previous if one is not None]
        fits = own or self.stored_bytes + batch.size <= self._config.max_stored_bytes
        if together and gone is None and fits:
            gone = self._put_newer(batch, offers, own, source)
        if gone is not None:
            self._changes.note(BatchChange(batch, offers, own, gone))
            return [Ack.STORED] * len(offers)
        if not fits:  # what they replace is no reason to hold all of a batch for the sake of one
            offers = [alone(offer) for offer in offers]
        put: list[Change] = []
        before = previous or [None] * len(offers)
        acks = [
            self._take(offer, now, own, put, last, source) for offer, last in zip(offers, before, strict=True)
        ]
        if fits and len(put) == batch.count and len({change.own for change in put}) == 1:
            gone = [change.replaced for change in put if change.replaced is not None]
            self._changes.note(BatchChange(batch, offers, put[0].own, gone))
        else:
            for change in put:
                self._changes.note(change)
        return acks

    def add_own(self, offers: Sequence[Offer], previous: Sequence[Offer | None], now: float) -> None:
        """`add` of own offers; in one go where all of a batch come together."""
        at = 0
        for signed, run in groupby(offers, attrgetter("signed")):
            together = list(run)
            before = previous[at : at + len(together)]
            at += len(together)
            if isinstance(signed, SignedBatch) and len(together) == signed.count:
                self.add_batch(together, now, own=True, previous=before)
            else:
                for offer, last in zip(together, before, strict=True):
                    self.add(offer, now, own=True, previous=last)

    def _take(
        self,
        offer: Offer,
        now: float,
        own: bool,
        put: list[Change],
        previous: Offer | None,
        source: Source | None,
    ) -> Ack:
        if offer.not_after <= now:
            return Ack.EXPIRED
        key = offer.key
        held = self.get(key)
        held_until = offer.not_after
        if held is not None:
            if held.seq == offer.seq and held.body == offer.body:
                if source is not None and source.sender == key[1]:
                    self._vouched(held, source)
                return Ack.STORED
            if not offer.replaces(held):
                return Ack.SUPERSEDED
            held_until = max(held_until, self._held_until.get(key, held.not_after))
            own = own or self._is_own(key, held)
            if not own and not self._may_replace(held, offer):
                return Ack.FULL
            self._replace(key, held, offer, held_until, own, source)
        elif own or self._make_room(offer, source):
            self._put(key, offer, held_until, own, source)
        else:
            return Ack.FULL
        put.append(Change(offer, own, held or previous))
        return Ack.STORED

    def _replace(
        self, key: OfferKey, held: Offer, newer: Offer, held_until: int, own: bool, source: Source | None
    ) -> None:
        crowd, before = self._crowds.get(key[0]), self._shares.source(unit_of(held))
        self._drop(key, held)
        self._put(key, newer, held_until, own, source)
        if crowd is not None and self._shares.source(unit_of(newer)) == before:
            self._crowds[key[0]] = crowd  # made again it would be the same

    def _vouched(self, held: Offer, source: Source) -> None:
        """Its holder brought it, too: it counts for him."""
        unit = unit_of(held)
        if self._shares.source(unit) not in (None, source):
            self._shares.vouched(unit, source, cost_of(held.signed))
            self._crowds.clear()

    def _end_together(self, offers: Sequence[Offer], now: float) -> bool:
        """Whether they are of different contents and end in one step of time, which lies ahead."""
        ends = {offer[_NOT_AFTER] for offer in offers}
        first, last = (int(end(ends) // self._config.expiry_step_s) for end in (min, max))
        return first == last and min(ends) > now and len({offer[_CONTENT] for offer in offers}) == len(offers)

    def _put_new(self, batch: SignedBatch, offers: Sequence[Offer], own: bool, source: Source | None) -> bool:
        """The quick way for a batch of whose contents none is known; False, and nothing put, for others."""
        count = len(offers)
        contents = [offer[_CONTENT] for offer in offers]
        provider = offers[0].provider.raw
        if not self._shelves.keys().isdisjoint(contents):
            return False
        if not own and not self._admit(batch, provider, source, b""):
            return False
        self._index.add_many(contents)
        self._per_provider[provider] += count
        self._count += count
        self._put_whole(batch, offers, own, source)
        return True

    def _put_newer(
        self, batch: SignedBatch, offers: Sequence[Offer], own: bool, source: Source | None
    ) -> list[Offer] | None:
        """The quick way for a batch each of whose offers replaces the only one of its content, which it
        outlives; those, or None, and nothing done, for others."""
        replaced: list[Offer] = []
        for offer in offers:
            held = self._shelves.get(offer.content)
            if not isinstance(held, Offer) or held.not_after > offer.not_after or offer.seq <= held.seq:
                return None
            key = offer.key
            if held.key != key or key in self._held_until or self._is_own(key, held) != own:
                return None
            replaced.append(held)
        for held in replaced:
            self._release(held.key, held, held.not_after)
        self._put_whole(batch, offers, own, source)
        return replaced

    def _put_whole(
        self, batch: SignedBatch, offers: Sequence[Offer], own: bool, source: Source | None
    ) -> None:
        contents = [offer[_CONTENT] for offer in offers]
        self._shelves.update(zip(contents, offers, strict=True))
        self._become_others(contents)
        step = int(offers[0].not_after // self._config.expiry_step_s)
        self._batches.put_whole(batch, step, own)
        if not own:
            self._shares.enter(batch, source or unknown(offers[0].provider.raw), cost_of(batch))
        self._ending(step)

    def find(self, request: FindRequest, now: float, max_bytes: int) -> FoundOffers:
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
            envelope = offer.envelope
            size += len(envelope) + OFFER_OVERHEAD_BYTES
            if len(envelopes) >= request.limit or size > max_bytes:
                return FoundOffers(tuple(envelopes), True)
            envelopes.append(envelope)
        return FoundOffers(tuple(envelopes), False)

    def offers(self, content: bytes, now: float) -> Iterator[Offer]:
        """The live offers for a content, cheapest first."""
        yield from (offer for offer in self._in_order(content) if offer.live(now))

    def until(self, content: bytes, now: float) -> float:
        """When the first of the entries that hold runs out."""
        ends = (offer.not_after for offer in self._in_order(content) if offer.not_after > now)
        return min(ends, default=inf)

    def contents_under(self, prefix: int) -> list[bytes]:
        """Contents held whose keys begin with a prefix of `offers.store.store_index.PREFIX_BITS` bits, in
        order."""
        return self._index.under(prefix)

    def held(self, content: bytes) -> Iterator[Offer]:
        """Every entry for a content, tombstones and expired ones included."""
        shelf = self._shelves.get(content, _NOBODY)
        if isinstance(shelf, Offer):
            yield shelf
        else:
            yield from shelf.values()

    def next_timer(self) -> float | None:
        """When something expires."""
        return (self._steps[0] + 1) * self._config.expiry_step_s if self._steps else None

    def handle_timer(self, now: float) -> int:
        """Forgets what is over; how many offers that were."""
        before = self._count
        while (due := self.next_timer()) is not None and due <= now:
            step = heappop(self._steps)
            for key in self._ends.pop(step):
                held = self.get(key)
                assert held is not None
                self._drop(key, held)
            for batch in self._batches.ending(step):
                for one in self._held_of(batch):
                    self._drop(one.key, one)
        return before - self._count

    # --- room

    def choosy(self, source: Source) -> bool:
        """Whether `refuses` may say so of anything that comes from there now."""
        config = self._config
        return (
            self._count >= config.max_offers
            or self.stored_bytes + MAX_ENVELOPE_BYTES > config.max_stored_bytes
            or bool(self._crowds or self._bounded)
            or self._shares.over(source, MAX_ENVELOPE_BYTES)
        )

    def refuses(self, source: Source, key: OfferKey, size: int) -> bool:
        """Whether there would be no room for an offer of so many bytes, if it is what it says; so that one
        that has to be refused costs no signature. Nothing gives way yet."""
        if self.get(key) is not None:
            return False  # a newer version, perhaps
        content, provider, _ = key
        if provider in self._bounded:
            return True
        crowd = self._crowd(content)
        if crowd is not None:
            return not crowd.gives(source, provider)
        newcomer = Newcomer(source, provider, PLACE_BYTES + size, self._shares.distance(content))
        return self._lacks(newcomer, 1, size)

    def refuses_batch(self, source: Source, batch: SignedBatch) -> bool:
        """As `refuses`, of all of a batch that is as it says."""
        _, provider, _ = key_of(batch.body(0))
        if provider not in self._bounded:
            newcomer = Newcomer(source, provider, cost_of(batch), self._shares.batch_distance(batch))
            if not all(self._lacks(newcomer, count, batch.size) for count in (batch.count, 1)):
                return False
        return not any(content in self._shelves for content in contents(batch))

    def _lacks(self, newcomer: Newcomer, count: int, size: int) -> bool:
        """Whether there is no room for so much, and nothing that would give way."""
        full = self._full(count, size)
        if not full and not self._shares.over(newcomer.source, newcomer.cost):
            return False
        return self._shares.gives_way(newcomer, full) is None

    def _full(self, count: int, size: int) -> bool:
        config = self._config
        return self._count + count > config.max_offers or self.stored_bytes + size > config.max_stored_bytes

    def _admit(
        self, signed: SignedAlone | SignedBatch, provider: bytes, source: Source | None, content: bytes
    ) -> bool:
        """Makes room for an offer for that content, or (none) for all of a batch; False: there is none."""
        shares = self._shares
        count = 1 if content or not isinstance(signed, SignedBatch) else signed.count
        far = shares.of_unit(signed, content)
        if not self._provider_may(provider, count):
            return False
        size = self._batches.more(signed)
        cost = cost_of(signed) if size else 0  # as it counts: the first offer of a batch for all of them
        while True:
            full = self._full(count, size)
            if not full and (source is None or not shares.over(source, cost)):
                return True
            if source is None:
                return False
            victim = shares.gives_way(Newcomer(source, provider, cost, far), full)
            if victim is None or victim is signed:
                return False
            self._displace(victim)

    def _provider_may(self, provider: bytes, count: int) -> bool:
        """Whether its bound lets it have so many more."""
        held, most = self._per_provider[provider], self._config.max_offers_per_provider
        if held >= most:
            self._bounded.add(provider)
        return held + count <= most

    def _displace(self, unit: Unit) -> None:
        if isinstance(unit, SignedBatch):
            gone = self._held_of(unit)
        else:
            held = self.get(unit.key if isinstance(unit, Tombstone) else unit)
            gone = [held] if held is not None else []
        assert gone
        for one in gone:
            self._drop(one.key, one)
        self._changes.note(Displaced(gone))

    def _held_of(self, batch: SignedBatch) -> list[Offer]:
        return [one for content in contents(batch) for one in self.held(content) if one.signed is batch]

    def _crowd(self, content: bytes) -> Crowd | None:
        """The offers of a content, if those are as many as may be."""
        shelf = self._shelves.get(content, _NOBODY)
        if (1 if isinstance(shelf, Offer) else len(shelf)) < self._config.max_offers_per_content:
            return None
        crowd = self._crowds.get(content)
        if crowd is None:
            crowd = self._crowds[content] = Crowd(self._of_others(content))
        return crowd

    def _of_others(self, content: bytes) -> Iterator[tuple[Offer, Source]]:
        """Offers for a content that are not our own, and whom they came from."""
        for one in self.held(content):
            if not self._is_own(one.key, one):
                yield one, self._shares.source(unit_of(one)) or unknown(one.provider.raw)

    def _is_own(self, key: OfferKey, held: Offer) -> bool:
        return key in self._own or self._batches.is_own(held.signed)

    def _may_replace(self, held: Offer, newer: Offer) -> bool:
        """Whether there are the bytes. A version no longer than the held one is taken beyond the bound, up to
        twice it: where that was one of a batch, the batch stays for the sake of the others."""
        bound = self._config.max_stored_bytes
        beyond = (
            self.stored_bytes - bound + self._batches.more(newer.signed) - self._batches.less(held.signed)
        )
        extra = _TOMBSTONE_EXTRA_BYTES if newer.withdrawn else 0
        return beyond <= 0 or (newer.signed.size <= len(held.envelope) + extra and beyond <= bound)

    def _make_room(self, offer: Offer, source: Source | None) -> bool:
        provider = offer.provider.raw
        if not self._provider_may(provider, 1):
            return False
        crowd = self._crowd(offer.content)
        if crowd is not None:
            displaced = crowd.displaced(source or unknown(provider), provider, self._of_others(offer.content))
            if displaced is None:
                return False
            self._drop(displaced.key, displaced)
            self._changes.note(Displaced([displaced]))
        return self._admit(offer.signed, provider, source, offer.content)

    def _in_order(self, content: bytes) -> list[Offer]:
        """All for a content: offers, cheapest first, then tombstones."""
        shelf = self._shelves.get(content)
        if shelf is None:
            return []
        if isinstance(shelf, Offer):
            return [shelf]
        ordered = self._ordered.get(content)
        if ordered is None:
            ordered = sorted(shelf.values(), key=lambda offer: (offer.withdrawn, price_order(offer)))
            self._ordered[content] = ordered
        return ordered

    def _put(self, key: OfferKey, offer: Offer, held_until: int, own: bool, source: Source | None) -> None:
        content, provider, _ = key
        shelf = self._shelves.get(content)
        if shelf is None:
            self._shelves[content] = offer
            self._index.add(content)
        elif isinstance(shelf, Offer):
            self._shelves[content] = {shelf.key: shelf, key: offer}
        else:
            shelf[key] = offer
            self._ordered.pop(content, None)
        self._become_others((content,))
        if own:
            self._own.add(key)
        if held_until != offer.not_after:
            self._held_until[key] = held_until
        self._per_provider[provider] += 1
        self._count += 1
        signed = offer.signed
        if isinstance(signed, SignedBatch):
            if self._batches.put_one(signed) and not own:
                self._shares.enter(signed, source or unknown(provider), cost_of(signed))
        else:
            self._bytes += signed.size
            if not own:
                self._shares.enter(unit_of(offer), source or unknown(provider), cost_of(signed))
        self._ending(int(held_until // self._config.expiry_step_s)).add(key)

    def _become_others(self, contents: Sequence[bytes]) -> None:
        """Called by `_put_whole`, `_put` and `_drop`: nowhere else a content gets other offers."""
        self.version += 1
        if self._crowds:
            for content in contents:
                self._crowds.pop(content, None)
        self.changed(contents)

    def _ending(self, step: int) -> set[OfferKey]:
        """What ends in a step of time."""
        ending = self._ends.get(step)
        if ending is None:
            ending = self._ends[step] = set()
            heappush(self._steps, step)
        return ending

    def _drop(self, key: OfferKey, offer: Offer) -> None:
        content, provider, _ = key
        shelf = self._shelves[content]
        if isinstance(shelf, Offer) or len(shelf) == 1:
            del self._shelves[content]
            self._index.discard(content)
        else:
            del shelf[key]
        self._ordered.pop(content, None)
        self._become_others((content,))
        self._per_provider[provider] -= 1
        self._bounded.discard(provider)
        if not self._per_provider[provider]:
            del self._per_provider[provider]
        self._count -= 1
        self._release(key, offer, self._held_until.pop(key, offer.not_after))

    def _release(self, key: OfferKey, offer: Offer, held_until: float) -> None:
        """The bytes of one that is held no longer, and its place among those that end."""
        self._own.discard(key)
        signed = offer.signed
        if isinstance(signed, SignedBatch):
            if self._batches.drop_one(signed):
                self._shares.leave(signed, cost_of(signed))
        else:
            self._bytes -= signed.size
            self._shares.leave(unit_of(offer), cost_of(signed))
        ending = self._ends.get(int(held_until // self._config.expiry_step_s))
        if ending is not None:
            ending.discard(key)
