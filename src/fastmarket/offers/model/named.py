"""Which storers named which offers, and how far in front: what a finder knows of them beside their prices."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable
from typing import Final

from fastmarket.offers.model.offer import OfferKey

MAX_VOTERS: Final = 256
"""Address blocks of storers, or storers on private networks, that are counted: more than one lookup asks."""
MAX_PLACES: Final = 16
"""Places of one storer's answer that are counted: 4,096 of all voters, 500 kB, while a search runs."""


class StorerRanks:
    """The places of offers in the answers of storers.

    A storer orders its answer by what it alone knows: from where an offer was delivered, and how long ago
    (`mixing.shelf_order`). Storers of one address block have one vote together, so that one which is there
    many times does not outvote the others.
    """

    __slots__ = ("_places",)

    def __init__(self) -> None:
        self._places: dict[Hashable, dict[OfferKey, int]] = {}

    def on_answer(self, voter: Hashable, keys: Iterable[OfferKey], skip: int = 0) -> None:
        """A storer of the group `voter` named these offers, in order, after `skip` others."""
        places = self._places.get(voter)
        if places is None:
            if len(self._places) >= MAX_VOTERS:
                return
            places = self._places[voter] = {}
        for place, key in enumerate(keys, skip):
            if place >= MAX_PLACES:
                return
            if place < places.get(key, MAX_PLACES) and (key in places or len(places) < MAX_PLACES):
                places[key] = place

    def in_front(self, count: int, wanted: Collection[OfferKey]) -> list[OfferKey]:
        """Up to `count` of the `wanted` offers, so that every storer is represented by what it put in front.

        Seat by seat, the offer with the highest sum of votes: of each voter the inverse of its place, divided
        by one more than what this voter already gave to seated offers (Thiele's sequential rule, with votes
        by place). So storers that collude get their share of the seats and not all of them, whether they name
        the same offers or thousands: two honest ones beside eighteen still have the seats of two.
        """
        seats: list[OfferKey] = []
        ballots = [
            {key: 1.0 / (place + 1) for key, place in places.items() if key in wanted}
            for places in self._places.values()
        ]
        given = [0.0] * len(ballots)
        while len(seats) < count:
            votes: dict[OfferKey, float] = {}
            for ballot, had in zip(ballots, given, strict=True):
                for key, vote in ballot.items():
                    votes[key] = votes.get(key, 0.0) + vote / (1.0 + had)
            if not votes:
                break
            best = max(votes, key=lambda key: (votes[key], key))
            seats.append(best)
            for number, ballot in enumerate(ballots):
                given[number] += ballot.pop(best, 0.0)
        return seats
