"""The units that the offer store shares its room by (`kad.records.shares`): an offer or a tombstone by
itself, or a batch, which is held as long as one of its offers is."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple, TypeAlias

from fastmarket.kad.records.shares import Shares, Source, distance
from fastmarket.native.batch import SignedBatch
from fastmarket.native.sha256 import sha256_many
from fastmarket.offers.model.batch import contents, key_of
from fastmarket.offers.model.offer import Offer, OfferKey, SignedAlone

# Memory of an offer beside its signed bytes: its fields and its places in the store.
PLACE_BYTES: Final = 600

_ALL: Final = 1 << 64  # larger than any distance
_NONE: Final = -1  # smaller than any


class Tombstone(NamedTuple):
    """The last of a sender's units to be evicted: without it the withdrawn offer could come back."""

    key: OfferKey


Unit: TypeAlias = OfferKey | Tombstone | SignedBatch


class IncomingUnit(NamedTuple):
    """A unit that needs room: its source, its provider, its bytes, and its distance from us."""

    source: Source
    provider: bytes
    cost: int
    distance: Callable[[], int]


def unit_of(offer: Offer) -> Unit:
    """The unit that an offer is held as."""
    if isinstance(offer.signed, SignedBatch):
        return offer.signed
    return Tombstone(offer.key) if offer.withdrawn else offer.key


def cost_of(signed: SignedAlone | SignedBatch) -> int:
    """The bytes of a unit in memory."""
    return signed.size + PLACE_BYTES * (signed.count if isinstance(signed, SignedBatch) else 1)


class UnitShares(Shares[Unit]):
    """The shares of the offer store."""

    def __init__(self, local: bytes, block_bound: int, sender_bound: int) -> None:
        """`local`: our 32-byte key; bounds as in `Shares`."""
        self._local = local
        self._last: tuple[SignedBatch | None, int] = (
            None,
            0,
        )  # the last batch whose distance was asked for, and that distance
        super().__init__(self._measured, block_bound, sender_bound)

    def distance(self, content: bytes) -> Callable[[], int]:
        """The distance of an offer by itself, computed when it is asked for."""
        return partial(distance, self._local, content)

    def batch_distance(self, batch: SignedBatch) -> Callable[[], int]:
        """The distance of a batch, likewise: that of its farthest offer, beyond any offer by itself, because
        floods come in batches."""

        def asked() -> int:
            if self._last[0] is not batch:
                self._last = (batch, self._measured(batch)[0])
            return self._last[1]

        return asked

    def of_unit(self, signed: SignedAlone | SignedBatch, content: bytes) -> Callable[[], int]:
        """The distance of the unit that an offer for that content is held as."""
        return self.batch_distance(signed) if isinstance(signed, SignedBatch) else self.distance(content)

    def gives_way(self, newcomer: IncomingUnit, full: bool) -> Unit | None:
        """As `victim`, but the offers of one provider do not displace each other within a sender's share."""
        found = self.victim(newcomer.source, newcomer.cost, full)
        if found is None:
            return None
        unit, far, rival = found
        if rival:
            provider = _provider_of(unit)
            if provider == newcomer.provider or far <= newcomer.distance():
                return None
        return unit

    def _measured(self, unit: Unit) -> tuple[int, int]:
        if isinstance(unit, Tombstone):
            return _NONE, 1
        if not isinstance(unit, SignedBatch):
            return distance(self._local, unit[0]), 1
        ours = int.from_bytes(self._local[:8], "big")
        keys = sha256_many(list(contents(unit)))
        return _ALL + max(int.from_bytes(key[:8], "big") ^ ours for key in keys), unit.count


def _provider_of(unit: Unit) -> bytes:
    if isinstance(unit, SignedBatch):
        return key_of(unit.body(0))[1]
    return (unit.key if isinstance(unit, Tombstone) else unit)[1]
