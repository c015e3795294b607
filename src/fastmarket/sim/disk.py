"""The disk of a simulated node: what was written to it, and what of that survives a crash."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from random import Random

from fastmarket.core.node import NodeCore
from fastmarket.core.restoring import restore_offers
from fastmarket.offers.model.offer import Offer, OfferKey
from fastmarket.offers.store.changes import AnyChange, Displaced


class SimDisk:
    """Offers by key; outlives the process that writes to it. Writes complete in order."""

    __slots__ = ("_free_at", "_offers", "_under_way")

    def __init__(self) -> None:
        self._offers: dict[OfferKey, tuple[Offer, bool]] = {}
        self._under_way: deque[Sequence[AnyChange]] = deque()
        self._free_at = 0.0

    def __len__(self) -> int:
        return len(self._offers)

    def keep(self, offers: Iterable[Offer], *, own: bool) -> None:
        """Stores these, as if written by an earlier run of the node."""
        self._offers.update((offer.key, (offer, own)) for offer in offers)

    def begin(self, changes: Sequence[AnyChange], now: float, takes_s: float) -> float:
        """Starts a write after the pending ones; returns when it will complete."""
        self._under_way.append(changes)
        self._free_at = max(self._free_at, now) + takes_s
        return self._free_at

    def write(self, changes: Sequence[AnyChange]) -> None:
        """The first pending write completes."""
        assert self._under_way.popleft() is changes
        self._apply(changes)

    def crash(self, random: Random) -> None:
        """The process ends: some of the first pending writes may survive."""
        for _ in range(random.randint(0, len(self._under_way))):
            self._apply(self._under_way.popleft())
        self._under_way.clear()
        self._free_at = 0.0

    def restore(self, core: NodeCore, now: float) -> None:
        """A process starts: restores what is stored."""
        held = self._offers.values()
        restore_offers(core, [(offer.envelope, own) for offer, own in held], (), now)
        core.offers.own.seq_floor = max((offer.seq for offer, own in held if own), default=0)

    def _apply(self, changes: Sequence[AnyChange]) -> None:
        for change in changes:
            if isinstance(change, Displaced):
                for offer in change.offers:
                    held = self._offers.get(offer.key)
                    if held is not None and held[0].seq == offer.seq:
                        del self._offers[offer.key]
            else:
                self.keep(change.offers, own=change.own)
