"""What the offer store holds, counted against its bounds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from fastmarket.config import OfferConfig
from fastmarket.kad.records.shares import Source, restored
from fastmarket.native.batch import SignedBatch
from fastmarket.offers.model.offer import MAX_ENVELOPE_BYTES, Offer, SignedAlone
from fastmarket.offers.store.held_batches import HeldBatches
from fastmarket.offers.store.units import (
    PLACE_BYTES,
    IncomingUnit,
    UnitShares,
    cost_of,
    unit_of,
)

# A tombstone is its offer, with a mark and a larger seq.
_TOMBSTONE_EXTRA_BYTES = 16


class StoreBudget:
    """Counts offers in total and by provider, bytes, and the shares of senders and address blocks."""

    __slots__ = ("_bytes", "_config", "_full_providers", "_per_provider", "batches", "count", "shares")

    def __init__(self, config: OfferConfig, local: bytes) -> None:
        """`local`: our key, from which distances count."""
        self.count = 0
        """Offers, tombstones included."""
        self.batches = HeldBatches()
        total = config.max_stored_bytes + PLACE_BYTES * config.max_offers
        block, sender = (int(total * share) for share in (config.max_block_share, config.max_sender_share))
        self.shares = UnitShares(local, block, sender)
        self._config = config
        self._bytes = 0
        self._per_provider: Counter[bytes] = Counter()
        self._full_providers: set[bytes] = set()  # those at their bound of which something was refused

    @property
    def stored_bytes(self) -> int:
        """Bytes of all signed offers, and of batches as long as one of their offers is held."""
        return self._bytes + self.batches.size_bytes

    # --- what comes and goes

    def add(self, offer: Offer, own: bool, source: Source | None) -> None:
        """One offer more, by itself or as one of its batch."""
        provider, signed = offer.provider.raw, offer.signed
        self._per_provider[provider] += 1
        self.count += 1
        if isinstance(signed, SignedBatch):
            if self.batches.put_one(signed) and not own:
                self.shares.enter(signed, source or restored(provider), cost_of(signed))
        else:
            self._bytes += signed.size
            if not own:
                self.shares.enter(unit_of(offer), source or restored(provider), cost_of(signed))

    def add_batch(
        self, batch: SignedBatch, offers: Sequence[Offer], step: int, own: bool, source: Source | None
    ) -> None:
        """The bytes of a whole batch; its offers are counted by `add_count`, unless they replace others."""
        self.batches.put_whole(batch, step, own)
        if not own:
            self.shares.enter(batch, source or restored(offers[0].provider.raw), cost_of(batch))

    def add_count(self, provider: bytes, count: int) -> None:
        """So many offers more."""
        self._per_provider[provider] += count
        self.count += count

    def remove(self, offer: Offer) -> None:
        """One offer less."""
        provider = offer.provider.raw
        self._per_provider[provider] -= 1
        self._full_providers.discard(provider)
        if not self._per_provider[provider]:
            del self._per_provider[provider]
        self.count -= 1
        self.release(offer)

    def release(self, offer: Offer) -> None:
        """The bytes of an offer that is held no longer."""
        signed = offer.signed
        if isinstance(signed, SignedBatch):
            if self.batches.drop_one(signed):
                self.shares.leave(signed, cost_of(signed))
        else:
            self._bytes -= signed.size
            self.shares.leave(unit_of(offer), cost_of(signed))

    # --- what there is room for

    def is_full(self, count: int, size: int) -> bool:
        """Whether there is no room for so many offers more, or so many bytes."""
        config = self._config
        return self.count + count > config.max_offers or self.stored_bytes + size > config.max_stored_bytes

    def is_tight(self, source: Source) -> bool:
        """Whether an offer of any length from there may find no room."""
        return (
            self.is_full(1, MAX_ENVELOPE_BYTES)
            or bool(self._full_providers)
            or self.shares.is_over_share(source, MAX_ENVELOPE_BYTES)
        )

    def has_refused(self, provider: bytes) -> bool:
        """Whether the provider is at its bound, and was refused something for that."""
        return provider in self._full_providers

    def lacks(self, newcomer: IncomingUnit, count: int, size: int) -> bool:
        """Whether there is no room for so much, and nothing that would give way."""
        full = self.is_full(count, size)
        if not full and not self.shares.is_over_share(newcomer.source, newcomer.cost):
            return False
        return self.shares.gives_way(newcomer, full) is None

    def allows(self, provider: bytes, count: int) -> bool:
        """Whether the provider's bound lets it have so many more."""
        held, most = self._per_provider[provider], self._config.max_offers_per_provider
        if held >= most:
            self._full_providers.add(provider)
        return held + count <= most

    def fits(self, batch: SignedBatch) -> bool:
        """Whether there are the bytes for all of a batch."""
        return self.stored_bytes + batch.size <= self._config.max_stored_bytes

    def may_replace(self, held: Offer, newer: Offer) -> bool:
        """Whether there are the bytes. A version no longer than the held one is taken beyond the bound, up to
        twice it: where that was one of a batch, the batch stays for the sake of the others."""
        bound = self._config.max_stored_bytes
        beyond = (
            self.stored_bytes
            - bound
            + self.batches.added_bytes(newer.signed)
            - self.batches.freed_bytes(held.signed)
        )
        extra = _TOMBSTONE_EXTRA_BYTES if newer.withdrawn else 0
        return beyond <= 0 or (newer.signed.size <= len(held.envelope) + extra and beyond <= bound)

    def cost(self, signed: SignedAlone | SignedBatch) -> tuple[int, int]:
        """The bytes that come with an offer, and what it counts for: the first of a batch for all of them."""
        size = self.batches.added_bytes(signed)
        return size, cost_of(signed) if size else 0
