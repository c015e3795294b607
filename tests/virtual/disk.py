"""What survives a node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from fastmarket.core.node import NodeCore
from fastmarket.core.restoring import restore_offers
from fastmarket.offers.model.offer import Offer, OfferKey
from fastmarket.offers.store.changes import AnyChange, Displaced


@dataclass
class Disk:
    """The offers written, in the order of the changes. `takes_s` is the time of a write; `fault` makes writes
    fail."""

    takes_s: float = 0.005
    fault: str = ""
    offers: dict[OfferKey, tuple[Offer, bool]] = field(default_factory=dict)

    def write(self, changes: Sequence[AnyChange]) -> None:
        """All of them, or the process would not have been told so."""
        for change in changes:
            for offer in change.offers:
                if isinstance(change, Displaced):
                    self.offers.pop(offer.key, None)
                else:
                    self.offers[offer.key] = (offer, change.own)

    def restore(self, core: NodeCore, now: float) -> None:
        """Into a node that starts."""
        held = self.offers.values()
        restore_offers(core, [(offer.envelope, own) for offer, own in held], (), now)
        core.offers.own.seq_floor = max((offer.seq for offer, own in held if own), default=0)
