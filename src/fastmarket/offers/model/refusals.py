"""Why an offer is refused."""

from __future__ import annotations

from enum import Enum

from fastmarket.errors import PeerFault


class Refusal(Enum):
    """A reason for a refusal; a counter is kept for each."""

    MALFORMED = "malformed"  # not a signed offer, or a field is out of bounds
    FORGED = "forged"  # not signed by the key it names, or not under the signed root
    FOREIGN = "foreign"  # validly signed, but not by its provider
    LIFETIME = "lifetime"  # a lifetime of zero, or longer than offers may have
    FUTURE = "future"  # issued further in the future than clock skew explains
    EXPIRED = "expired"  # expired
    SUPERSEDED = "superseded"  # a later version is held: a replay or a late copy
    FULL = "full"  # no room for it

    # Each member exists once. Enum's own hash is a Python function, called five times for a refused offer.
    __hash__ = object.__hash__


class OfferRefused(PeerFault):
    """The offer is refused; `refusal` is the reason."""

    def __init__(self, refusal: Refusal, reason: str) -> None:
        super().__init__(reason)
        self.refusal = refusal


class OfferExpired(OfferRefused):
    """The offer is validly signed, but has expired."""

    def __init__(self, reason: str) -> None:
        super().__init__(Refusal.EXPIRED, reason)
