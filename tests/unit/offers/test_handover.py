"""Newcomers are given what they should hold, by few, in small portions, once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fastmarket.config import KadConfig, OfferConfig
from fastmarket.formats.identity import PeerId
from fastmarket.formats.kad_key import kad_key
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.native.sha256 import sha256
from fastmarket.offers.announce.handover import Handovers
from fastmarket.offers.model.offer import sign_offer
from fastmarket.offers.store.offer_store import OfferStore
from fastmarket.offers.store.store_index import PREFIX_BITS, StoreIndex
from tests.virtual import START, State, VirtualNetwork, VirtualNode, identity, terms

# The store of one node belongs to others: no holder of its own announces anything here.
PROVIDER = identity(200)


def content(number: int) -> bytes:
    return b"\x12\x20" + sha256(f"handed {number}".encode())


def stock(node: VirtualNode, count: int, *, withdrawn: bool = False) -> None:
    for number in range(count):
        wanted = terms(number, content=content(number))
        offer = sign_offer(PROVIDER, wanted, START)
        if withdrawn:
            offer = sign_offer(PROVIDER, wanted, START, previous=offer, withdrawn=True)
        node.offers.store.add(offer, START)


def settle(net: VirtualNetwork, node: VirtualNode, until: float) -> list[int]:
    """Lets time pass until then; how many offers each handover brought."""
    before = handovers_of(node)
    net.move_to(until)
    return handovers_of(node)[len(before) :]


def handovers_of(node: VirtualNode) -> list[int]:
    brought = [event.result for event in node.ended("HandoverJob")]
    assert all(isinstance(one, int) for one in brought)
    return brought  # type: ignore[return-value]


def test_a_newcomer_is_given_what_is_stored_in_a_small_network() -> None:
    net = VirtualNetwork.immediate(kad=KadConfig(refresh_interval_s=10**9))
    old, new = net.add(), net.add()
    stock(old, 600)
    net.acquaint(old, new)
    assert len(new.offers.store) == 0
    assert settle(net, old, net.now + 60) == [256, 256, 88]
    assert len(new.offers.store) == 600
    assert old.offers.handovers.acknowledged_count == 600
    # Seen again, it is no newcomer.
    old.identified(new)
    assert settle(net, old, net.now + 60) == []


def test_not_before_it_has_been_there_for_a_while() -> None:
    net = VirtualNetwork.immediate(kad=KadConfig(refresh_interval_s=10**9))
    old, new = net.add(), net.add()
    stock(old, 1)
    net.acquaint(old, new)
    due = net.now + old.offers.config.handover_delay_s
    assert settle(net, old, due - 0.1) == []
    assert settle(net, old, due) == [1]


def test_what_was_signed_after_it_came_is_its_holders_business() -> None:
    net = VirtualNetwork.immediate(kad=KadConfig(refresh_interval_s=10**9))
    old, new = net.add(), net.add()
    stock(old, 2)
    net.acquaint(old, new)
    late = terms(7, content=content(7))
    old.offers.store.add(sign_offer(PROVIDER, late, net.now + 5), net.now)
    assert settle(net, old, net.now + 60) == [2]


def test_a_storer_that_slept_hears_of_a_withdrawal() -> None:
    net = VirtualNetwork.immediate(kad=KadConfig(refresh_interval_s=10**9))
    old, new = net.add(), net.add()
    stock(new, 3)
    stock(old, 3, withdrawn=True)
    net.acquaint(old, new)
    assert sum(settle(net, old, net.now + 60)) == 3
    assert all(offer.withdrawn for offer in new.offers.store)


def test_only_what_lies_near_it_is_given_and_only_by_the_closest() -> None:
    """Eight nodes, four copies of each: a ninth gets what it is among the four closest to, each once."""
    net = VirtualNetwork.immediate(
        kad=KadConfig(k=4, refresh_interval_s=10**9), offers=replace(OfferConfig(), handover_givers=1)
    )
    nodes = net.mesh(8)
    net.rest(600)
    for node in nodes:
        stock(node, 200)
    new = net.add()
    net.acquaint(*nodes, new)
    acquainted = [node for node in nodes if node.engine.routing.contact(new.peer_id)]
    before = sum(sum(handovers_of(node)) for node in nodes)
    net.rest(600)
    brought = sum(sum(handovers_of(node)) for node in nodes) - before

    def distance(node: VirtualNode, number: int) -> int:
        key = sha256(content(number))
        return int.from_bytes(node.peer_id.key, "big") ^ int.from_bytes(key, "big")

    wanted = set()
    for number in range(200):
        nearer = [node for node in nodes if distance(node, number) < distance(new, number)]
        closest = min(nodes, key=lambda node: distance(node, number))
        if len(nearer) < 4 and closest in acquainted:
            wanted.add(content(number))
    assert {offer.content for offer in new.offers.store} == wanted
    assert 0 < len(wanted) < 200
    assert brought == len(wanted)  # nobody brought what another had brought


@pytest.mark.parametrize("in_region", [True, False])
def test_who_is_in_the_region_of_a_key_is_given_its_offers_though_k_are_closer(in_region: bool) -> None:
    config = OfferConfig()
    store, target = OfferStore(config), kad_key(content(0))
    store.add(sign_offer(PROVIDER, terms(0, content=content(0)), START), START)

    def distance(peer_id: PeerId) -> int:
        return int.from_bytes(peer_id.key, "big") ^ int.from_bytes(target, "big")

    ids = sorted((identity(number).peer_id for number in range(20)), key=distance)
    newcomer = ids[10]
    handovers = Handovers(
        config,
        4,
        ids[0],
        store,
        lambda key, count: ids[1 : 1 + count],
        lambda: distance(newcomer) - (not in_region),
    )
    handovers.on_newcomer(PeerInfo(newcomer), {config.protocol}, START)
    due = handovers.next_timer()
    assert due is not None
    given = handovers.take(due)
    assert (given is not None) == in_region
    if given is not None:
        assert [offer.content for offer in given[1]] == [content(0)]


@pytest.mark.parametrize("held", [3, 3000])
def test_only_parts_of_the_key_space_with_contents_are_searched(held: int) -> None:
    index, contents = StoreIndex(), [content(number) for number in range(held)]
    index.add_many(contents)
    for among in (range(1 << PREFIX_BITS), range(1024, 2048), range(7)):
        assert index.prefixes(among) == [prefix for prefix in among if index.with_prefix(prefix)]
    found = [one for prefix in index.prefixes(range(1 << PREFIX_BITS)) for one in index.with_prefix(prefix)]
    assert sorted(found) == sorted(contents)
    for one in contents:
        index.discard(one)
    assert index.prefixes(range(1 << PREFIX_BITS)) == []


def test_peers_that_know_no_offers_get_none() -> None:
    net = VirtualNetwork.immediate(kad=KadConfig(refresh_interval_s=10**9))
    old, plain = net.add(), net.add(plain=True)
    stock(old, 2)
    net.acquaint(old, plain)
    assert settle(net, old, net.now + 60) == []


def test_one_that_does_not_answer_is_left_alone() -> None:
    net = VirtualNetwork.immediate(kad=KadConfig(refresh_interval_s=10**9))
    old, new = net.add(), net.add()
    stock(old, 600)
    net.acquaint(old, new)
    new.state = State.SILENT
    assert settle(net, old, net.now + 120) == [0]
    assert old.offers.handovers.next_timer() is None


def test_newcomers_that_wait_are_bounded() -> None:
    net = VirtualNetwork.immediate(offers=replace(OfferConfig(), max_newcomers=3))
    node = net.add()
    handovers = node.offers.handovers
    for number in range(10):
        peer = PeerInfo(identity(50 + number).peer_id)
        handovers.on_newcomer(peer, {node.offers.config.protocol}, START)
    assert len(handovers.newcomers) == 3
