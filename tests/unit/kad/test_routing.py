"""Who gets into the table, and who leaves it."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from fastmarket.config import KadConfig
from fastmarket.formats.choice import Choice, FailureKind
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.engine import Engine
from fastmarket.kad.events import SendRequest
from fastmarket.kad.lookup.query import Answer
from fastmarket.kad.wire.messages import Kind, encode_request
from tests.virtual import START, peer_id_of, peer_info_of

CONFIG = replace(KadConfig(), k=4)
SERVER = {CONFIG.protocol}
LOCAL = peer_id_of("local")
LATER = START + CONFIG.check_after_s
FIND_SELF = encode_request(Kind.FIND_NODE, LOCAL.raw)


def make_engine() -> Engine:
    return Engine(CONFIG, LOCAL, now=START, entropy=Random(1).randbytes)


def in_bucket_0(engine: Engine, count: int) -> list[PeerInfo]:
    peers = [peer_info_of(number) for number in range(200)]
    return [peer for peer in peers if engine.routing.bucket_of(peer.peer_id.key) == 0][:count]


def full_bucket() -> tuple[Engine, list[PeerInfo]]:
    """An engine, and six peers of one bucket, of which the first four fill it, the first seen first."""
    engine = make_engine()
    peers = in_bucket_0(engine, 6)
    for offset, peer in enumerate(peers[:4]):
        engine.on_peer_identified(peer, SERVER, START + offset / 10)
    return engine, peers


def held(engine: Engine) -> set[PeerInfo]:
    return {contact.info for contact in engine.contacts()}


class TestEntry:
    def test_servers_with_addresses_only(self) -> None:
        engine, peer = make_engine(), peer_info_of(1)
        engine.on_peer_identified(peer, {"/ipfs/kad/1.0.0", "/ipfs/ping/1.0.0"}, START)
        engine.on_peer_identified(PeerInfo(peer.peer_id), SERVER, START)
        assert engine.table_size == 0
        engine.on_peer_identified(peer, SERVER, START)
        assert held(engine) == {peer}

    def test_who_becomes_a_client_leaves(self) -> None:
        engine, peer = make_engine(), peer_info_of(1)
        engine.on_peer_identified(peer, SERVER, START)
        engine.on_peer_identified(peer, set(), START)
        assert engine.table_size == 0

    def test_not_ourselves(self) -> None:
        engine = make_engine()
        engine.on_peer_identified(PeerInfo(LOCAL, peer_info_of(1).addrs), SERVER, START)
        assert engine.table_size == 0

    def test_hearsay_stays_outside(self) -> None:
        engine, seed = make_engine(), peer_info_of(1)
        engine.on_peer_identified(seed, SERVER, START)
        engine.start(engine.find_node(b"key"), START)
        (action,) = engine.poll_actions()
        other = Engine(CONFIG, seed.peer_id, now=START, entropy=Random(2).randbytes)
        for number in range(2, 10):
            other.on_peer_identified(peer_info_of(number), SERVER, START)
        reply = other.handle_request(LOCAL, action.choices[0].payload, START)
        assert reply is not None
        engine.handle_reply(action.request_id, CONFIG.protocol, reply, START)
        assert {action.peer for action in engine.poll_actions()} & {peer_info_of(n) for n in range(2, 10)}
        assert held(engine) == {seed}

    def test_addresses_are_bounded_and_bare(self) -> None:
        engine = make_engine()
        peer_id = peer_id_of(1)
        addrs = tuple(peer_info_of(number).addrs[0].with_peer(peer_id) for number in range(100))
        engine.on_peer_identified(PeerInfo(peer_id, addrs), SERVER, START)
        (contact,) = engine.contacts()
        assert contact.info.addrs == tuple(peer_info_of(number).addrs[0] for number in range(16))


class TestFullBucket:
    def test_the_oldest_is_asked_before_it_goes(self) -> None:
        engine, peers = full_bucket()
        engine.on_peer_identified(peers[4], SERVER, LATER)
        (check,) = engine.poll_actions()
        assert check.peer == peers[0]
        assert check.choices[0].payload == FIND_SELF
        assert check.deadline == LATER + CONFIG.check_timeout_s
        assert held(engine) == set(peers[:4]), "nobody leaves before the answer"
        engine.handle_failure(check.request_id, FailureKind.TIMEOUT, LATER + 3)
        assert held(engine) == {*peers[1:4], peers[4]}

    def test_it_answers_and_stays(self) -> None:
        engine, peers = full_bucket()
        engine.on_peer_identified(peers[4], SERVER, LATER)
        (check,) = engine.poll_actions()
        engine.handle_reply(check.request_id, CONFIG.protocol, b"\x08\x04", LATER + 1)
        assert held(engine) == set(peers[:4])
        engine.on_peer_identified(peers[5], SERVER, LATER + 1)
        assert engine.poll_actions() == [], "a check dials, and so is a newcomer elsewhere: no chain of them"
        engine.on_peer_identified(peers[5], SERVER, LATER + 1 + CONFIG.check_interval_s)
        (second,) = engine.poll_actions()
        assert second.peer == peers[1], "the one that answered is the freshest now"

    def test_it_answers_nonsense_and_goes(self) -> None:
        engine, peers = full_bucket()
        engine.on_peer_identified(peers[4], SERVER, LATER)
        (check,) = engine.poll_actions()
        engine.handle_reply(check.request_id, CONFIG.protocol, b"\xff\xff", LATER + 1)
        assert peers[0] not in held(engine)
        assert peers[4] in held(engine)

    def test_it_asks_us_meanwhile_and_stays(self) -> None:
        engine, peers = full_bucket()
        engine.on_peer_identified(peers[4], SERVER, LATER)
        (check,) = engine.poll_actions()
        engine.handle_request(peers[0].peer_id, FIND_SELF, LATER + 1)
        engine.handle_failure(check.request_id, FailureKind.TIMEOUT, LATER + 3)
        assert held(engine) == set(peers[:4])

    def test_one_check_a_bucket_and_the_freshest_moves_up(self) -> None:
        engine, peers = full_bucket()
        engine.on_peer_identified(peers[4], SERVER, LATER)
        engine.on_peer_identified(peers[5], SERVER, LATER)
        (check,) = engine.poll_actions()
        assert engine.routing.known_count() == 6
        engine.handle_failure(check.request_id, FailureKind.UNREACHABLE, LATER + 3)
        assert held(engine) == {*peers[1:4], peers[5]}
        assert engine.routing.known_count() == 5

    def test_silence_of_the_shell_is_silence_of_the_peer(self) -> None:
        engine, peers = full_bucket()
        engine.on_peer_identified(peers[4], SERVER, LATER)
        engine.poll_actions()
        timer = engine.next_timer()
        assert timer == LATER + CONFIG.check_timeout_s
        engine.handle_timer(timer)
        assert peers[4] in held(engine)

    def test_who_was_seen_just_now_is_not_asked(self) -> None:
        engine, peers = full_bucket()
        engine.on_peer_identified(peers[4], SERVER, LATER - 1)
        assert engine.poll_actions() == []
        assert held(engine) == set(peers[:4])

    def test_waiting_peers_are_bounded(self) -> None:
        engine = make_engine()
        for peer in in_bucket_0(engine, 40):
            engine.on_peer_identified(peer, SERVER, START)
        assert engine.routing.known_count() == 2 * CONFIG.k


class OtherProtocol:
    """A question in a protocol that is not Kademlia's."""

    seeks_peers = True
    spans_region = False

    def choices(self, peer: PeerInfo) -> tuple[Choice, ...]:
        return (Choice("/other/1.0.0", b""),)

    def read(self, peer: PeerInfo, protocol: str, payload: bytes, now: float) -> Answer:
        return Answer()


class TestFailures:
    def fail(self, engine: Engine, peer: PeerInfo, kind: FailureKind, now: float) -> None:
        engine.routing.on_failure(peer.peer_id, kind, now)

    def test_two_in_a_row_and_the_waiting_one_moves_up(self) -> None:
        engine, peers = full_bucket()
        engine.on_peer_identified(peers[4], SERVER, START + 1)
        self.fail(engine, peers[0], FailureKind.TIMEOUT, START + 2)
        engine.routing.on_reply(peers[1].peer_id, START + 3)
        assert peers[0] in held(engine)
        self.fail(engine, peers[0], FailureKind.RESET, START + 4)
        assert held(engine) == set(peers[1:5])

    def test_a_reply_between_forgives(self) -> None:
        engine, peers = full_bucket()
        for offset in range(0, 20, 2):
            self.fail(engine, peers[0], FailureKind.TIMEOUT, START + offset)
            engine.routing.on_reply(peers[0].peer_id, START + offset + 1)
        assert peers[0] in held(engine)

    def test_failures_of_parallel_requests_are_one(self) -> None:
        engine, peers = full_bucket()
        engine.routing.on_reply(peers[1].peer_id, START + 2)
        for _ in range(5):
            self.fail(engine, peers[0], FailureKind.UNREACHABLE, START + 2)
            engine.on_peer_unreachable(peers[0].peer_id, START + 2)
        assert peers[0] in held(engine)

    def test_an_outage_of_our_own_keeps_the_table(self) -> None:
        engine, peers = full_bucket()
        for offset in range(1, 10):
            for peer in peers[:4]:
                self.fail(engine, peer, FailureKind.UNREACHABLE, START + 10 * offset)
        assert held(engine) == set(peers[:4])
        engine.routing.on_reply(peers[1].peer_id, START + 101)
        for peer in (peers[0], peers[2], peers[3]):
            self.fail(engine, peer, FailureKind.UNREACHABLE, START + 110)
        assert held(engine) == {peers[1]}

    def test_refusing_the_protocol_is_leaving(self) -> None:
        engine, peers = full_bucket()
        engine.routing.on_refusal(peers[0].peer_id, ["/other/1.0.0", CONFIG.protocol], START + 2)
        assert peers[0] not in held(engine)

    def test_refusing_another_protocol_alone_says_nothing(self) -> None:
        """A holder of a standard libp2p kind is asked for its offer directly, and knows no offers."""
        engine, peers = full_bucket()
        engine.start(engine.lookup_job(b"key", OtherProtocol()), START + 1)
        actions: list[SendRequest] = engine.poll_actions()
        for action in actions:
            engine.handle_failure(action.request_id, FailureKind.REFUSED, START + 2)
        assert held(engine) == set(peers[:4])

    def test_our_own_lack_of_room_is_nobodys_failure(self) -> None:
        engine, peers = full_bucket()
        for offset in range(10):
            self.fail(engine, peers[0], FailureKind.BUSY, START + 2 * offset)
        assert peers[0] in held(engine)

    @pytest.mark.parametrize("kind", [FailureKind.TIMEOUT, FailureKind.PEER_FAULT, FailureKind.CLOSED])
    def test_failed_requests_of_jobs_count(self, kind: FailureKind) -> None:
        engine, peers = full_bucket()
        for round_at in (START + 10, START + 20):
            engine.start(engine.find_node(b"key"), round_at)
            actions: list[SendRequest] = engine.poll_actions()
            for action in actions:
                if action.peer == peers[0]:
                    engine.handle_failure(action.request_id, kind, round_at + 1)
                else:
                    engine.handle_reply(action.request_id, CONFIG.protocol, b"\x08\x04", round_at + 1)
        assert held(engine) == set(peers[1:4])


def test_silent_peers_are_noticed_though_the_lookup_ended_before() -> None:
    """A lookup does not wait for the silent; that they were silent must count all the same."""
    engine, peers = full_bucket()
    for round_at in (START + 100, START + 200):
        job_id = engine.start(engine.find_node(b"key"), round_at)
        actions = engine.poll_actions()
        for action in actions:
            if action.peer != peers[0]:
                engine.handle_reply(action.request_id, CONFIG.protocol, b"\x08\x04", round_at + 0.01)
        engine.handle_timer(round_at + CONFIG.soft_timeout_s)
        engine.handle_timer(round_at + CONFIG.settle_s)
        assert [getattr(event, "job_id", None) for event in engine.poll_events()] == [job_id]
        (silent,) = [action for action in actions if action.peer == peers[0]]
        engine.handle_failure(silent.request_id, FailureKind.TIMEOUT, silent.deadline)
    assert peers[0] not in held(engine)
