"""The offers of a content that has as many as it may have, by their senders."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Generic, TypeAlias, TypeVar

from fastmarket.kad.records.shares import Source
from fastmarket.offers.model.mixing import price_order
from fastmarket.offers.model.offer import Offer, OfferKey

_K = TypeVar("_K", bound=Hashable)
_Holder: TypeAlias = tuple[Source, bytes]
"""A raw provider id, with the source of its offers."""


class _Tallies(Generic[_K]):
    """Counts by key, of which one with the highest is known at once; each changes by one."""

    __slots__ = ("_counts", "_highest", "_with")

    def __init__(self) -> None:
        self._counts: dict[_K, int] = {}
        self._with: dict[int, dict[_K, None]] = {}  # the keys with each count
        self._highest = 0

    def __len__(self) -> int:
        return len(self._counts)

    def __getitem__(self, key: _K) -> int:
        return self._counts.get(key, 0)

    def add(self, key: _K, by: int) -> None:
        """Changes a count by 1 or -1."""
        old = self._counts.get(key, 0)
        new = old + by
        if old:
            there = self._with[old]
            del there[key]
            if not there:
                del self._with[old]
        if new:
            self._counts[key] = new
            self._with.setdefault(new, {})[key] = None
        else:
            del self._counts[key]
        if new > self._highest or self._highest not in self._with:
            self._highest = new

    def most(self) -> _K:
        """A key with the highest count; there must be one."""
        return next(iter(self._with[self._highest]))


class Crowd:
    """Decides which offer a newcomer displaces: one of the address block with the most offers, if the
    newcomer's block has at least two fewer; else one of the sender with the most in that block; else one of
    the provider with the most from that sender. The most expensive offer is displaced. Among equals the
    newcomer is refused.
    """

    __slots__ = ("_blocks", "_holder_of", "_holders", "_offers", "_senders")

    def __init__(self, offers: Iterable[tuple[Offer, Source]] = ()) -> None:
        """`offers`: those of others, with their sources."""
        self._holder_of: dict[OfferKey, _Holder] = {}
        self._offers: dict[_Holder, dict[OfferKey, Offer]] = {}
        self._blocks = _Tallies[bytes]()
        self._senders: dict[bytes, _Tallies[Source]] = {}  # by block
        self._holders: dict[Source, _Tallies[_Holder]] = {}
        for offer, source in offers:
            self.put(offer, source)

    def put(self, offer: Offer, source: Source) -> None:
        """An offer of others has come, perhaps in place of an older version."""
        key, holder = offer.key, (source, offer.provider.raw)
        self.discard(key)
        self._holder_of[key] = holder
        self._offers.setdefault(holder, {})[key] = offer
        self._count(holder, 1)

    def discard(self, key: OfferKey) -> None:
        """An offer, if it is one of these, has gone."""
        holder = self._holder_of.pop(key, None)
        if holder is None:
            return
        held = self._offers[holder]
        del held[key]
        if not held:
            del self._offers[holder]
        self._count(holder, -1)

    def has_place(self, source: Source, provider: bytes) -> bool:
        """Whether an offer from there would displace one."""
        return self._giver(source, provider) is not None

    def displaced(self, source: Source, provider: bytes) -> Offer | None:
        """Which offer one from there displaces; None: the newcomer is refused."""
        giver = self._giver(source, provider)
        return None if giver is None else max(self._offers[giver].values(), key=price_order)

    def _count(self, holder: _Holder, by: int) -> None:
        source = holder[0]
        self._blocks.add(source.block, by)
        senders = self._senders.setdefault(source.block, _Tallies())
        senders.add(source, by)
        if not senders:
            del self._senders[source.block]
        holders = self._holders.setdefault(source, _Tallies())
        holders.add(holder, by)
        if not holders:
            del self._holders[source]

    def _giver(self, source: Source, provider: bytes) -> _Holder | None:
        if not self._blocks:
            return None
        block = self._blocks.most()
        if self._blocks[block] >= self._blocks[source.block] + 2:
            return self._holders[self._senders[block].most()].most()
        senders = self._senders.get(source.block)
        if senders is None:
            return None
        sender = senders.most()
        if senders[sender] >= senders[source] + 2:
            return self._holders[sender].most()
        holders = self._holders.get(source)
        if holders is None:
            return None
        holder = holders.most()
        return holder if holders[holder] >= holders[source, provider] + 2 else None
