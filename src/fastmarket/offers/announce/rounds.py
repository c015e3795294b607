"""When offers are announced: in the order of their keys, if there are many."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil

from fastmarket.config import OfferConfig
from fastmarket.formats.identity import PeerId
from fastmarket.native.sha256 import sha256_many
from fastmarket.offers.announce.coverage import PLACE_BITS, place, places
from fastmarket.offers.model.offer import Offer

# Of the interval: an announced offer has its next turn after this share of it at the earliest.
LEAST_SHARE = 1 / 8

# Turns in a round, where offers have theirs by their keys: those due within 10 s of each other share one.
_TURN_BITS = 13
_TURNS = 1 << _TURN_BITS
_SHIFT = PLACE_BITS - _TURN_BITS

_KEY_SPACE = 1 << PLACE_BITS


class AnnounceRound:
    """One pass through the key space in each announce interval; every node begins at its own key."""

    __slots__ = ("_first_place", "_interval_s", "_restore_delay_s", "_restore_s_per_turn")

    def __init__(self, config: OfferConfig, peer_id: PeerId) -> None:
        self._interval_s = config.announce_interval_s
        self._restore_delay_s = config.restore_delay_s
        self._restore_s_per_turn = max(config.restore_spread_s - config.restore_delay_s, 0.0) / _TURNS
        self._first_place = place(peer_id.key)

    def places(self, offers: Sequence[Offer]) -> list[int]:
        """The places of offers in the round."""
        found = places(sha256_many([offer.content for offer in offers]))
        return [(at - self._first_place) % _KEY_SPACE for at in found]

    def turns(self, now: float, *, spread: bool) -> Callable[[int], float]:
        """Maps the place of an offer that is announced now to when it is due again: its next turn if turns
        are `spread`, else an interval from now."""
        interval = self._interval_s
        if not spread:
            return lambda place: now + interval
        soonest, scale = now / interval + LEAST_SHARE, 1 / _TURNS

        def due(place: int) -> float:
            turn = (place >> _SHIFT) * scale
            return interval * (ceil(soonest - turn) + turn)

        return due

    def restored_turns(self, now: float) -> Callable[[int, int], float]:
        """Maps the place and the time of issue of an offer that is restored now to when it is due."""
        soonest, spread, interval = now + self._restore_delay_s, self._restore_s_per_turn, self._interval_s
        return lambda place, issued_at: min(soonest + (place >> _SHIFT) * spread, issued_at + interval)
