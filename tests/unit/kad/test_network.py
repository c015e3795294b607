"""Networks of 2, 8, 50 and 100 nodes in virtual time; `tests/sim` has a thousand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fastmarket.config import KadConfig, NodeConfig
from fastmarket.formats.identity import PeerId
from fastmarket.kad.bootstrap import BootstrapResult
from fastmarket.kad.lookup.lookup import End
from fastmarket.kad.lookup.lookup_job import LookupResult
from fastmarket.kad.wire.messages import Kind, encode_request
from fastmarket.native.sha256 import sha256
from tests.reference.lookup import distance
from tests.virtual import Conditions, State, VirtualNetwork, VirtualNode

LAN = Conditions(latency_s=(0.0001, 0.0005))


def true_closest(network: VirtualNetwork, key: bytes, but: VirtualNode, count: int = 20) -> list[bytes]:
    target = sha256(key)
    peers = [
        node.info.peer_id for node in network.nodes.values() if node is not but and node.state is State.UP
    ]
    return [peer.raw for peer in sorted(peers, key=lambda peer: distance(peer.key, target))[:count]]


def found(result: object) -> list[bytes]:
    assert isinstance(result, LookupResult)
    return [answered.peer.peer_id.raw for answered in result.closest]


@pytest.mark.parametrize("count", [2, 8])
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("conditions", [Conditions(), LAN, Conditions(identify_delay_s=0.3)])
def test_after_bootstrap_everybody_knows_everybody(count: int, seed: int, conditions: Conditions) -> None:
    """All at the same moment from one; also when requests are answered before the asker is identified."""
    network = VirtualNetwork(seed, conditions)
    nodes = network.grow(count)
    for node in nodes:
        assert node.known == set(network.nodes) - {node.info.peer_id}
        for contact in node.engine.contacts():
            assert contact.info == network.nodes[contact.info.peer_id].info
    for node in nodes[1:]:
        (finished,) = node.finished.values()
        result = finished.result
        assert isinstance(result, BootstrapResult)
        assert result.connected == (nodes[0].info,)
        assert (result.failed, result.remaining_count) == ((), 0)
        if not conditions.identify_delay_s:
            assert result.known_count == count - 1


def test_fifty_nodes_from_one() -> None:
    network = VirtualNetwork(1)
    nodes = network.grow(50)
    assert all(node.engine.routing.known_count() >= 40 for node in nodes)
    assert network.now - next(iter(nodes[1].finished_at.values())) < 3


def test_a_hundred_nodes_find_the_true_closest() -> None:
    network = VirtualNetwork(2)
    nodes = network.grow(100)
    for number in range(40):
        key, node = b"key %d" % number, nodes[number * 2]
        result = node.run_job(node.engine.find_node(key))
        assert isinstance(result, LookupResult)
        assert result.end is End.COMPLETE
        assert found(result) == true_closest(network, key, node)
        assert result.queried_count <= 60


@pytest.mark.parametrize(("loss", "share"), [(0.0, 0.99), (0.02, 0.9)])
def test_loss_and_dead_nodes_do_not_hide_the_closest(loss: float, share: float) -> None:
    """A fifth is dead, and with loss each twentieth exchange fails, too."""
    network = VirtualNetwork(3, Conditions(loss=loss))
    nodes = network.grow(60)
    for node in nodes[10:22]:
        node.state = State.SILENT if node.number % 2 else State.DOWN
    network.rest(network.config.kad.alive_s)  # until then they are taken for alive
    missed = 0
    for number in range(20):
        key, node = b"key %d" % number, nodes[30 + number]
        started = network.now
        result = node.run_job(node.engine.find_node(key))
        missed += len(set(true_closest(network, key, node)) - set(found(result)))
        assert network.now - started < 6.0
    assert missed <= (1 - share) * 20 * 20


def test_the_dead_leave_the_tables() -> None:
    network = VirtualNetwork(4)
    nodes = network.grow(8)
    nodes[3].state, nodes[5].state = State.SILENT, State.DOWN
    dead = {nodes[3].info.peer_id, nodes[5].info.peer_id}
    network.rest(3 * network.config.kad.refresh_interval_s)
    for node in nodes:
        if node.state is State.UP:
            assert node.known == set(network.nodes) - dead - {node.info.peer_id}


def test_clients_ask_but_are_in_no_table() -> None:
    network = VirtualNetwork(5)
    nodes = network.grow(6)
    client = network.add(client=True)
    client.run_job(client.engine.bootstrap([nodes[0].info]))
    assert client.known == {node.info.peer_id for node in nodes}
    assert not any(client.info.peer_id in node.known for node in nodes)
    key = client.info.peer_id.raw
    result = nodes[2].run_job(nodes[2].engine.find_node(key))
    assert len(found(result)) == 5


def test_the_same_seed_gives_the_same_run() -> None:
    hashes = []
    for seed in (7, 7, 8):
        network = VirtualNetwork(seed, Conditions(loss=0.05))
        network.grow(20)
        hashes.append(network.trace_hash)
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_hostile_peer_cannot_keep_a_lookup_alive() -> None:
    """It answers every question with forty peers nobody ever heard of."""
    network = VirtualNetwork(9, config=NodeConfig(kad=replace(KadConfig(), max_asked=50)))
    nodes = network.grow(8)
    liar, invented = nodes[4], iter(range(10**9, 2 * 10**9))

    def lie(sender: object, protocol: str, body: bytes, now: float) -> bytes:
        entries = b"".join(b"\x42\x24\x0a\x22\x12\x20" + sha256(b"%d" % next(invented)) for _ in range(40))
        return b"\x08\x04" + entries

    liar.answer = lie
    node = nodes[1]
    result = node.run_job(node.engine.find_node(b"key"))
    assert isinstance(result, LookupResult)
    assert result.queried_count <= 50
    assert len(result.closest) == 7, "the honest ones are found all the same"
    assert node.known == set(network.nodes) - {node.info.peer_id}, "nothing invented got into the table"


def test_garbage_instead_of_replies() -> None:
    network = VirtualNetwork(10)
    nodes = network.grow(8)
    for bad, reply in zip(nodes[3:6], (b"", b"\xff" * 50, b"\x08\x04" + bytes(300_000)), strict=True):
        bad.answer = lambda sender, protocol, body, now, reply=reply: reply
    result = nodes[1].run_job(nodes[1].engine.find_node(b"key"))
    assert isinstance(result, LookupResult)
    assert (len(result.closest), result.failed_count) == (4, 3)


def test_a_restarted_seed_is_learnt_again() -> None:
    network = VirtualNetwork(11)
    nodes = network.grow(8)
    seed = nodes[0]
    seed.state = State.DOWN
    network.rest(3 * network.config.kad.refresh_interval_s)
    assert not any(seed.info.peer_id in node.known for node in nodes[1:])
    seed.boot()
    network.join(seed, nodes[5])
    assert seed.known == set(network.nodes) - {seed.info.peer_id}
    assert all(seed.info.peer_id in node.known for node in nodes[1:])


def test_requests_of_the_lookup_are_what_others_understand() -> None:
    network = VirtualNetwork(12)
    nodes = network.grow(3)
    bodies: list[bytes] = []
    for node in nodes[1:]:

        def note(
            sender: PeerId, protocol: str, body: bytes, now: float, node: VirtualNode = node
        ) -> bytes | None:
            bodies.append(body)
            return node.respond(sender, protocol, body, now)

        node.answer = note
    nodes[0].run_job(nodes[0].engine.find_node(b"some key"))
    assert bodies == [encode_request(Kind.FIND_NODE, b"some key")] * 2
