"""The order of many offers: who makes many does not have its beginning alone."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastmarket.config import OfferConfig
from fastmarket.core.commands import FindOffers, OffersFound
from fastmarket.kad.records.shares import NEARBY, Source
from fastmarket.offers.model.mixing import FRONT, drawn, in_fronts, price_order, shelf_order
from fastmarket.offers.model.named import MAX_PLACES, MAX_VOTERS, StorerRanks
from fastmarket.offers.model.offer import Offer, sign_offer
from fastmarket.offers.model.offer_set import OfferSet
from fastmarket.offers.wire.messages import Ack, decode_find_reply, decode_store_reply, encode_store
from tests.virtual import CONTENT, START, VirtualNetwork, identity, terms

SELLER = 9_000_000
FREE, DEAR = 0, 50
BLOCKS = [bytes((60 + n, 1)) for n in range(60)]
ELSEWHERE = b"\x08\x08"


def offer(number: int, price: int = FREE) -> Offer:
    return sign_offer(identity(number), terms(price), START)


def attack(blocks: int, keys: int) -> list[tuple[Offer, bytes]]:
    """Offers for nothing, each of a key of its own, from so many address blocks in turn."""
    return [(offer(1_000_000 + n), BLOCKS[n % blocks]) for n in range(keys)]


def order(placed: Sequence[tuple[Offer, Hashable]]) -> list[Offer]:
    blocks = {one.key: block for one, block in placed}
    return shelf_order([one for one, _ in placed], lambda one: blocks[one.key])


def test_few_offers_and_those_of_one_block_come_cheapest_first() -> None:
    few = [(offer(n, 100 - n), BLOCKS[n]) for n in range(FRONT)]
    assert order(few) == sorted((one for one, _ in few), key=price_order)
    many = [(offer(n, 100 - n), NEARBY) for n in range(40)]
    assert order(many) == sorted((one for one, _ in many), key=price_order)


@pytest.mark.parametrize("blocks", [1, 4, 60])
@pytest.mark.parametrize("place", [0, 150, 300], ids=["before", "amid", "after"])
def test_a_dear_seller_of_another_block_is_in_front(blocks: int, place: int) -> None:
    """Before the attack it has been here longest; otherwise nobody else has fewer offers."""
    placed = attack(blocks, 300)
    seller = offer(SELLER, DEAR)
    placed.insert(place, (seller, ELSEWHERE))
    ordered = order(placed)
    assert seller in ordered[:3]
    assert set(ordered) == {one for one, _ in placed}
    assert len(ordered) == len(placed)


def test_the_cheapest_of_each_block_comes_before_the_second_cheapest_of_any() -> None:
    placed = [(offer(10 * block + n, 10 * n + block), BLOCKS[block]) for block in range(4) for n in range(9)]
    front = order(placed)[: 3 * 4]
    assert {0, 1, 2, 3} <= {one.price_per_mb for one in front}
    assert len({one.price_per_mb % 10 for one in front[:4]}) == 4, "nor has any block two of the first turns"


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), min_size=1, max_size=60),
    st.integers(1, 7),
)
@settings(deadline=None)
def test_every_offer_has_one_place_whatever_the_limit_of_a_page(
    made: list[tuple[int, int]], limit: int
) -> None:
    placed = [(offer(n, price), BLOCKS[block]) for n, (block, price) in enumerate(made)]
    ordered = order(placed)
    assert sorted(ordered, key=price_order) == sorted((one for one, _ in placed), key=price_order)
    pages = [ordered[at : at + limit] for at in range(0, len(ordered), limit)]
    assert [one for page in pages for one in page] == order(placed)


def test_lanes_that_are_used_up_leave_their_turns_to_others() -> None:
    offers = [offer(n) for n in range(6)]
    assert list(drawn((offers[:1], offers))) == offers
    assert list(drawn((offers[4:], offers))) == [offers[n] for n in (4, 0, 5, 1, 2, 3)]
    assert list(drawn(())) == []


def test_each_front_is_ordered_by_price() -> None:
    offers = [offer(n, 100 - n) for n in range(25)]
    ordered = in_fronts(offers)
    for at in (0, FRONT, 2 * FRONT):
        assert ordered[at : at + FRONT] == sorted(offers[at : at + FRONT], key=price_order)


# --- the finder


def named_by(lists: Sequence[Sequence[Offer]]) -> StorerRanks:
    ranks = StorerRanks()
    for voter, offers in enumerate(lists):
        ranks.on_answer(voter, [one.key for one in offers])
    return ranks


@pytest.mark.parametrize("in_common", [True, False])
@pytest.mark.parametrize("hostile", [0, 5, 10, 15, 18])
def test_a_seller_that_honest_storers_put_in_front_is_in_front(hostile: int, in_common: bool) -> None:
    """Of 20 storers, up to 18 in as many blocks name nothing but offers of the attack, the same or others."""
    placed = [*attack(60, 300), (seller := offer(SELLER, DEAR), ELSEWHERE)]
    honest, fakes = order(placed), [one for one, _ in placed[:-1]]
    lists = [fakes if in_common else fakes[16 * n :] for n in range(hostile)]
    ranks = named_by(lists + [honest] * (20 - hostile))
    ordered = OfferSet((one for one, _ in placed), ranks).in_order(START)
    assert seller in ordered[:FRONT]
    assert sorted(ordered, key=price_order) == sorted((one for one, _ in placed), key=price_order)


def test_storers_of_one_block_have_one_vote() -> None:
    ranks = StorerRanks()
    mine, theirs = offer(1).key, offer(2).key
    for _ in range(30):
        ranks.on_answer(b"one block", [theirs])
    ranks.on_answer(b"another", [mine])
    ranks.on_answer(b"a third", [mine])
    assert ranks.in_front(1, {mine, theirs}) == [mine]
    assert ranks.in_front(5, {mine, theirs}) == [mine, theirs]
    assert ranks.in_front(5, {theirs}) == [theirs]


def test_what_storers_say_is_bounded() -> None:
    ranks = StorerRanks()
    keys = [(b"content", b"%d" % n, b"") for n in range(200)]
    for voter in range(2 * MAX_VOTERS):
        ranks.on_answer(voter, keys[voter % 100 :])
        ranks.on_answer(voter, keys, 100 + voter)
    assert sum(len(places) for places in ranks._places.values()) == MAX_VOTERS * MAX_PLACES


def test_holders_that_delivered_have_places_in_front_and_those_that_failed_none() -> None:
    fakes = [one for one, _ in attack(60, 100)]
    proven, failed = offer(SELLER, DEAR), offer(SELLER + 1, DEAR)
    found = OfferSet([*fakes, proven, failed], named_by([fakes] * 20))
    standings = {proven.provider.raw: 2.5, failed.provider.raw: -3.0, fakes[0].provider.raw: -9.0}
    ordered = found.in_order(START, lambda provider: standings.get(provider, 0.0))
    assert proven in ordered[:FRONT]
    assert ordered[-2:] == [failed, fakes[0]]
    few = OfferSet([fakes[0], proven, failed])
    assert few.in_order(START, lambda provider: standings.get(provider, 0.0)) == [proven, failed, fakes[0]]


# --- a whole node


def test_seller_1025_is_stored_and_found_in_front() -> None:
    """1,024 keys that ask nothing fill the shelf of a content, from one address block and from 60; then a
    seller of another one comes."""
    for blocks in (1, 60):
        seller, ordered = crowded(blocks, OfferConfig().max_offers_per_content)
        assert seller.envelope in ordered[:FRONT], blocks


def test_the_attack_on_a_shelf_pushes_out_no_seller_that_was_there_before() -> None:
    for blocks in (1, 60):
        seller, ordered = crowded(blocks, OfferConfig().max_offers_per_content, is_first=True)
        assert seller.envelope in ordered[:FRONT], blocks


def crowded(blocks: int, keys: int, *, is_first: bool = False) -> tuple[Offer, list[bytes]]:
    """The seller, and what the storer then answers, page by page."""
    node = VirtualNetwork.immediate().add()
    seller = offer(SELLER, DEAR)

    def store(one: Offer, block: bytes) -> Ack:
        body = encode_store([one.envelope])
        reply = node.offers.handle_request(one.provider, body, START, block)
        return decode_store_reply(reply).acks[0]

    if is_first:
        assert store(seller, ELSEWHERE) is Ack.STORED
    acks = [store(one, block) for one, block in attack(blocks, keys)]
    assert acks.count(Ack.STORED) >= keys - 1
    if not is_first:
        assert store(seller, ELSEWHERE) is Ack.STORED
    found: list[bytes] = []
    query = node.offers.find(CONTENT)._query
    more = True
    while more:
        reply = node.offers.handle_request(identity(5).peer_id, query.page(len(found)).payload, START)
        page = decode_find_reply(reply, OfferConfig().find_limit, node.config.kad)
        found += page.envelopes
        more = page.more
    assert len(set(found)) == len(found) == keys
    return seller, found


def test_a_renewed_offer_is_not_younger() -> None:
    node = VirtualNetwork.immediate().add()
    store = node.offers.store
    first = offer(SELLER, DEAR)
    for one, block in [(first, ELSEWHERE), *attack(20, 40)]:
        assert store.add(one, START, source=Source(block, one.provider.raw)) is Ack.STORED
    renewed = sign_offer(identity(SELLER), terms(DEAR + 1), START + 5, previous=first)
    assert store.add(renewed, START + 5, source=Source(ELSEWHERE, renewed.provider.raw)) is Ack.STORED
    assert next(iter(store.held(CONTENT))) == renewed
    assert renewed in list(store.offers(CONTENT, START + 5))[:3]


def test_an_offer_that_its_provider_brings_again_counts_for_its_own_block() -> None:
    """Brought first among a flood, it would stay one of many of the flood's block."""
    node = VirtualNetwork.immediate().add()
    store = node.offers.store
    flood = Source(BLOCKS[0], b"flood")
    mine = offer(SELLER, DEAR)
    for one in [*(one for one, _ in attack(1, 30)), mine, *(offer(2_000_000 + n) for n in range(30))]:
        assert store.add(one, START, source=flood) is Ack.STORED
    assert mine not in list(store.offers(CONTENT, START))[:FRONT]
    assert store.add(mine, START, source=Source(ELSEWHERE, mine.provider.raw)) is Ack.STORED
    assert mine in list(store.offers(CONTENT, START))[:FRONT]


def test_a_finder_takes_the_front_of_every_answer_however_much_hostile_storers_name() -> None:
    """Row G over a whole lookup: hostile storers answer first, with as many offers as fit into a page."""
    net = VirtualNetwork.immediate(offers=OfferConfig(max_found=60, find_limit=40))
    nodes = net.mesh(8)
    finder, honest, seller = nodes[0], nodes[-1], offer(SELLER, DEAR)
    random = Random(5)
    for one, block in [*attack(30, 200), (seller, ELSEWHERE)]:
        body = encode_store([one.envelope])
        honest.offers.handle_request(one.provider, body, START, block)
    for hostile in nodes[1:-1]:
        for one in random.sample([one for one, _ in attack(60, 200)], 40):
            hostile.offers.store.add(one, START)
    found = finder.run(FindOffers(CONTENT, 10.0)).result
    assert isinstance(found, OffersFound)
    assert seller in found.offers[:FRONT]
