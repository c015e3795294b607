"""Many offers announced together."""

from __future__ import annotations

import itertools
from dataclasses import replace
from hashlib import sha256

import pytest

from fastmarket.config import KadConfig, OfferConfig
from fastmarket.errors import Busy
from fastmarket.kad.outcome import Outcome
from fastmarket.offers.announce.sweep import Settled, SweepResult
from fastmarket.offers.model.offer import OfferTerms
from fastmarket.offers.protocol import Sweep
from tests.virtual import START, State, VirtualNetwork, VirtualNode, terms


def content(n: int) -> bytes:
    return b"\x12\x20" + sha256(b"content %d" % n).digest()


def many(count: int, price: int = 5) -> list[OfferTerms]:
    return [terms(price, content=content(n)) for n in range(count)]


def swept(net: VirtualNetwork, node: VirtualNode, sweep: Sweep) -> SweepResult:
    announced = node.run_announcement(sweep)
    result = announced.result
    assert isinstance(result, SweepResult)
    settled = [
        offer
        for item in announced.progress
        if isinstance(item, Settled)
        for places, _ in item.groups
        for offer in places
    ]
    assert len(settled) == len(set(settled)) == len(sweep.offers)
    return result


def true_storers(nodes: list[VirtualNode], key: bytes, holder: VirtualNode, k: int) -> set[bytes]:
    target = int.from_bytes(sha256(key).digest(), "big")
    others = [node for node in nodes if node is not holder]
    others.sort(key=lambda node: int.from_bytes(node.peer_id.key, "big") ^ target)
    return {node.peer_id.raw for node in others[:k]}


def test_a_small_network_takes_one_lookup_and_a_message_a_batch() -> None:
    net = VirtualNetwork.immediate()
    nodes = net.mesh(8)
    holder = nodes[0]
    sweep = holder.offers.register_many(many(600), START)
    result = swept(net, holder, sweep)
    assert result.lookups == 1
    assert result.requests == 7 + 7 * 3
    assert {outcome for _, outcome in result.outcomes} == {Outcome(7, 7, 4)}
    for node in nodes:
        assert len(node.offers.store) == 600
        assert node.offers.verifier.verified_count == (0 if node is holder else 3)


@pytest.mark.parametrize("reach", [0.0, 1.0])
def test_every_offer_is_at_its_own_closest_and_lookups_are_few(reach: float) -> None:
    net = VirtualNetwork.immediate(kad=KadConfig(k=5, region_reach=reach))
    nodes = net.mesh(60)
    holder = nodes[7]
    offers = holder.offers.register_many(many(400), START)
    result = swept(net, holder, offers)
    assert result.lookups <= 60
    spread = set[int]()
    for offer, outcome in result.outcomes:
        stored = {
            node.peer_id.raw
            for node in nodes
            if node is not holder and node.offers.store.get(offer.key) is not None
        }
        nearest = true_storers(nodes, offer.content, holder, 5)
        assert stored == nearest if not reach else stored >= nearest
        count = len(stored)
        assert outcome == Outcome(count, count, count // 2 + 1)
        spread.add(count)
    assert spread == {5} if not reach else max(spread) > 5


def test_alone_everything_is_settled_at_once() -> None:
    net = VirtualNetwork.immediate()
    (node,) = net.mesh(1)
    result = swept(net, node, node.offers.register_many(many(200), START))
    assert {outcome for _, outcome in result.outcomes} == {Outcome(0, 0, 0)}


def test_silent_neighbours_are_not_taken_for_nobody() -> None:
    net = VirtualNetwork.immediate()
    node, *others = net.mesh(4)
    for other in others:
        other.state = State.SILENT
    result = swept(net, node, node.offers.register_many(many(100), START))
    assert {outcome for _, outcome in result.outcomes} == {Outcome(0, 0, 1)}


def test_a_storer_that_falls_silent_costs_no_quorum() -> None:
    net = VirtualNetwork.immediate()
    node, *others = net.mesh(8)
    sweep = node.offers.register_many(many(100), START)
    announced = node.announce(sweep)
    others[0].state = State.SILENT
    net.run(lambda: announced.is_over)
    result = announced.result
    assert isinstance(result, SweepResult)
    assert {outcome for _, outcome in result.outcomes} == {Outcome(6, 6, 4)}


def test_standard_nodes_get_a_provider_record_each() -> None:
    net = VirtualNetwork.immediate()
    *nodes, plain = net.mesh(4, plain=1)
    result = swept(net, nodes[0], nodes[0].offers.register_many(many(100), START))
    assert {outcome for _, outcome in result.outcomes} == {Outcome(2, 2, 2, 1)}
    providers = plain.engine.handlers.providers.providers(content(3), START)
    assert [peer.peer_id for peer in providers] == [nodes[0].peer_id]


def test_offers_with_many_signatures_fit_the_storers_bounds() -> None:
    """Registered one by one, each has a signature of its own; one STORE may bring only so many."""
    net = VirtualNetwork.immediate()
    nodes = net.mesh(3)
    node = nodes[0]
    for wanted in many(150):
        node.offers.on_ended(node.offers.register(wanted, START), None, START)
    net.rest(node.offers.config.retry_first_s)
    (ended,) = node.ended("SweepJob")
    result = ended.result
    assert isinstance(result, SweepResult)
    assert {outcome for _, outcome in result.outcomes} == {Outcome(2, 2, 2)}


def test_of_terms_for_one_offer_the_last_count() -> None:
    net = VirtualNetwork.immediate()
    a, b = net.mesh(2)
    sweep = a.offers.register_many([*many(3, price=5), *many(2, price=6)], START)
    assert len(sweep.offers) == 3
    swept(net, a, sweep)
    prices = [offer.price_per_mb for n in range(3) for offer in b.offers.store.offers(content(n), START)]
    assert prices == [6, 6, 5]


def test_all_or_none_are_registered() -> None:
    net = VirtualNetwork.immediate(offers=replace(OfferConfig(), max_own_offers=10))
    (node,) = net.mesh(1)
    with pytest.raises(Busy):
        node.offers.register_many(many(11), START)
    assert len(node.offers.own) == len(node.offers.store) == 0


def test_many_own_offers_are_swept_in_the_order_of_their_keys_over_the_interval() -> None:
    config = replace(OfferConfig(), spread_from=500, sweep_from=4)
    net = VirtualNetwork.immediate(offers=config, kad=KadConfig(refresh_interval_s=10**9))
    node, other = net.mesh(2)
    swept(net, node, node.offers.register_many(many(1000), START))
    own, interval = node.offers.own, config.announce_interval_s
    announced: dict[bytes, list[float]] = {content(n): [START] for n in range(1000)}
    sizes, places = [], []
    while net.now < START + 4 * interval:
        when = own.next_timer()
        assert when is not None
        seen = len(node.ended("SweepJob"))
        net.move_to(when)
        for event in node.ended("SweepJob")[seen:]:
            assert isinstance(event.result, SweepResult)
            offers = [offer for offer, _ in event.result.outcomes]
            sizes.append(len(offers))
            for offer in offers:
                announced[offer.content].append(net.now)
            places.append(min(sha256(offer.content).digest() for offer in offers))
    gaps = [later - before for times in announced.values() for before, later in itertools.pairwise(times)]
    assert max(gaps) <= interval * (1 + 1 / 8 + 1 / 64)
    assert min(gaps) > interval / 16
    assert sum(gaps) / len(gaps) > interval * 0.8
    assert max(sizes) < 100  # never all at once
    assert len(other.offers.store) == 1000
    # In the order of the keys: but for where the round begins, each sweep lies behind the one before.
    assert sum(a > b for a, b in itertools.pairwise(places)) <= 6
