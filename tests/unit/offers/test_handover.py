"""Newcomers are given what they should hold, by few, in small portions, once."""

from __future__ import annotations

from dataclasses import replace

from fastmarket.config import KadConfig, OfferConfig
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.native.sha256 import sha256
from fastmarket.offers.model.offer import sign_offer
from fastmarket.offers.protocol import Handover, OfferProtocol
from tests.unit.offers.memory import START, MemoryNetwork, MemoryNode, identity, terms

# The store of one node belongs to others: no holder of its own announces anything here.
PROVIDER = identity(200)


def speaks(node: MemoryNode) -> OfferProtocol:
    assert node.offers is not None
    return node.offers


def content(number: int) -> bytes:
    return b"\x12\x20" + sha256(f"handed {number}".encode())


def stock(node: MemoryNode, count: int, *, withdrawn: bool = False) -> None:
    for number in range(count):
        wanted = terms(number, content=content(number))
        offer = sign_offer(PROVIDER, wanted, START)
        if withdrawn:
            offer = sign_offer(PROVIDER, wanted, START, previous=offer, withdrawn=True)
        speaks(node).store.add(offer, START)


def settle(net: MemoryNetwork, node: MemoryNode, until: float) -> list[int]:
    """Hand over all that is due until then; how many offers each job brought."""
    brought = []
    while (due := speaks(node).handovers.next_timer()) is not None and due <= until:
        net.move_to(max(net.now, due))
        for job in speaks(node).poll_jobs(net.now):
            if isinstance(job, Handover):
                _, result = net.run(node, job.job)
                assert isinstance(result, int)
                speaks(node).on_ended(job, result, net.now)
                brought.append(result)
    return brought


def test_a_newcomer_is_given_what_is_stored_in_a_small_network() -> None:
    net = MemoryNetwork(kad=KadConfig(refresh_interval_s=10**9))
    old, new = net.add(), net.add()
    stock(old, 600)
    net.join(old, new)
    assert len(speaks(new).store) == 0
    assert settle(net, old, net.now + 60) == [256, 256, 88]
    assert len(speaks(new).store) == 600
    assert speaks(old).handovers.acknowledged_count == 600
    # Seen again, it is no newcomer.
    net.join(old, new)
    assert settle(net, old, net.now + 60) == []


def test_not_before_it_has_been_there_for_a_while() -> None:
    net = MemoryNetwork(kad=KadConfig(refresh_interval_s=10**9))
    old, new = net.add(), net.add()
    stock(old, 1)
    net.join(old, new)
    assert settle(net, old, net.now + speaks(old).config.handover_delay_s - 0.1) == []
    assert settle(net, old, net.now + speaks(old).config.handover_delay_s) == [1]


def test_what_was_signed_after_it_came_is_its_holders_business() -> None:
    net = MemoryNetwork(kad=KadConfig(refresh_interval_s=10**9))
    old, new = net.add(), net.add()
    stock(old, 2)
    net.join(old, new)
    late = terms(7, content=content(7))
    speaks(old).store.add(sign_offer(PROVIDER, late, net.now + 5), net.now)
    assert settle(net, old, net.now + 60) == [2]


def test_a_storer_that_slept_hears_of_a_withdrawal() -> None:
    net = MemoryNetwork(kad=KadConfig(refresh_interval_s=10**9))
    old, new = net.add(), net.add()
    stock(new, 3)
    stock(old, 3, withdrawn=True)
    net.join(old, new)
    assert sum(settle(net, old, net.now + 60)) == 3
    assert all(offer.withdrawn for offer in speaks(new).store)


def test_only_what_lies_near_it_is_given_and_only_by_the_closest() -> None:
    """Eight nodes, four copies of each: a ninth gets what it is among the four closest to, each once."""
    net = MemoryNetwork(
        kad=KadConfig(k=4, refresh_interval_s=10**9), offers=replace(OfferConfig(), handover_givers=1)
    )
    nodes = net.mesh(8)
    for node in nodes:
        settle(net, node, net.now + 600)
        stock(node, 200)
    new = net.add()
    net.join(*nodes, new)
    acquainted = [node for node in nodes if node.engine.routing.contact(new.peer_id)]
    brought = sum(sum(settle(net, node, net.now + 600)) for node in nodes)

    def distance(node: MemoryNode, number: int) -> int:
        key = sha256(content(number))
        return int.from_bytes(node.peer_id.key, "big") ^ int.from_bytes(key, "big")

    wanted = set()
    for number in range(200):
        nearer = [node for node in nodes if distance(node, number) < distance(new, number)]
        closest = min(nodes, key=lambda node: distance(node, number))
        if len(nearer) < 4 and closest in acquainted:
            wanted.add(content(number))
    assert {offer.content for offer in speaks(new).store} == wanted
    assert 0 < len(wanted) < 200
    assert brought == len(wanted)  # nobody brought what another had brought


def test_peers_that_know_no_offers_get_none() -> None:
    net = MemoryNetwork(kad=KadConfig(refresh_interval_s=10**9))
    old, plain = net.add(), net.add(plain=True)
    stock(old, 2)
    net.join(old, plain)
    assert settle(net, old, net.now + 60) == []


def test_one_that_does_not_answer_is_left_alone() -> None:
    net = MemoryNetwork(kad=KadConfig(refresh_interval_s=10**9))
    old, new = net.add(), net.add()
    stock(old, 600)
    net.join(old, new)
    new.silent = True
    assert settle(net, old, net.now + 120) == [0]
    assert speaks(old).handovers.next_timer() is None


def test_newcomers_that_wait_are_bounded() -> None:
    net = MemoryNetwork(offers=replace(OfferConfig(), max_newcomers=3))
    node = net.add()
    handovers = speaks(node).handovers
    for number in range(10):
        peer = PeerInfo(identity(50 + number).peer_id)
        handovers.on_newcomer(peer, {speaks(node).config.protocol}, START)
    assert len(handovers._newcomers) == 3
