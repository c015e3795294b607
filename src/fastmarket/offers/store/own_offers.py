"""Puts own offers into the store."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter

from fastmarket.native.batch import SignedBatch
from fastmarket.offers.model.offer import Offer
from fastmarket.offers.store.offer_store import OfferStore


def add_own(store: OfferStore, offers: Sequence[Offer], previous: Sequence[Offer | None], now: float) -> None:
    """Stores own offers, as `OfferStore.add` does; those of a whole batch together."""
    at = 0
    for signed, run in groupby(offers, attrgetter("signed")):
        together = list(run)
        before = previous[at : at + len(together)]
        at += len(together)
        if isinstance(signed, SignedBatch) and len(together) == signed.count:
            store.add_batch(together, now, own=True, previous=before)
        else:
            for offer, last in zip(together, before, strict=True):
                store.add(offer, now, own=True, previous=last)
