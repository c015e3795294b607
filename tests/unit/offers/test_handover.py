"""Newcomers are given what they should hold, by few, in small portions, once."""

from __future__ import annotations

from dataclasses import replace

from fastmarket.config import KadConfig, OfferConfig
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.native.sha256 import sha256
from fastmarket.offers.model.offer import sign_offer
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
