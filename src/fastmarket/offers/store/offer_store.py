"""The offers a node keeps for the network: bounded, ordered by price, dropped when they have expired.

Over 400 lines: what is taken, refused and displaced is one policy over one set of offers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from fastmarket.config import OfferConfig
from fastmarket.formats.identity import PeerId
from fastmarket.kad.records.shares import NEARBY, Source, restored
from fastmarket.kad.wire.response_cache import ResponseCaches
from fastmarket.native.batch import SignedBatch
from fastmarket.offers.model.batch import contents, key_of
from fastmarket.offers.model.offer import Offer, OfferKey, SignedAlone, alone
from fastmarket.offers.store.budget import StoreBudget
from fastmarket.offers.store.changes import BatchChange, Change, Changes, Displaced
from fastmarket.offers.store.crowd import Crowd
from fastmarket.offers.store.expiry import ExpirySchedule
from fastmarket.offers.store.find import FoundOffers, find
from fastmarket.offers.store.shelves import Shelves
from fastmarket.offers.store.units import (
    PLACE_BYTES,
    IncomingUnit,
    Tombstone,
    Unit,
    cost_of,
    unit_of,
)
from fastmarket.offers.wire.messages import Ack, FindRequest

# Fields of an offer by index, which is twice as fast, for all of a batch.
_CONTENT: Final = 0
_NOT_AFTER: Final = 7
assert (Offer._fields[_CONTENT], Offer._fields[_NOT_AFTER]) == ("content", "not_after")


class OfferStore:
    """Verified offers by content.

    Bounded are the offers of a content, of a provider and in total, the bytes in total, and the shares of one
    sender and of one address block. A full store takes from the party that has most (`kad.records.shares`),
    and so does a full content (`offers.store.crowd`): no party keeps others out. A newer version of a
    held offer needs no room, unless it is longer. Own offers (`own=True`) are neither refused nor displaced.
    """

    __slots__ = (
        "_budget",
        "_caches",
        "_config",
        "_crowds",
        "_own",
        "_shelves",
        "changes",
        "expiry",
        "version",
    )

    def __init__(
        self,
        config: OfferConfig,
        changes: Changes | None = None,
        local: bytes = bytes(32),
        caches: ResponseCaches | None = None,
    ) -> None:
        """`changes` collects every offer that is put; distances are measured from `local`, our key; `caches`
        are told which contents get other offers, but not of expiry."""
        self._caches = ResponseCaches() if caches is None else caches
        self.version = 0
        """Goes up with every offer that is put or dropped."""
        self._config = config
        self.changes = Changes() if changes is None else changes
        self._budget = StoreBudget(config, local)
        self._shelves = Shelves(self._block_of)
        self.expiry = ExpirySchedule(config.expiry_step_s)
        self._own: set[OfferKey] = set()
        self._crowds: dict[bytes, Crowd] = {}  # contents that are full, or were and are not half empty

    def __len__(self) -> int:
        return self._budget.count

    @property
    def offer_count(self) -> int:
        """Offers held; `len` counts tombstones as well."""
        return self._budget.count - self._shelves.tombstone_count

    @property
    def stored_bytes(self) -> int:
        """Bytes of all signed offers, and of batches as long as one of their offers is held."""
        return self._budget.stored_bytes

    def __iter__(self) -> Iterator[Offer]:
        return iter(self._shelves)

    def get(self, key: OfferKey) -> Offer | None:
        """The version held, tombstones included."""
        return self._shelves.get(key)

    def add(
        self,
        offer: Offer,
        now: float,
        *,
        own: bool = False,
        previous: Offer | None = None,
        source: Source | None = None,
    ) -> Ack:
        """Stores a verified offer, if it is newer than the held version and there is room.

        `previous`: what an own offer replaces, which may have expired here. `source`: where another's
        offer came from; None: from disk, and nothing is evicted for it.
        """
        put: list[Change] = []
        ack = self._take(offer, now, own, put, previous, source)
        for change in put:
            self.changes.note(change)
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
        """Stores all the offers of a batch, in its order, as `add` does."""
        batch = offers[0].signed
        assert isinstance(batch, SignedBatch)
        together = len(offers) == batch.count and self._end_together(offers, now)
        gone: Sequence[Offer] | None = None
        if together and self._put_new(batch, offers, own, source):
            gone = [one for one in previous if one is not None]
        fits = own or self._budget.fits(batch)
        if together and gone is None and fits:
            gone = self._put_newer(batch, offers, own, source)
        if gone is not None:
            self.changes.note(BatchChange(batch, offers, own, gone))
            return [Ack.STORED] * len(offers)
        if not fits:  # a replaced version is no reason to hold a whole batch for one offer
            offers = [alone(offer) for offer in offers]
        put: list[Change] = []
        before = previous or [None] * len(offers)
        acks = [
            self._take(offer, now, own, put, last, source) for offer, last in zip(offers, before, strict=True)
        ]
        if fits and len(put) == batch.count and len({change.own for change in put}) == 1:
            gone = [change.replaced for change in put if change.replaced is not None]
            self.changes.note(BatchChange(batch, offers, put[0].own, gone))
        else:
            for change in put:
                self.changes.note(change)
        return acks

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
        held = self._shelves.get(key)
        held_until = offer.not_after
        if held is not None:
            if held.seq == offer.seq and held.body == offer.body:
                if source is not None and source.sender == key[1]:
                    self._vouched(held, source)
                return Ack.STORED
            if not offer.replaces(held):
                return Ack.SUPERSEDED
            held_until = max(held_until, self.expiry.held_until(key, held.not_after))
            own = own or self._is_own(key, held)
            if not own and not self._budget.may_replace(held, offer):
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
        self._shelves.replace(key, held, newer)
        self._forget(key, held)
        self._note(key, newer, held_until, own, source)

    def _vouched(self, held: Offer, source: Source) -> None:
        """Its provider sent it as well: from now on it counts for the provider."""
        unit, shares = unit_of(held), self._budget.shares
        if shares.source(unit) not in (None, source):
            shares.on_vouched(unit, source, cost_of(held.signed))
            self._crowds.clear()
            signed = held.signed
            for content in contents(signed) if isinstance(signed, SignedBatch) else (held.content,):
                self._shelves.reorder(content)
                self._caches.invalidate(content)

    def _end_together(self, offers: Sequence[Offer], now: float) -> bool:
        """Whether they have different contents and expire in one step of time, which lies ahead."""
        ends = {offer[_NOT_AFTER] for offer in offers}
        first, last = (self.expiry.step_of(end(ends)) for end in (min, max))
        return first == last and min(ends) > now and len({offer[_CONTENT] for offer in offers}) == len(offers)

    def _put_new(self, batch: SignedBatch, offers: Sequence[Offer], own: bool, source: Source | None) -> bool:
        """The fast path for a batch of which no content is held; False, with nothing put, for others."""
        contents = [offer[_CONTENT] for offer in offers]
        provider = offers[0].provider.raw
        if not self._shelves.are_new(contents):
            return False
        if not own and not self._admit(batch, provider, source, b""):
            return False
        self._shelves.index.add_many(contents)
        self._budget.add_count(provider, len(offers))
        self._put_whole(batch, offers, own, source)
        return True

    def _put_newer(
        self, batch: SignedBatch, offers: Sequence[Offer], own: bool, source: Source | None
    ) -> list[Offer] | None:
        """The fast path for a batch of which each offer replaces the only one of its content and outlives it.
        Returns the replaced offers; None, with nothing put, for other batches."""
        replaced: list[Offer] = []
        for offer in offers:
            held = self._shelves.only(offer.content)
            if held is None or held.not_after > offer.not_after or offer.seq <= held.seq:
                return None
            key = offer.key
            if held.key != key or self.expiry.is_extended(key) or self._is_own(key, held) != own:
                return None
            replaced.append(held)
        for held in replaced:
            self._budget.release(held)
            self._own.discard(held.key)
            self.expiry.discard(held.key, held.not_after)
        self._put_whole(batch, offers, own, source, *replaced)
        return replaced

    def _put_whole(
        self, batch: SignedBatch, offers: Sequence[Offer], own: bool, source: Source | None, *replaced: Offer
    ) -> None:
        contents = [offer[_CONTENT] for offer in offers]
        self._shelves.put_only(contents, offers, replaced)
        for content in contents if self._crowds else ():
            self._crowds.pop(content, None)
        self._become_others(contents)
        step = self.expiry.step_of(offers[0].not_after)
        self._budget.add_batch(batch, offers, step, own, source)
        self.expiry.open(step)

    def find(self, request: FindRequest, now: float, max_bytes: int) -> FoundOffers:
        """The reply to a request: what it wants of a content, as far as `max_bytes` can hold it."""
        return find(self._shelves.in_order(request.content), request, now, max_bytes)

    def offers(self, content: bytes, now: float) -> Iterator[Offer]:
        """The live offers for a content, as a FIND is answered."""
        yield from (offer for offer in self._shelves.in_order(content) if offer.is_live(now))

    def next_expiry(self, content: bytes, now: float) -> float:
        """When the first entry of a content that has not expired does."""
        return self._shelves.next_expiry(content, now)

    def contents_with_prefix(self, prefix: int) -> list[bytes]:
        """Held contents whose keys begin with a prefix of `store_index.PREFIX_BITS` bits, in order."""
        return self._shelves.index.with_prefix(prefix)

    def prefixes(self, among: range) -> list[int]:
        """Those of some prefixes that keys of held contents begin with, in order."""
        return self._shelves.index.prefixes(among)

    def held(self, content: bytes) -> Iterator[Offer]:
        """Every entry for a content, tombstones and expired ones included."""
        return self._shelves.held(content)

    def providers(self, content: bytes, now: float) -> list[PeerId]:
        """Peers with a live offer for a content: what a standard libp2p node calls its providers."""
        return self._shelves.providers(content, now)

    def withdrawn_providers(self, content: bytes, now: float) -> frozenset[PeerId]:
        """Peers that have withdrawn all of their offers for a content, as far as is known here."""
        return self._shelves.withdrawn_providers(content, now)

    def next_timer(self) -> float | None:
        """When the next offers expire."""
        return self.expiry.next_timer()

    def handle_timer(self, now: float) -> int:
        """Drops expired offers; returns how many."""
        before = len(self)
        while (due := self.expiry.take_due(now)) is not None:
            step, keys = due
            for key in keys:
                held = self._shelves.get(key)
                assert held is not None
                self._drop(key, held)
            for batch in self._budget.batches.ending(step):
                for one in self._shelves.of_batch(batch):
                    self._drop(one.key, one)
        return before - len(self)

    def may_refuse(self, source: Source) -> bool:
        """Whether `would_refuse` can be true of an offer from there now."""
        return bool(self._crowds) or self._budget.is_tight(source)

    def would_refuse(self, source: Source, key: OfferKey, size: int) -> bool:
        """Whether there is no room for an offer of so many bytes, if it is what it claims to be. So a refused
        offer costs no signature check. Nothing is evicted yet."""
        if self.get(key) is not None:
            return False  # a newer version, perhaps
        content, provider, _ = key
        if self._budget.has_refused(provider):
            return True
        crowd = self._crowd(content)
        if crowd is not None:
            return not crowd.has_place(source, provider)
        newcomer = IncomingUnit(source, provider, PLACE_BYTES + size, self._budget.shares.distance(content))
        return self._budget.lacks(newcomer, 1, size)

    def would_refuse_batch(self, source: Source, batch: SignedBatch) -> bool:
        """Whether all offers of a batch would be refused, likewise."""
        _, provider, _ = key_of(batch.body(0))
        if not self._budget.has_refused(provider):
            newcomer = IncomingUnit(
                source, provider, cost_of(batch), self._budget.shares.batch_distance(batch)
            )
            if not all(self._budget.lacks(newcomer, count, batch.size) for count in (batch.count, 1)):
                return False
        return not any(content in self._shelves for content in contents(batch))

    def _admit(
        self, signed: SignedAlone | SignedBatch, provider: bytes, source: Source | None, content: bytes
    ) -> bool:
        """Makes room for an offer of a content, or of a whole batch if `content` is empty."""
        budget, shares = self._budget, self._budget.shares
        count = 1 if content or not isinstance(signed, SignedBatch) else signed.count
        far = shares.of_unit(signed, content)
        if not budget.allows(provider, count):
            return False
        size, cost = budget.cost(signed)
        while True:
            full = budget.is_full(count, size)
            if not full and (source is None or not shares.is_over_share(source, cost)):
                return True
            if source is None:
                return False
            victim = shares.gives_way(IncomingUnit(source, provider, cost, far), full)
            if victim is None or victim is signed:
                return False
            self._displace(victim)

    def _displace(self, unit: Unit) -> None:
        if isinstance(unit, SignedBatch):
            gone = self._shelves.of_batch(unit)
        else:
            held = self._shelves.get(unit.key if isinstance(unit, Tombstone) else unit)
            gone = [held] if held is not None else []
        assert gone
        for one in gone:
            self._drop(one.key, one)
        self.changes.note(Displaced(gone))

    def _crowd(self, content: bytes) -> Crowd | None:
        """The offers of a content that has as many as it may have; None: it has fewer."""
        if self._shelves.count(content) < self._config.max_offers_per_content:
            return None
        crowd = self._crowds.get(content)
        if crowd is None:
            crowd = self._crowds[content] = Crowd(self._of_others(content))
        return crowd

    def _of_others(self, content: bytes) -> Iterator[tuple[Offer, Source]]:
        """Offers of a content that are not our own, with their sources."""
        for one in self._shelves.held(content):
            if not self._is_own(one.key, one):
                yield one, self._source_of(one)

    def _source_of(self, held: Offer) -> Source:
        return self._budget.shares.source(unit_of(held)) or restored(held.provider.raw)

    def _block_of(self, offer: Offer) -> bytes:
        """The address block that an offer counts for."""
        source = self._budget.shares.source(unit_of(offer))
        return NEARBY if source is None else source.block

    def _is_own(self, key: OfferKey, held: Offer) -> bool:
        return key in self._own or self._budget.batches.is_own(held.signed)

    def _make_room(self, offer: Offer, source: Source | None) -> bool:
        provider = offer.provider.raw
        if not self._budget.allows(provider, 1):
            return False
        crowd = self._crowd(offer.content)
        if crowd is not None:
            whose = source or restored(provider)
            displaced = crowd.displaced(whose, provider)
            if displaced is None:
                return False
            self._drop(displaced.key, displaced)
            self.changes.note(Displaced([displaced]))
        return self._admit(offer.signed, provider, source, offer.content)

    def _put(self, key: OfferKey, offer: Offer, held_until: int, own: bool, source: Source | None) -> None:
        self._shelves.put(key, offer)
        self._note(key, offer, held_until, own, source)

    def _note(self, key: OfferKey, offer: Offer, held_until: int, own: bool, source: Source | None) -> None:
        self._become_others((key[0],))
        if own:
            self._own.add(key)
        self._budget.add(offer, own, source)
        crowd = self._crowds.get(key[0])
        if crowd is not None and not self._is_own(key, offer):
            crowd.put(offer, self._source_of(offer))
        self.expiry.add(key, offer.not_after, held_until)

    def _become_others(self, contents: Sequence[bytes]) -> None:
        """Called by `_put_whole`, `_note` and `_forget`: nothing else changes the offers of a content."""
        self.version += 1
        for content in contents:
            self._caches.invalidate(content)

    def _drop(self, key: OfferKey, offer: Offer) -> None:
        self._shelves.remove(key)
        self._forget(key, offer)

    def _forget(self, key: OfferKey, offer: Offer) -> None:
        content = key[0]
        self._become_others((content,))
        crowd = self._crowds.get(content)
        if crowd is not None:
            crowd.discard(key)
            if 2 * self._shelves.count(content) < self._config.max_offers_per_content:
                del self._crowds[content]
        self._budget.remove(offer)
        self._own.discard(key)
        self.expiry.discard(key, offer.not_after)
