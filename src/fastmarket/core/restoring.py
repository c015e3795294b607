"""What a node restores from an earlier run, before anything can reach it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import suppress
from typing import TypeAlias

from fastmarket.core.node import NodeCore
from fastmarket.errors import CallerFault
from fastmarket.kad.records.record import Record
from fastmarket.kad.records.shares import restored
from fastmarket.native.batch import SignedBatch
from fastmarket.offers.model.refusals import OfferRefused

KeptBatch: TypeAlias = tuple[bytes, int, Collection[int]]
"""A batch of an earlier run: the signed batch, whether it is an own one (0 or 1), and its dead slots."""


def restore_offers(
    core: NodeCore, kept: Iterable[tuple[bytes, int]], batches: Iterable[KeptBatch], now: float
) -> tuple[int, list[SignedBatch | None]]:
    """Restores single offers, as (signed, own), and whole batches.

    Returns how many single offers could not be read, and the batches, with None for each that could not.
    """
    bad = 0
    taken: list[SignedBatch | None] = []
    for signed, own in kept:
        try:
            core.offers.restore(signed, bool(own), now)
        except OfferRefused:
            bad += 1
    for signed, own, dead in batches:
        try:
            taken.append(core.offers.restore_batch(signed, bool(own), dead, now))
        except OfferRefused:
            taken.append(None)
    return bad, taken


def restore_records(core: NodeCore, kept: Iterable[tuple[Record, bool]], now: float) -> None:
    """Restores values, as (record, own); own ones are announced again in their turn."""
    for record, own in kept:
        if own:
            with suppress(CallerFault):  # longer than today's bounds allow
                core.engine.put_value(record.key, record.value, now)
                core.records.mark_own(record.key, now)
        elif record.expires > now:
            core.records.put(record, now, restored(record.key))
