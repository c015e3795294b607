"""Storing before the lookup has ended: at whom, and what counts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fastmarket.config import KadConfig, NodeConfig
from fastmarket.formats.choice import Choice, FailureKind
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.lookup.iterative import IterativeLookup
from fastmarket.kad.lookup.lookup import End
from fastmarket.kad.lookup.network_size import NetworkSize
from fastmarket.kad.lookup.query import Answer, Quorum, quorum_size
from fastmarket.kad.outcome import Outcome
from fastmarket.kad.records.put_job import PutJob, PutResult
from fastmarket.native.sha256 import sha256
from tests.reference.lookup import distance
from tests.virtual import START, VirtualNetwork, VirtualNode, peer_id_of, peer_info_of

CONFIG = replace(KadConfig(), k=4, alpha=3)
TARGET = bytes(32)
PEERS = sorted((peer_info_of(n) for n in range(60)), key=lambda peer: peer.peer_id.key)


class Naming:
    """Payload: numbers of peers of PEERS, closest to TARGET first."""

    seeks_peers = True
    spans_region = False

    def choices(self, peer: PeerInfo) -> tuple[Choice, ...]:
        return (Choice("/find", b"?"),)

    def read(self, peer: PeerInfo, protocol: str, payload: bytes, now: float) -> Answer:
        return Answer(tuple(PEERS[number] for number in payload))


class Keeping:
    """Acknowledged by b"y", refused by b"n", and by b"p" it is nothing that counts."""

    def choices(self, peer: PeerInfo, answered_protocol: str | None) -> tuple[Choice, ...]:
        return (Choice("/store", b"!"),)

    def is_counted(self, peer: PeerInfo, answered_protocol: str | None) -> bool:
        return True

    def read_ack(self, peer: PeerInfo, protocol: str, payload: bytes, now: float) -> bool | None:
        return {b"y": True, b"n": False, b"p": None}[payload]

    def refusal(self, peer: PeerInfo) -> tuple[str, bool]:
        return "refused", False

    def quorum_size(self, counting_peers: int) -> int:
        return quorum_size(Quorum.MAJORITY, counting_peers)


class Driven:
    """A store job by hand: `finds` and `stores` are what it has asked, peer number to token."""

    def __init__(
        self,
        *,
        known_size: bool = True,
        size: NetworkSize | None = None,
        seeds: tuple[int, ...] = (9, 30),
    ) -> None:
        size = size or NetworkSize(CONFIG)
        if known_size:
            size.learn(TARGET, [peer.peer_id.key for peer in PEERS[:4]])
        lookup = IterativeLookup(TARGET, Naming(), CONFIG, peer_id_of("local"))
        self.job = PutJob(lookup, Keeping(), lambda *_: [PEERS[n] for n in seeds], CONFIG, 30.0, size)
        self.finds: dict[int, int] = {}
        self.stores: dict[int, int] = {}
        self.job.start(START)
        self.poll()

    def poll(self) -> None:
        for out in self.job.poll_requests(START):
            number = PEERS.index(out.peer)
            (self.stores if out.choices[0].protocol == "/store" else self.finds)[number] = out.token

    def named(self, number: int, *others: int) -> None:
        self.job.on_reply(self.finds.pop(number), "/find", bytes(others), START)
        self.poll()

    def stored(self, number: int, how: bytes = b"y") -> None:
        self.job.on_reply(self.stores.pop(number), "/store", how, START)
        self.poll()

    def failed(self, number: int, kind: FailureKind = FailureKind.RESET) -> None:
        self.job.on_failure(self.stores.pop(number), kind, START)
        self.poll()

    def reached(self) -> list[object]:
        return self.job.poll_events()


def test_those_near_enough_are_stored_at_as_soon_as_they_are_named() -> None:
    driven = Driven()
    assert driven.stores == {}  # those of the table are too far away
    driven.named(9, 0, 1, 2, 3)
    assert set(driven.stores) == {0, 1, 2, 3}
    driven.stored(0)
    driven.stored(1)
    assert driven.reached() == []
    driven.stored(2)
    assert driven.reached() == [Outcome(3, 4, 3)], "three of four, and nobody closer was asked so far"
    assert driven.job.result is None


def test_a_quorum_once_met_stands_though_others_turn_out_to_be_closer() -> None:
    driven = Driven()
    driven.named(9, 1, 2, 3, 4)
    for number in (2, 3, 4):
        driven.stored(number)
    assert driven.reached() == [Outcome(3, 4, 3)]
    driven.named(1, 0)
    assert 0 in driven.stores
    so_far = driven.job.so_far()
    assert so_far.outcome == Outcome(3, 4, 3)
    assert so_far.outcome.is_reached


def test_of_few_who_acknowledges_is_to_tell_first_whom_it_knows() -> None:
    size = NetworkSize(CONFIG)
    size.learn(TARGET, [PEERS[0].peer_id.key])  # one other node
    driven = Driven(known_size=False, size=size, seeds=(0,))
    assert set(driven.stores) == {0}
    driven.stored(0)
    assert driven.reached() == []
    driven.named(0, 1)
    assert driven.reached() == []
    driven.stored(1)
    driven.named(1)
    assert driven.reached() == [Outcome(2, 2, 2)]


def test_a_storer_that_is_gone_does_not_count_and_the_next_takes_its_place() -> None:
    driven = Driven(known_size=False)
    driven.named(9, 0, 1, 2, 3, 4)
    for number in (0, 1, 2, 3):
        driven.named(number)
    assert set(driven.stores) == {0, 1, 2, 3}
    driven.failed(0, FailureKind.GONE)
    driven.named(4)
    assert set(driven.stores) == {1, 2, 3, 4}
    for number in (1, 2, 3):
        driven.stored(number)
    assert driven.reached() == [Outcome(3, 4, 3)]
    driven.stored(4)
    assert driven.job.result == replace_closest(driven, PutResult(Outcome(4, 4, 3), 1, (), End.COMPLETE))


def replace_closest(driven: Driven, expected: PutResult) -> PutResult:
    """Whom it found is looked at elsewhere; 30 was asked for its place in the table and never answers."""
    result = driven.job.result
    assert isinstance(result, PutResult)
    return replace(expected, closest=result.closest, silent_count=result.silent_count)


def test_without_an_idea_of_the_size_the_lookup_ends_first() -> None:
    driven = Driven(known_size=False)
    driven.named(9, 0, 1, 2, 3)
    assert driven.stores == {}
    for number in (0, 1, 2, 3):
        assert driven.stores == {}
        if number not in driven.finds:
            driven.poll()
        driven.named(number)
    assert set(driven.stores) == {0, 1, 2, 3}


def test_what_lies_beyond_the_closest_does_not_count_in_the_end() -> None:
    """4 is near enough while 0 to 2 are unknown; in the end it is the fifth."""
    driven = Driven()
    driven.named(9, 3, 4)
    assert set(driven.stores) == {3, 4}
    driven.stored(3)
    driven.stored(4)
    driven.named(3, 0, 1, 2)
    assert driven.reached() == []
    for number in (0, 1, 2):
        driven.stored(number, b"n")
        driven.named(number)
    result = driven.job.result
    assert isinstance(result, PutResult)
    assert (result.outcome.acknowledged, result.outcome.asked, result.outcome.wanted) == (1, 4, 3)
    assert not result.outcome.is_reached


def test_who_failed_before_it_answered_gets_it_when_it_has() -> None:
    driven = Driven()
    driven.named(9, 0, 1, 2, 3)
    driven.failed(0)
    assert 0 not in driven.stores
    for number in (1, 2, 3):
        driven.stored(number)
    for number in (0, 1, 2, 3):
        if number not in driven.finds:
            driven.poll()
        driven.named(number)
    assert set(driven.stores) == {0}
    driven.stored(0)
    assert driven.job.result is not None
    assert driven.job.result.outcome.acknowledged == 4


def test_those_that_turn_out_to_speak_something_else_do_not_count() -> None:
    driven = Driven()
    driven.named(9, 0, 1, 2, 3)
    driven.stored(0, b"p")
    driven.stored(1, b"p")
    driven.stored(2)
    assert driven.reached() == []
    driven.stored(3)
    assert driven.reached() == [Outcome(2, 2, 2, 2)]


def holders(network: VirtualNetwork, key: bytes) -> list[VirtualNode]:
    nodes = network.nodes.values()
    return [node for node in nodes if node.engine.handlers.records.get(key, network.now)]


@pytest.mark.parametrize("optimistic", [False, True])
def test_in_a_network_the_quorum_comes_sooner_and_the_closest_hold_it(optimistic: bool) -> None:
    network = VirtualNetwork(9, config=NodeConfig(kad=replace(KadConfig(), optimistic_store=optimistic)))
    nodes = network.grow(120)
    node, key, began = nodes[5], b"some key", network.now
    job_id = node.start_job(node.engine.put_value(key, b"some value", network.now))
    network.run(lambda: any(isinstance(item, Outcome) for item in node.progress.get(job_id, [])))
    before_end = job_id not in node.finished
    quorum_s = network.now - began
    network.run(lambda: job_id in node.finished)
    result = node.finished[job_id].result
    assert isinstance(result, PutResult)
    assert (result.outcome.acknowledged, result.outcome.asked, result.end) == (20, 20, End.COMPLETE)
    assert before_end
    closest = sorted(nodes, key=lambda one: distance(one.info.peer_id.key, sha256(key)))
    assert {one.number for one in closest[:20]} - {node.number} <= {
        one.number for one in holders(network, key)
    }
    assert len(holders(network, key)) <= 30
    slowest_s = network.now - began
    assert quorum_s < slowest_s * (0.7 if optimistic else 1.0)
