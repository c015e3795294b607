"""Several paths of one lookup that share no peer."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from fastmarket.config import KadConfig
from fastmarket.formats.choice import Choice, FailureKind
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.lookup.disjoint import DisjointLookup
from fastmarket.kad.lookup.iterative import NetworkKnowledge
from fastmarket.kad.lookup.lookup import End
from fastmarket.kad.lookup.network_size import NetworkSize
from fastmarket.kad.lookup.query import Answer
from fastmarket.kad.lookup.rtt import RttEstimator
from tests.virtual import START, peer_id_of, peer_info_of

CONFIG = replace(KadConfig(), k=5, alpha=6, disjoint_paths=3)
TARGET = bytes(32)
PEERS = sorted((peer_info_of(n) for n in range(200)), key=lambda peer: peer.peer_id.key)


class Naming:
    """Payload: numbers of peers of PEERS, closest to TARGET first; 255: stop."""

    seeks_peers = True
    spans_region = False

    def choices(self, peer: PeerInfo) -> tuple[Choice, ...]:
        return (Choice("/test", b"?"),)

    def read(self, peer: PeerInfo, protocol: str, payload: bytes, now: float) -> Answer:
        return Answer(tuple(PEERS[n] for n in payload if n < 250), stop=255 in payload)


def make(seeds: list[int], config: KadConfig = CONFIG) -> DisjointLookup:
    knowledge = NetworkKnowledge(RttEstimator(config), NetworkSize(config))
    lookup = DisjointLookup(TARGET, Naming(), config, peer_id_of("local"), knowledge)
    lookup.add([PEERS[number] for number in seeds])
    return lookup


def run(lookup: DisjointLookup, answer: dict[int, bytes | None], now: float = START) -> list[int]:
    """Answer whatever is asked; None: it fails. Who was asked, in order."""
    asked = []
    while requests := lookup.poll(now):
        for out in requests:
            number = PEERS.index(out.peer)
            asked.append(number)
            payload = answer[number]
            if payload is None:
                lookup.on_failure(out.token, FailureKind.RESET, now)
            else:
                lookup.on_reply(out.token, "/test", payload, now)
    return asked


def found(lookup: DisjointLookup) -> list[int]:
    return [PEERS.index(answered.peer) for answered in lookup.closest()]


def test_nobody_is_asked_on_two_paths() -> None:
    rng = Random(3)
    everybody = {n: bytes(sorted(rng.sample(range(200), 12) + list(range(5)))) for n in range(200)}
    lookup = make([150, 151, 152, 153, 154, 155])
    asked = run(lookup, everybody)
    assert len(asked) == len(set(asked)) == lookup.queried_count == lookup.answered_count
    assert lookup.end is End.COMPLETE
    assert found(lookup) == [0, 1, 2, 3, 4]


def test_liars_lead_their_own_path_astray_and_no_other() -> None:
    """100 answers first and names its accomplices; the honest peers are met on the other paths."""
    liars = bytes(range(100, 120))
    answers: dict[int, bytes | None] = dict.fromkeys(range(100, 120), liars)
    answers |= {150: bytes([20, 21]), 151: bytes([22]), 152: bytes([23])}
    answers |= {n: bytes(range(8)) for n in (20, 21, 22, 23)} | {n: bytes(range(8)) for n in range(8)}
    lookup = make([100, 150, 151, 152])
    run(lookup, answers)
    assert found(lookup) == [0, 1, 2, 3, 4]


def test_what_fails_on_one_path_is_waited_for_on_none() -> None:
    answers: dict[int, bytes | None] = {n: bytes(range(6)) for n in range(200)}
    answers[1] = None
    lookup = make([50, 51, 52])
    run(lookup, answers)
    assert lookup.end is End.COMPLETE
    assert lookup.failed_count == 1
    assert found(lookup) == [0, 2, 3, 4, 5]


def test_an_answer_that_is_enough_ends_all_paths() -> None:
    lookup = make([50, 51, 52])
    first = lookup.poll(START)[0]
    lookup.on_reply(first.token, "/test", bytes([255]), START)
    assert lookup.end is End.STOPPED
    assert lookup.poll(START) == []
    assert lookup.next_timer() is None


def test_silent_peers_are_given_up_in_time() -> None:
    lookup = make([50, 51, 52])
    now = START
    lookup.poll(now)
    while lookup.end is None:
        when = lookup.next_timer()
        assert when is not None
        now = max(now, when)
        lookup.handle_timer(now)
        lookup.poll(now)
    assert now <= START + CONFIG.request_timeout_s
    assert lookup.closest() == ()
    assert lookup.failed_count == 3


def test_what_the_paths_ask_is_bounded() -> None:
    class Inventing(Naming):
        def __init__(self) -> None:
            self.made = 1000

        def read(self, peer: PeerInfo, protocol: str, payload: bytes, now: float) -> Answer:
            self.made += 20
            return Answer(tuple(peer_info_of(n) for n in range(self.made, self.made + 20)))

    config = replace(CONFIG, max_asked=60)
    knowledge = NetworkKnowledge(RttEstimator(config), NetworkSize(config))
    lookup = DisjointLookup(TARGET, Inventing(), config, peer_id_of("local"), knowledge)
    lookup.add([PEERS[1], PEERS[2], PEERS[3]])
    while requests := lookup.poll(START):
        for out in requests:
            lookup.on_reply(out.token, "/test", b"", START)
    assert lookup.end in (End.COMPLETE, End.LIMIT)
    assert lookup.queried_count <= 2 * config.max_asked
