"""Who gives way in a full content: counts kept up to date, against counts made anew."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random

import pytest

from fastmarket.config import OfferConfig
from fastmarket.kad.records.shares import Source
from fastmarket.offers.model.offer import Offer, sign_offer
from fastmarket.offers.store.crowd import Crowd
from fastmarket.offers.store.offer_store import OfferStore
from tests.virtual import CONTENT, START, identity, terms

PROVIDERS = [identity(number) for number in range(6)]
USERS = [b"a", b"b", b"c"]
SOURCES = [
    Source(block, sender) for block in (b"\x01\x01", b"\x01\x02", b"\x01\x03") for sender in (b"x", b"y")
]
OFFERS = [
    sign_offer(one, terms(price, user=user), START) for price, one in enumerate(PROVIDERS) for user in USERS
]


def same(kept: Crowd, held: dict[Offer, Source]) -> None:
    """It decides as one does that is made anew; of equals, either may take another."""
    anew, senders, holders = Crowd(held.items()), Counter(held.values()), Counter[tuple[Source, bytes]]()
    blocks = Counter(source.block for source in held.values())
    for offer, source in held.items():
        holders[source, offer.provider.raw] += 1

    def holders_of(offer: Offer) -> tuple[Source, bytes]:
        return held[offer], offer.provider.raw

    for source in SOURCES:
        for provider in PROVIDERS:
            raw = provider.peer_id.raw
            assert kept.has_place(source, raw) == anew.has_place(source, raw)
            gone = kept.displaced(source, raw)
            assert (gone is None) == (anew.displaced(source, raw) is None)
            assert (gone is not None) == kept.has_place(source, raw)
            if gone is not None:
                giver = held[gone]
                if blocks[source.block] + 2 <= max(blocks.values()):
                    assert blocks[giver.block] == max(blocks.values())
                else:
                    assert giver.block == source.block
                    if giver != source:
                        assert senders[giver] >= senders[source] + 2
                    else:
                        assert holders[holders_of(gone)] >= holders[source, raw] + 2
                its = [one for one in held if holders_of(one) == holders_of(gone)]
                assert gone.price_per_mb == max(one.price_per_mb for one in its)
                if giver != source:
                    assert senders[giver] == max(
                        count for one, count in senders.items() if one.block == giver.block
                    )
                assert holders[holders_of(gone)] == max(
                    count for (one, _), count in holders.items() if one == giver
                )


@pytest.mark.parametrize("seed", range(20))
def test_counts_that_are_kept_decide_as_those_made_anew(seed: int) -> None:
    random, kept, held = Random(seed), Crowd(), dict[Offer, Source]()
    same(kept, held)
    for _ in range(40):
        offer = random.choice(OFFERS)
        if random.random() < 0.6:
            held[offer] = random.choice(SOURCES)
            kept.put(offer, held[offer])
        else:
            held.pop(offer, None)
            kept.discard(offer.key)
        same(kept, held)


@pytest.mark.parametrize("seed", range(12))
def test_a_full_content_decides_as_one_that_was_counted_just_now(seed: int) -> None:
    """Offers come, in newer versions, too, vouched for by their providers, of our own; and all expire."""
    random, now = Random(seed), START
    store = OfferStore(replace(OfferConfig(), max_offers_per_content=6))
    for _ in range(120):
        now += random.random() * 100
        offer = random.choice(OFFERS)
        held = store.get(offer.key)
        if held is not None and random.random() < 0.3:
            one = next(one for one in PROVIDERS if one.peer_id == held.provider)
            offer = sign_offer(one, terms(random.randrange(9), user=held.user_id), now, previous=held)
        provider = offer.provider.raw
        source = random.choice([*SOURCES, Source(b"\x01\x04", provider)])
        counted = Crowd(store._of_others(CONTENT))
        new, full = store.get(offer.key) is None, store._shelves.count(CONTENT) >= 6
        if new and full:
            size = len(offer.envelope)
            assert store.would_refuse(source, offer.key, size) != counted.has_place(source, provider)
        store.add(offer, now, own=random.random() < 0.05, source=source)
        if random.random() < 0.1:
            store.handle_timer(now)
        for crowd in store._crowds.values():
            same(crowd, dict(store._of_others(CONTENT)))
    assert store._shelves.count(CONTENT) >= 6  # our own beyond the bound
    store.handle_timer(now + 10 * OfferConfig().lifetime_s)
    assert len(store) == 0
    assert store._crowds == {}
