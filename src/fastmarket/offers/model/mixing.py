"""The order of many offers for one content: no price, address block or storer alone fills its beginning.

Keys cost nothing, and neither does an offer for nothing. Sorted by price alone, the front of a list belongs
to the party that makes many of these. So a list longer than `FRONT` is drawn from several orders in turn
(lanes). Each can be topped, but not with the same offers: to be the cheapest costs nothing, to be the only
one of an address block costs an address block, to have been here longest cannot be made up for, and to be
named by many storers costs peers near the content. No offer is left out; it is only put further back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any, Final

from fastmarket.offers.model.offer import Offer, OfferKey

FRONT: Final = 10
"""Offers that people and programs look at together. So few are simply ordered by price."""


def price_order(offer: Offer) -> tuple[int, bytes, bytes]:
    """Cheapest first; equal prices in an order on which every node agrees."""
    return (offer.metadata.price_per_mb, offer.provider.raw, offer.user_id)


def shelf_order(offers: Sequence[Offer], block_of: Callable[[Offer], Hashable]) -> list[Offer]:
    """The order in which a storer tells the offers of one content.

    `offers` of different keys, the one that has been here longest first; `block_of`: the address block that
    an offer was delivered from. Up to `FRONT` offers, or all from one block: cheapest first. Otherwise one
    from each of three lanes in turn: those of the blocks with the fewest offers, of these the newest; those
    that have been here longest; the cheapest. In each lane all blocks have one turn, then all a second one.
    Any beginning of it is mixed, whatever the limit of a request.
    """
    cheapest = sorted(offers, key=price_order)
    if len(offers) <= FRONT:
        return cheapest
    blocks = {offer.key: block_of(offer) for offer in offers}
    counts = Counter(blocks.values())
    if len(counts) == 1:
        return cheapest
    newest = offers[::-1]
    rare = sorted(newest, key=lambda offer: counts[blocks[offer.key]])
    lanes = [_by_turns(lane, blocks) for lane in (rare, offers, cheapest)]
    return list(drawn(lanes))


def drawn(lanes: Sequence[Iterable[Offer]]) -> Iterator[Offer]:
    """One offer from each lane in turn, each offer once."""
    taken: set[OfferKey] = set()
    left = [iter(lane) for lane in lanes]
    while left:
        for lane in tuple(left):
            following = next((offer for offer in lane if offer.key not in taken), None)
            if following is None:
                left.remove(lane)
                continue
            taken.add(following.key)
            yield following


def in_fronts(offers: Sequence[Offer], order: Callable[[Offer], Any] = price_order) -> list[Offer]:
    """Every `FRONT` of them, by themselves, in an order; cheapest first unless another is given."""
    ordered: list[Offer] = []
    for at in range(0, len(offers), FRONT):
        ordered += sorted(offers[at : at + FRONT], key=order)
    return ordered


def _by_turns(offers: Iterable[Offer], group_of: dict[OfferKey, Hashable]) -> list[Offer]:
    """The first of each group, then the second of each, and so on, otherwise in the order given."""
    seen: Counter[Hashable] = Counter()
    rounds: list[list[Offer]] = []
    for offer in offers:
        group = group_of[offer.key]
        if seen[group] == len(rounds):
            rounds.append([])
        rounds[seen[group]].append(offer)
        seen[group] += 1
    return [offer for one in rounds for offer in one]
