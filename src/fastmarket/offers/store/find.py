"""What a store replies to a FIND."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fastmarket.offers.model.offer import Offer
from fastmarket.offers.wire.messages import OFFER_OVERHEAD_BYTES, FindRequest


@dataclass(frozen=True, slots=True)
class FoundOffers:
    """Envelopes for one FIND reply, in the order of `mixing.shelf_order`, then tombstones; `more`: that was
    not all."""

    envelopes: tuple[bytes, ...]
    more: bool


def find(ordered: Iterable[Offer], request: FindRequest, now: float, max_bytes: int) -> FoundOffers:
    """Of the entries of a content, in order: the first live offers that the request wants and `max_bytes` can
    hold, then the tombstones.

    Those whatever their price: a storer that slept through a withdrawal still shows the offer, and a node
    that asks both shall know better.
    """
    envelopes: list[bytes] = []
    size, skipped = 0, 0
    most = request.max_price_per_mb
    for offer in ordered:
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
