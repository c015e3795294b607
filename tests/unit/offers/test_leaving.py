"""Small networks that nodes leave: who stays goes on taking registrations, and none is acknowledged for
nothing."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from itertools import combinations

import pytest

from fastmarket.formats.identity import PeerId
from fastmarket.kad.outcome import Outcome
from fastmarket.offers.protocol import OfferProtocol
from fastmarket.offers.wire.messages import Ack, decode_request, encode_acks
from tests.unit.offers.memory import MemoryNetwork, MemoryNode, terms

BUDGET_S = 10.0
NOTICED_S = {"goodbye": 2.0, "killed": 2.0, "hung": 10.0}


class Way(Enum):
    """How a node leaves."""

    GOODBYE = "goodbye"  # SIGTERM: it says that it serves nothing any more, and ends
    KILLED = "killed"  # SIGKILL: its address refuses from now on
    HUNG = "hung"  # SIGSTOP: takes connections and says nothing


def leave(net: MemoryNetwork, node: MemoryNode, way: Way) -> None:
    for other in net.nodes.values():
        if other is not node and way is Way.GOODBYE:
            other.engine.on_peer_identified(node.info, [], net.now)
        if other is not node and way is not Way.HUNG:
            other.engine.on_peer_disconnected(node.peer_id, net.now)
    node.alive, node.silent = way is Way.HUNG, way is Way.HUNG


def offers_of(node: MemoryNode) -> OfferProtocol:
    assert node.offers is not None
    return node.offers


def register(net: MemoryNetwork, node: MemoryNode, number: int, budget_s: float = BUDGET_S) -> Outcome:
    """As the shell does: until the quorum, the end or the caller's deadline."""
    content = b"\x12\x20" + number.to_bytes(32, "big")
    made = offers_of(node).register(terms(content=content), net.now, budget_s)
    began = net.now
    job_id = net.start(node, made.job)
    while job_id not in node.results and not node.progress[job_id] and net.now < began + budget_s:
        net.pass_time()
    return made.job.so_far().outcome


def register_many(net: MemoryNetwork, node: MemoryNode, count: int) -> Iterator[Outcome | None]:
    many = [terms(content=b"\x12\x20" + bytes([n]) * 32) for n in range(count)]
    sweep = offers_of(node).register_many(many, net.now, BUDGET_S)
    _, result = net.run(node, sweep.job)
    return (outcome for _, outcome in result.outcomes)  # type: ignore[attr-defined]


def holders(net: MemoryNetwork, number: int) -> set[PeerId]:
    content = b"\x12\x20" + number.to_bytes(32, "big")
    return {
        one.peer_id for one in net.nodes.values() if one.alive and any(offers_of(one).store.held(content))
    }


def minorities(size: int) -> list[tuple[int, ...]]:
    """Each minority of nodes 1 to size - 1; node 0 stays."""
    return [gone for count in range(1, (size - 1) // 2 + 1) for gone in combinations(range(1, size), count)]


CASES = [(size, gone) for size in range(3, 7) for gone in minorities(size)]


@pytest.mark.parametrize("way", list(Way))
def test_whoever_stays_goes_on_registering(way: Way) -> None:
    for size, gone in CASES:
        net = MemoryNetwork()
        nodes = net.mesh(size)
        for number, node in enumerate(nodes):  # the size of the network is known, and all are trusted to live
            assert register(net, node, number).is_reached
        for index in gone:
            leave(net, nodes[index], way)
        left, staying = net.now, [node for index, node in enumerate(nodes) if index not in gone]
        for number in range(100, 106):
            node, before = staying[number % len(staying)], net.now
            outcome = register(net, node, number)
            took_s = net.now - before
            assert outcome.is_reached, (size, gone, outcome)
            if before >= left + NOTICED_S[way.value]:
                assert took_s < 2.0, (size, gone, took_s)
            others = holders(net, number) - {node.peer_id}
            there = len(staying) - 1
            assert len(others) > there // 2, "acknowledged by a majority of those that are there"
            net.move_to(net.now + 3.0)


@pytest.mark.parametrize("way", [Way.GOODBYE, Way.KILLED])
def test_the_last_one_is_enough_for_itself_when_all_others_are_known_to_be_gone(way: Way) -> None:
    for size in range(2, 7):
        net = MemoryNetwork()
        node, *others = net.mesh(size)
        assert register(net, node, 1).is_reached
        for other in others:
            leave(net, other, way)
        outcome = register(net, node, 2, 2.0)
        assert outcome == Outcome(0, 0, 0)


@pytest.mark.parametrize("size", range(2, 7))
def test_who_hears_nobody_acknowledges_nothing(size: int) -> None:
    """Cut off, or all others hang: from here it looks the same, and somebody may be there."""
    net = MemoryNetwork()
    node, *others = net.mesh(size)
    assert register(net, node, 1).is_reached
    for other in others:
        leave(net, other, Way.HUNG)
    outcome = register(net, node, 2)
    assert not outcome.is_reached
    assert "may still be up" in outcome.why or "answer" in outcome.why
    for other in others:
        other.silent = False
    assert register(net, node, 3).is_reached


@pytest.mark.parametrize("same_key", [True, False])
@pytest.mark.parametrize("way", [Way.GOODBYE, Way.KILLED])
def test_restarts_cost_no_registration(way: Way, same_key: bool) -> None:
    for size in range(2, 7):
        net = MemoryNetwork()
        node, first, *others = net.mesh(size)
        for number in range(8):
            leave(net, first, way)
            assert register(net, node, 10 * number).is_reached
            if same_key:
                first.alive = True
                net.join(first, node)  # by way of its bootstrap peer; others have not met it so far
            else:
                first = net.add()
                net.join(first, node)
            assert register(net, node, 10 * number + 1).is_reached
            for other in others:
                assert register(net, other, 10 * number + 2).is_reached
                net.join(first, other)
            net.move_to(net.now + 2.0)


def test_many_at_once_are_announced_anew_to_who_is_there() -> None:
    for size, gone in CASES:
        if len(gone) == (size - 1) // 2:
            net = MemoryNetwork()
            nodes = net.mesh(size)
            assert register(net, nodes[0], 1).is_reached
            for index in gone:
                leave(net, nodes[index], Way.KILLED)
            assert all(one is not None and one.is_reached for one in register_many(net, nodes[0], 70))


def refusing(node: MemoryNode, ack: Ack, times: int) -> list[int]:
    """It refuses so many STOREs, then takes them."""
    left, usual = [times], offers_of(node).handle_request

    def handle(sender: PeerId, body: bytes, now: float) -> bytes:
        request = decode_request(body, 256)
        if left[0] > 0 and hasattr(request, "envelopes"):
            left[0] -= 1
            usual(sender, body, now)
            return encode_acks([ack] * len(request.envelopes))
        return usual(sender, body, now)

    offers_of(node).handle_request = handle  # type: ignore[method-assign]
    return left


def test_a_storer_without_room_is_asked_again() -> None:
    net = MemoryNetwork()
    node, other = net.mesh(2)
    left = refusing(other, Ack.FULL, 3)
    outcome = register(net, node, 1)
    assert outcome == Outcome(1, 1, 1)
    assert left == [0]


def test_who_refuses_for_good_counts_and_is_not_asked_again() -> None:
    """An attacker cannot make a quorum smaller by refusing; and nobody is asked in vain for ten seconds."""
    net = MemoryNetwork()
    node, other, _ = net.mesh(3)
    left = refusing(other, Ack.INVALID, 99)
    before = net.now
    outcome = register(net, node, 1)
    assert outcome == Outcome(1, 2, 2)
    assert outcome.why == "1 refused: invalid"
    assert left == [98]
    assert net.now - before < 1.0


def test_a_quorum_once_met_stands_though_others_are_named_later() -> None:
    """The storer acknowledges before it names one that is gone, and of whom we have not heard."""
    net = MemoryNetwork()
    a, b = net.mesh(2)
    assert register(net, a, 1) == Outcome(1, 1, 1)
    gone = net.add()
    net.join(b, gone)
    gone.silent = True
    for number in range(2, 6):
        assert register(net, a, number).is_reached
        net.move_to(net.now + 20.0)
