"""Held offers by content."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from math import inf
from typing import Final, TypeAlias

from fastmarket.formats.identity import PeerId
from fastmarket.native.batch import SignedBatch
from fastmarket.offers.model.batch import contents
from fastmarket.offers.model.mixing import shelf_order
from fastmarket.offers.model.offer import Offer, OfferKey
from fastmarket.offers.store.store_index import StoreIndex

_Shelf: TypeAlias = dict[OfferKey, Offer]
"""All entries of one content, where there are several."""

_EMPTY: _Shelf = {}
_WITHDRAWN: Final = 8  # of an offer, by index, which is twice as fast, for all of a batch
assert Offer._fields[_WITHDRAWN] == "withdrawn"


class Shelves:
    """Every entry of each content, the one that has been here longest first, and which contents lie in a part
    of the key space.

    Plain dicts, no object around an offer, and none around the only one of a content: offers come by the
    hundred thousand.
    """

    __slots__ = ("_block_of", "_ordered", "_shelves", "index", "tombstone_count")

    def __init__(self, block_of: Callable[[Offer], Hashable]) -> None:
        """`block_of`: the address block that an entry was delivered from."""
        self._block_of = block_of
        self.tombstone_count = 0
        """Entries that are tombstones."""
        self.index = StoreIndex()
        self._shelves: dict[bytes, Offer | _Shelf] = {}
        self._ordered: dict[bytes, list[Offer]] = {}  # of a shelf, made when it is asked for

    def __contains__(self, content: bytes) -> bool:
        return content in self._shelves

    def __iter__(self) -> Iterator[Offer]:
        for content in self._shelves:
            yield from self.held(content)

    def get(self, key: OfferKey) -> Offer | None:
        """The version held, tombstones included."""
        shelf = self._shelves.get(key[0])
        if isinstance(shelf, Offer):
            return shelf if shelf.key == key else None
        return shelf.get(key) if shelf else None

    def only(self, content: bytes) -> Offer | None:
        """The entry of a content that has just one."""
        shelf = self._shelves.get(content)
        return shelf if isinstance(shelf, Offer) else None

    def count(self, content: bytes) -> int:
        """How many entries a content has."""
        shelf = self._shelves.get(content, _EMPTY)
        return 1 if isinstance(shelf, Offer) else len(shelf)

    def are_new(self, contents: Sequence[bytes]) -> bool:
        """Whether none of the contents has an entry."""
        return self._shelves.keys().isdisjoint(contents)

    def held(self, content: bytes) -> Iterator[Offer]:
        """Every entry of a content, tombstones and expired ones included."""
        shelf = self._shelves.get(content, _EMPTY)
        if isinstance(shelf, Offer):
            yield shelf
        else:
            yield from shelf.values()

    def providers(self, content: bytes, now: float) -> list[PeerId]:
        """Peers with a live offer for a content."""
        return list(dict.fromkeys(offer.provider for offer in self.held(content) if offer.is_live(now)))

    def withdrawn_providers(self, content: bytes, now: float) -> frozenset[PeerId]:
        """Peers that have withdrawn all of their offers for a content. Standard libp2p nodes keep the
        provider records of these until they expire."""
        withdrawn: set[PeerId] = set()
        live: set[PeerId] = set()
        for offer in self.held(content):
            if offer.not_after > now:
                (withdrawn if offer.withdrawn else live).add(offer.provider)
        return frozenset(withdrawn - live)

    def of_batch(self, batch: SignedBatch) -> list[Offer]:
        """Entries that are held as part of a batch."""
        found = dict.fromkeys(contents(batch))  # of one content there may be several, by different users
        return [one for content in found for one in self.held(content) if one.signed is batch]

    def in_order(self, content: bytes) -> list[Offer]:
        """Every entry of a content: offers in the order of `mixing.shelf_order`, then tombstones."""
        shelf = self._shelves.get(content)
        if shelf is None:
            return []
        if isinstance(shelf, Offer):
            return [shelf]
        ordered = self._ordered.get(content)
        if ordered is None:
            ordered = shelf_order([one for one in shelf.values() if not one.withdrawn], self._block_of)
            ordered += [one for one in shelf.values() if one.withdrawn]
            self._ordered[content] = ordered
        return ordered

    def reorder(self, content: bytes) -> None:
        """An entry of a content counts for another address block from now on."""
        self._ordered.pop(content, None)

    def next_expiry(self, content: bytes, now: float) -> float:
        """When the first entry of a content that has not expired does."""
        ends = (offer.not_after for offer in self.held(content) if offer.not_after > now)
        return min(ends, default=inf)

    def put(self, key: OfferKey, offer: Offer) -> None:
        """Adds an entry whose key has none."""
        self.tombstone_count += offer.withdrawn
        content = key[0]
        shelf = self._shelves.get(content)
        if shelf is None:
            self._shelves[content] = offer
            self.index.add(content)
        elif isinstance(shelf, Offer):
            self._shelves[content] = {shelf.key: shelf, key: offer}
        else:
            shelf[key] = offer
            self._ordered.pop(content, None)

    def replace(self, key: OfferKey, held: Offer, newer: Offer) -> None:
        """Puts a newer version into the place of one that is held: it does not count as younger."""
        self.tombstone_count += newer.withdrawn - held.withdrawn
        content = key[0]
        shelf = self._shelves[content]
        if isinstance(shelf, Offer):
            self._shelves[content] = newer
        else:
            shelf[key] = newer
            self._ordered.pop(content, None)

    def put_only(self, contents: Sequence[bytes], offers: Sequence[Offer], replaced: Sequence[Offer]) -> None:
        """Makes each offer the only entry of its content, in place of those `replaced`. Contents without an
        entry before are to be indexed by the caller."""
        self._shelves.update(zip(contents, offers, strict=True))
        self.tombstone_count += sum([offer[_WITHDRAWN] for offer in offers])
        self.tombstone_count -= sum([offer[_WITHDRAWN] for offer in replaced])

    def remove(self, key: OfferKey) -> None:
        """Removes the entry of a key."""
        content = key[0]
        shelf = self._shelves[content]
        self.tombstone_count -= (shelf if isinstance(shelf, Offer) else shelf[key]).withdrawn
        if isinstance(shelf, Offer) or len(shelf) == 1:
            del self._shelves[content]
            self.index.discard(content)
        else:
            del shelf[key]
        self._ordered.pop(content, None)
