"""Why an offer that was sent here is not taken."""

from __future__ import annotations

from enum import Enum

from fastmarket.errors import PeerFault


class Refusal(Enum):
    """A reason; each is counted."""

    MALFORMED = "malformed"  # no signed offer, or a field out of its bounds
    FORGED = "forged"  # not signed by the key it names, or not under the root that was signed
    FOREIGN = "foreign"  # rightly signed, by another peer than its provider
    LIFETIME = "lifetime"  # for no time at all, or for longer than offers may last
    FUTURE = "future"  # issued later than a clock a little ahead of ours can say
    EXPIRED = "expired"  # its time is over
    SUPERSEDED = "superseded"  # a later version is held: a replay, or a copy that came late
    FULL = "full"  # no room for it


class OfferRefused(PeerFault):
    """`refusal` says for what reason an offer is not valid."""

    def __init__(self, refusal: Refusal, reason: str) -> None:
        super().__init__(reason)
        self.refusal = refusal


class OfferExpired(OfferRefused):
    """Rightly signed, but its time is over."""

    def __init__(self, reason: str) -> None:
        super().__init__(Refusal.EXPIRED, reason)
