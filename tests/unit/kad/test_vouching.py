"""Peers known to be alive need not be asked to be found; who that is, and when all are asked after all."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fastmarket.config import KadConfig
from fastmarket.formats.choice import Choice, FailureKind
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.lookup.iterative import Claims, IterativeLookup, NetworkKnowledge
from fastmarket.kad.lookup.known_alive import KnownAlive
from fastmarket.kad.lookup.lookup import End
from fastmarket.kad.lookup.lookup_job import LookupResult
from fastmarket.kad.lookup.network_size import NetworkSize
from fastmarket.kad.lookup.query import Answer
from fastmarket.kad.lookup.rtt import RttEstimator
from fastmarket.native.candidates import Answered
from tests.reference.lookup import distance
from tests.virtual import START, Conditions, State, VirtualNetwork, peer_id_of, peer_info_of

CONFIG = replace(KadConfig(), k=6, min_queried=2)
TARGET = bytes(32)
PEERS = sorted((peer_info_of(n) for n in range(40)), key=lambda peer: peer.peer_id.key)
SPOKEN = {"/other", "/test"}


class Naming:
    """Payload: numbers of peers of PEERS, closest to TARGET first."""

    def __init__(self, *, seeks_peers: bool = True) -> None:
        self.seeks_peers = seeks_peers
        self.spans_region = False

    def choices(self, peer: PeerInfo) -> tuple[Choice, ...]:
        return (Choice("/unknown", b"?"), Choice("/test", b"?"))

    def read(self, peer: PeerInfo, protocol: str, payload: bytes, now: float) -> Answer:
        return Answer(tuple(PEERS[number] for number in payload))


class Around:
    """What a node has learnt: everybody in `alive` is connected and has answered at START."""

    def __init__(self, alive: range, *, small: bool = True) -> None:
        self.alive = KnownAlive(CONFIG)
        size = NetworkSize(CONFIG)
        size.learn(TARGET, [peer.peer_id.key for peer in (PEERS[:3] if small else PEERS[:6])])
        self.learnt = NetworkKnowledge(RttEstimator(CONFIG), size, None, self.alive)
        for number in alive:
            self.learnt.on_identified(PEERS[number].peer_id, SPOKEN, START)

    def lookup(
        self, seeds: range, *, config: KadConfig = CONFIG, seeks: bool = True, claims: Claims | None = None
    ) -> IterativeLookup:
        made = IterativeLookup(
            TARGET, Naming(seeks_peers=seeks), config, peer_id_of("local"), self.learnt, claims=claims
        )
        made.add([PEERS[number] for number in seeds])
        return made


def asked(lookup: IterativeLookup, now: float = START) -> dict[int, int]:
    return {PEERS.index(out.peer): out.token for out in lookup.poll(now)}


def found(lookup: IterativeLookup) -> list[int]:
    return [PEERS.index(answered.peer) for answered in lookup.closest()]


def answer(lookup: IterativeLookup, token: int, *named: int, now: float = START) -> None:
    lookup.on_reply(token, "/test", bytes(named), now)


def test_the_closest_are_asked_and_of_the_others_those_that_may_be_dead() -> None:
    lookup = Around(range(5)).lookup(range(6))
    tokens = asked(lookup)
    assert set(tokens) == {0, 1, 5}
    for token in tokens.values():
        answer(lookup, token, 3, 4)
    assert asked(lookup) == {}
    assert (lookup.end, lookup.queried_count, lookup.answered_count) == (End.COMPLETE, 3, 3)
    assert found(lookup) == [0, 1, 2, 3, 4, 5]
    assert lookup.storers()[2] == Answered(PEERS[2], "/test")


def test_whoever_is_named_closer_is_asked_and_moves_the_others_down() -> None:
    lookup = Around(range(2, 40)).lookup(range(2, 9))
    tokens = asked(lookup)
    assert set(tokens) == {2, 3}
    answer(lookup, tokens[2], 0)
    more = asked(lookup)
    assert set(more) == {0}
    answer(lookup, tokens[3])
    answer(lookup, more[0], 1)
    more = asked(lookup)
    assert set(more) == {1}
    answer(lookup, more[1])
    assert asked(lookup) == {}
    assert found(lookup) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("later", "doubt"),
    [
        (0.0, lambda alive: alive.on_doubt(PEERS[4].peer_id)),
        (0.0, lambda alive: alive.on_disconnected(PEERS[4].peer_id)),
        (0.0, lambda alive: alive.on_identified(PEERS[4].peer_id, {"/other"}, START)),
        (
            CONFIG.alive_s + 1,
            lambda alive: [alive.on_answer(PEERS[n].peer_id, START + 16) for n in (2, 3, 5)],
        ),
    ],
)
def test_what_ends_the_belief_in_a_peer(later: float, doubt: object) -> None:
    around = Around(range(6))
    assert callable(doubt)
    doubt(around.alive)
    assert set(asked(around.lookup(range(6)), START + later)) == {0, 1, 4}


def test_all_are_asked_for_what_they_hold_on_disjoint_paths_and_in_an_unknown_network() -> None:
    around = Around(range(6))
    assert len(asked(around.lookup(range(6), seeks=False))) == 6
    assert len(asked(around.lookup(range(6), claims={}))) == 6
    around.learnt = replace(around.learnt, size=NetworkSize(CONFIG))
    assert len(asked(around.lookup(range(6)))) == 6


def test_those_too_far_to_be_the_last_step_are_asked_alpha_at_once() -> None:
    around = Around(range(40), small=False)
    assert len(asked(around.lookup(range(25, 40)))) == 6
    assert len(asked(around.lookup(range(6)))) == 2


def test_when_a_known_one_falls_silent_everybody_is_asked() -> None:
    around = Around(range(10))
    lookup = around.lookup(range(10))
    tokens = asked(lookup)
    answer(lookup, tokens[0], now=START + 0.01)
    assert asked(lookup, START + 0.01) == {}
    late = lookup.next_timer()
    assert late is not None
    lookup.handle_timer(late)
    assert set(asked(lookup, late)) == {2, 3, 4, 5, 6}
    # Until it answers it is not believed in; and who is silent is asked with all the others.
    second = around.lookup(range(10))
    assert set(asked(second, late)) == {0, 1, 2, 3, 4, 5, 6}


def test_when_a_known_one_fails_everybody_is_asked() -> None:
    lookup = Around(range(10)).lookup(range(10))
    tokens = asked(lookup)
    lookup.on_failure(tokens[1], FailureKind.CLOSED, START)
    assert set(asked(lookup)) == {2, 3, 4, 5, 6}


def test_past_a_crowd_nobody_is_vouched_for() -> None:
    crowd = [
        PeerInfo(peer.peer_id, (Multiaddr.from_text(f"/ip4/45.67.8.{number}/tcp/4001"),))
        for number, peer in enumerate(PEERS[:4])
    ]
    others = [
        PeerInfo(peer.peer_id, (Multiaddr.from_text(f"/ip4/{number}.1.2.3/tcp/4001"),))
        for number, peer in enumerate(PEERS[4:14], 30)
    ]
    around = Around(range(40))
    lookup = around.lookup(range(0))
    lookup.add(crowd + others)
    asked_of = [out.peer for out in lookup.poll(START)]
    assert [info for info in crowd + others if info not in asked_of] == [crowd[2], *others[6:]]


def test_the_silent_are_asked_and_not_waited_for_even_when_nobody_else_is_asked() -> None:
    """Their requests leave before the end does."""
    around = Around(range(2))
    around.learnt.rtt.on_late(PEERS[2].peer_id, START)
    lookup = around.lookup(range(2))
    tokens = asked(lookup)
    answer(lookup, tokens[0], 2)
    answer(lookup, tokens[1], 2)
    assert set(asked(lookup)) == {2}
    assert lookup.end is None
    assert lookup.next_timer() == START
    lookup.handle_timer(START)
    assert asked(lookup) == {}
    assert (lookup.end, found(lookup)) == (End.COMPLETE, [0, 1])


def exact(network: VirtualNetwork, key: bytes, but: PeerInfo) -> list[PeerInfo]:
    others = [node.info for node in network.nodes.values() if node.info is not but]
    target = network.nodes[but.peer_id].engine.find_node(key).lookup.target
    return sorted(others, key=lambda info: distance(info.peer_id.key, target))[:20]


@pytest.mark.parametrize("count", [12, 30, 60])
def test_lookups_one_after_the_other_ask_few_and_find_the_same(count: int) -> None:
    network = VirtualNetwork(7, Conditions(latency_s=(0.001, 0.002)))
    nodes = network.grow(count)
    node, asked_in_all = nodes[5], 0
    for number in range(30):
        key = b"key %d" % number
        result = node.run_job(node.engine.find_node(key))
        assert isinstance(result, LookupResult)
        assert [answered.peer for answered in result.closest] == exact(network, key, node.info)
        assert {answered.protocol for answered in result.closest} == {network.config.kad.protocol}
        asked_in_all += result.queried_count
    assert asked_in_all <= 30 * 8


def test_a_hanging_peer_is_believed_in_for_a_while_only() -> None:
    network = VirtualNetwork(8, Conditions(latency_s=(0.001, 0.002)))
    nodes = network.grow(12)
    hanging = nodes[7]
    hanging.state = State.SILENT
    network.rest(network.config.kad.alive_s + 0.1)
    for node in nodes[:3]:
        result = node.run_job(node.engine.find_node(b"key"))
        assert isinstance(result, LookupResult)
        assert len(result.closest) == 10
        assert hanging.info not in [answered.peer for answered in result.closest]
