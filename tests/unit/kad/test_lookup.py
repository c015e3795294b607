"""Time in a lookup: slots, late answers, the end."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fastmarket.config import KadConfig
from fastmarket.errors import PeerFault
from fastmarket.formats.choice import Choice, FailureKind
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.lookup.iterative import IterativeLookup
from fastmarket.kad.lookup.lookup import End
from fastmarket.kad.lookup.lookup_job import LookupJob, LookupResult
from fastmarket.kad.lookup.query import Answer
from tests.virtual import START, peer_id_of, peer_info_of

CONFIG = replace(KadConfig(), alpha=3, k=5)
TARGET = bytes(32)
PEERS = sorted((peer_info_of(n) for n in range(40)), key=lambda peer: peer.peer_id.key)


class Naming:
    """Payload: numbers of peers of PEERS, closest to TARGET first; 255: stop; 254: a fault."""

    seeks_peers = True
    spans_region = False

    def choices(self, peer: PeerInfo) -> tuple[Choice, ...]:
        return (Choice("/test", b"?"),)

    def read(self, peer: PeerInfo, protocol: str, payload: bytes, now: float) -> Answer:
        if 254 in payload:
            raise PeerFault("wrong")
        named = tuple(PEERS[number] for number in payload if number < 250)
        return Answer(named, ("item",) if payload else (), stop=255 in payload)


def make(seeds: list[int], config: KadConfig = CONFIG) -> IterativeLookup:
    lookup = IterativeLookup(TARGET, Naming(), config, peer_id_of("local"))
    lookup.add([PEERS[number] for number in seeds])
    return lookup


def asked(lookup: IterativeLookup, now: float) -> list[tuple[int, int]]:
    return [(out.token, PEERS.index(out.peer)) for out in lookup.poll(now)]


def found(lookup: IterativeLookup) -> list[int]:
    return [PEERS.index(answered.peer) for answered in lookup.closest()]


def test_each_answer_frees_its_own_slot() -> None:
    lookup = make([10, 11, 12, 13])
    assert asked(lookup, START) == [(0, 10), (1, 11), (2, 12)]
    assert asked(lookup, START) == []
    lookup.on_reply(1, "/test", bytes([5, 11]), START)
    assert asked(lookup, START) == [(3, 5)], "the closest news goes first, without waiting for the others"


def test_nothing_to_ask_ends_at_once() -> None:
    lookup = make([])
    assert lookup.poll(START) == []
    assert lookup.end is End.COMPLETE
    assert lookup.next_timer() is None


def test_nobody_beyond_the_k_closest_is_asked() -> None:
    lookup = make(list(range(10)))
    tokens = dict(asked(lookup, START))
    while lookup.end is None:
        token, _ = tokens.popitem()
        lookup.on_reply(token, "/test", b"", START)
        tokens.update(asked(lookup, START))
    assert found(lookup) == [0, 1, 2, 3, 4]
    assert lookup.queried_count == 5


def test_a_failed_peer_is_replaced_by_the_next() -> None:
    lookup = make(list(range(6)), replace(CONFIG, alpha=10))
    tokens = asked(lookup, START)
    assert [number for _, number in tokens] == [0, 1, 2, 3, 4]
    lookup.on_failure(2, FailureKind.UNREACHABLE, START)
    assert asked(lookup, START) == [(5, 5)]
    for token in (0, 1, 3, 4, 5):
        lookup.on_reply(token, "/test", b"", START)
    lookup.poll(START)
    assert found(lookup) == [0, 1, 3, 4, 5]
    assert (lookup.end, lookup.failed_count, lookup.answered_count) == (End.COMPLETE, 1, 5)


def test_a_slow_peer_gives_its_slot_away_and_its_late_answer_counts() -> None:
    lookup = make([0, 1, 2, 3])
    asked(lookup, START)
    now = lookup.next_timer()
    assert now == START + CONFIG.soft_timeout_s
    lookup.handle_timer(now)
    assert lookup.in_flight_count == 0
    assert asked(lookup, now) == [(3, 3)]
    assert lookup.on_reply(0, "/test", bytes([7]), now + 1) == ("item",)
    assert asked(lookup, now + 1) == [(4, 7)]
    assert found(lookup) == [0]


def test_one_dead_node_does_not_stall() -> None:
    """All answer within a millisecond, one never does: the end comes after settle_s, not later."""
    lookup = make([0, 1, 2, 3])
    tokens = asked(lookup, START)
    for token, number in tokens:
        if number != 1:
            lookup.on_reply(token, "/test", b"", START + 0.001)
    lookup.on_reply(asked(lookup, START + 0.001)[0][0], "/test", b"", START + 0.002)
    now = START + 0.002
    while lookup.end is None:
        timer = lookup.next_timer()
        assert timer is not None
        assert timer > now
        now = timer
        lookup.handle_timer(now)
        lookup.poll(now)
    assert found(lookup) == [0, 2, 3]
    assert now == START + CONFIG.settle_s


def test_when_all_are_slow_the_slow_are_waited_for() -> None:
    lookup = make([0, 1, 2])
    asked(lookup, START)
    for now in (START + 0.5, START + 2.0):
        lookup.handle_timer(now)
        lookup.poll(now)
        assert lookup.end is None
    lookup.on_reply(0, "/test", b"", START + 2.0)
    lookup.poll(START + 2.0)
    assert lookup.end is None, "others may be as slow as the first"
    lookup.on_reply(2, "/test", b"", START + 3.0)
    lookup.on_reply(1, "/test", b"", START + 3.5)
    lookup.poll(START + 3.5)
    assert (lookup.end, found(lookup)) == (End.COMPLETE, [0, 1, 2])


def test_silence_of_all_ends_with_the_request_timeout() -> None:
    lookup = make([0, 1, 2])
    asked(lookup, START)
    lookup.handle_timer(START + CONFIG.request_timeout_s)
    assert lookup.poll(START + CONFIG.request_timeout_s) == []
    assert (lookup.end, lookup.failed_count, found(lookup)) == (End.COMPLETE, 3, [])


def test_peers_that_invent_closer_ones_end_at_the_limit() -> None:
    config = replace(CONFIG, max_asked=12)
    lookup = IterativeLookup(TARGET, Inventing(), config, peer_id_of("local"))
    lookup.add([PEERS[-1]])
    rounds = 0
    while requests := lookup.poll(START):
        rounds += 1
        for out in requests:
            lookup.on_reply(out.token, "/test", out.peer.peer_id.raw, START)
    assert lookup.end is End.LIMIT
    assert lookup.queried_count == 12
    assert rounds <= 12


class Inventing:
    """Each names three that nobody ever heard of, each generation closer to the target."""

    seeks_peers = True
    spans_region = False

    def choices(self, peer: PeerInfo) -> tuple[Choice, ...]:
        return (Choice("/test", b"?"),)

    def read(self, peer: PeerInfo, protocol: str, payload: bytes, now: float) -> Answer:
        number = int.from_bytes(peer.peer_id.key[:8], "big")
        children, attempt = [], 0
        while len(children) < 3:
            attempt += 1
            child = PeerInfo(peer_id_of(f"{payload.hex()} {attempt}"))
            if int.from_bytes(child.peer_id.key[:8], "big") < number or attempt > 200:
                children.append(child)
        return Answer(tuple(children))


def test_an_answer_can_be_enough() -> None:
    lookup = make([0, 1, 2, 3])
    asked(lookup, START)
    lookup.on_reply(1, "/test", bytes([255]), START)
    assert lookup.end is End.STOPPED
    assert lookup.poll(START) == []
    assert lookup.on_reply(0, "/test", bytes([9]), START) == ()


def test_a_fault_leaves_the_request_open_for_failed() -> None:
    lookup = make([0])
    asked(lookup, START)
    with pytest.raises(PeerFault):
        lookup.on_reply(0, "/test", bytes([254]), START)
    lookup.on_failure(0, FailureKind.PEER_FAULT, START)
    lookup.poll(START)
    assert (lookup.end, lookup.failed_count) == (End.COMPLETE, 1)


def test_we_never_ask_ourselves() -> None:
    lookup = make([0])
    lookup.add([PeerInfo(peer_id_of("local"))])
    assert len(asked(lookup, START)) == 1


def test_a_job_ends_at_its_deadline_with_what_it_has() -> None:
    lookup = make([])
    job = LookupJob(lookup, lambda target, now: [PEERS[0], PEERS[1]], 0.4)
    job.start(START)
    job.poll_requests(START)
    job.on_reply(0, "/test", b"", START + 0.1)
    assert job.next_timer() == START + 0.4
    job.handle_timer(START + 0.4)
    assert job.poll_requests(START + 0.4) == []
    assert job.is_finished
    assert isinstance(job.result, LookupResult)
    assert job.result.end is End.DEADLINE
    assert [answered.peer for answered in job.result.closest] == [PEERS[0]]
