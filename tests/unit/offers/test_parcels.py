"""offers.parcels: whatever storers take and refuse, in whatever order, every offer settles once."""

from __future__ import annotations

from collections import Counter
from itertools import product

import pytest

from fastmarket.offers.announce.parcels import Parcel
from fastmarket.offers.model.offer import sign_offer
from tests.virtual import identity, terms

# What a storer says of two offers: nothing, that it has both, that it has one of them.
ANSWERS = (None, (), (0,), (1,))
OFFERS = [sign_offer(identity(1), terms(price), 1_000_000.0) for price in (1, 2)]


@pytest.mark.parametrize("storers", range(1, 6))
def test_every_offer_settles_once_and_rightly(storers: int) -> None:
    for answers in product(ANSWERS, repeat=storers):
        parcel = Parcel(OFFERS)
        parcel.asked_count = parcel.open_count = storers
        settled: Counter[int] = Counter()
        for missing in answers:
            if missing is None:
                parcel.on_failed("did not answer in time")
            else:
                parcel.on_answered(dict.fromkeys(missing, ("refused: no room", False)))
            settled.update(slot for one in parcel.take_settled() for slot in one.slots)
        settled.update(slot for one in parcel.take_settled(end=True) for slot in one.slots)
        assert settled == {0: 1, 1: 1}, answers
        for slot in (0, 1):
            took = sum(missing is not None and slot not in missing for missing in answers)
            assert parcel.outcome(slot).acknowledged == took
