"""Who is told to others, who is asked whether it lives, and how the silent come back."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from random import Random

from fastmarket.config import KadConfig
from fastmarket.formats.choice import FailureKind
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.bootstrap import BootstrapResult
from fastmarket.kad.engine import Engine
from fastmarket.kad.events import SendRequest
from fastmarket.kad.routing.unresponsive import UnresponsivePeers
from fastmarket.pb.libp2p import kad_pb2
from tests.virtual import START, State, VirtualNetwork, peer_id_of, peer_info_of

CONFIG = KadConfig()
SERVER = {CONFIG.protocol}
LOCAL = peer_id_of("local")
PEER, OTHER = peer_info_of(1), peer_info_of(2)


def make_engine(config: KadConfig = CONFIG) -> Engine:
    return Engine(config, LOCAL, now=START, entropy=Random(1).randbytes)


def told(engine: Engine) -> int:
    return len(kad_pb2.Message.FromString(engine.closer_to(bytes(32), None)).closerPeers)


def answer(engine: Engine, action: SendRequest, now: float) -> None:
    engine.handle_reply(action.request_id, CONFIG.protocol, b"\x08\x04", now)


def turn(engine: Engine, now: float) -> list[SendRequest]:
    engine.handle_timer(now)
    return engine.poll_actions()


def lose(engine: Engine, peer: PeerInfo, now: float) -> None:
    """Its requests fail until it is out; others are heard."""
    for second in range(CONFIG.max_failures):
        engine.routing.on_failure(peer.peer_id, FailureKind.TIMEOUT, now + 2 * second)
        engine.routing.on_reply(LOCAL, now + 2 * second)
    assert engine.routing.contact(peer.peer_id) is None


class TestTrust:
    def test_told_to_others_at_once(self) -> None:
        """So those who join at the same moment find each other."""
        engine = make_engine()
        engine.on_peer_identified(PEER, SERVER, START)
        assert told(engine) == 1

    def test_who_never_answered_is_asked_and_not_told_until_it_does(self) -> None:
        engine = make_engine()
        engine.on_peer_identified(PEER, SERVER, START)
        due = START + CONFIG.prove_after_s
        assert turn(engine, due - 1) == []
        (asked,) = turn(engine, due)
        assert asked.peer == PEER
        assert told(engine) == 0
        answer(engine, asked, due + 0.1)
        assert told(engine) == 1
        assert turn(engine, due + CONFIG.prove_after_s) == [], "once is enough"

    def test_silence_costs_the_place(self) -> None:
        engine = make_engine()
        engine.on_peer_identified(PEER, SERVER, START)
        due = START + CONFIG.prove_after_s
        (asked,) = turn(engine, due)
        engine.routing.on_reply(OTHER.peer_id, due + 1)
        engine.handle_failure(asked.request_id, FailureKind.UNREACHABLE, due + 2)
        assert engine.table_size == 0

    def test_while_nobody_is_heard_it_stays_and_is_asked_again(self) -> None:
        engine = make_engine()
        engine.on_peer_identified(PEER, SERVER, START)
        due = START + CONFIG.prove_after_s
        (asked,) = turn(engine, due)
        engine.handle_failure(asked.request_id, FailureKind.UNREACHABLE, due + 2)
        assert engine.table_size == 1
        assert told(engine) == 0
        assert [action.peer for action in turn(engine, due + 2 + CONFIG.prove_after_s)] == [PEER]

    def test_who_answered_meanwhile_is_not_asked(self) -> None:
        engine = make_engine()
        engine.on_peer_identified(PEER, SERVER, START)
        engine.routing.on_reply(PEER.peer_id, START + 1)
        assert turn(engine, START + CONFIG.prove_after_s) == []
        assert told(engine) == 1

    def test_few_at_a_time(self) -> None:
        engine = make_engine()
        for number in range(1, 13):
            engine.on_peer_identified(peer_info_of(number), SERVER, START)
        now = START + CONFIG.prove_after_s
        asked = turn(engine, now)
        assert len(asked) == CONFIG.max_proofs
        answer(engine, asked[0], now + 0.1)
        assert len(turn(engine, now + 0.2)) == 1

    def test_the_doubtful_take_no_room_in_a_reply(self) -> None:
        engine = make_engine(replace(CONFIG, k=3))
        peers = [peer_info_of(number) for number in range(1, 9)]
        for peer in peers:
            engine.on_peer_identified(peer, SERVER, START)
        asked = {action.peer for action in turn(engine, START + CONFIG.prove_after_s)}
        table = {contact.info for contact in engine.contacts()}
        assert asked
        assert told(engine) == min(3, len(table - asked))


class TestSilent:
    def back_off(self, engine: Engine, until: float) -> list[float]:
        """When the silent peer is asked, if it stays silent."""
        times = []
        while (now := engine.liveness.next_timer()) is not None and now < until:
            for action in turn(engine, now):
                if action.peer == PEER:
                    times.append(now - START)
                    engine.handle_failure(action.request_id, FailureKind.TIMEOUT, now)
                    engine.routing.on_reply(LOCAL, now)
                else:
                    answer(engine, action, now)
        return times

    def test_asked_ever_more_seldom_and_forgotten_after_a_day(self) -> None:
        engine = make_engine()
        for peer in (PEER, OTHER):
            engine.on_peer_identified(peer, SERVER, START - 5)
        lose(engine, PEER, START)
        times = self.back_off(engine, START + 3 * CONFIG.forget_after_s)
        gaps = [later - earlier for earlier, later in pairwise(times)]
        assert times[0] <= CONFIG.probe_first_s + 5
        assert all(later >= earlier for earlier, later in pairwise(gaps))
        assert 20 < len(times) < 80
        assert times[-1] < CONFIG.forget_after_s + 5
        assert len(engine.routing.unresponsive.by_key) == 0
        within_the_hour = [gap for at, gap in zip(times, gaps, strict=False) if at + gap < 3600]
        assert max(within_the_hour) < 0.16 * 3600, "a break of an hour heals within ten minutes"

    def test_an_answer_brings_it_back_and_a_refresh_follows(self) -> None:
        engine = make_engine()
        for peer in (PEER, OTHER):
            engine.on_peer_identified(peer, SERVER, START - 5)
            engine.routing.on_reply(peer.peer_id, START - 5)
        lose(engine, PEER, START)
        assert told(engine) == 1
        now = engine.liveness.next_timer()
        assert now is not None
        (asked,) = turn(engine, now)
        assert asked.peer == PEER
        answer(engine, asked, now + 0.1)
        assert engine.routing.contact(PEER.peer_id) is not None
        assert told(engine) == 2
        timer = engine.next_timer()
        assert timer is not None
        assert timer <= now + 2 * CONFIG.return_delay_s
        assert {action.peer for action in turn(engine, timer)} == {PEER, OTHER}

    def test_it_comes_to_us(self) -> None:
        engine = make_engine()
        engine.on_peer_identified(PEER, SERVER, START - 5)
        lose(engine, PEER, START)
        engine.on_peer_identified(PEER, SERVER, START + 5)
        assert engine.table_size == 1
        assert len(engine.routing.unresponsive.by_key) == 0

    def test_it_asks_us_and_is_asked_at_once(self) -> None:
        """A process that was stopped and goes on: its connection is the old one, nobody identifies again."""
        engine = make_engine()
        for peer in (PEER, OTHER):
            engine.on_peer_identified(peer, SERVER, START - 5)
        lose(engine, PEER, START)
        engine.routing.on_seen(PEER.peer_id.key, START + 3)
        assert [action.peer for action in turn(engine, START + 3)] == [PEER]

    def test_never_told_to_others_nor_asked_by_lookups(self) -> None:
        engine = make_engine()
        for peer in (PEER, OTHER):
            engine.on_peer_identified(peer, SERVER, START - 5)
        lose(engine, PEER, START)
        assert told(engine) == 1
        engine.start(engine.find_node(PEER.peer_id.raw), START + 3)
        assert [action.peer for action in engine.poll_actions()] == [OTHER]

    def test_who_turned_client_is_not_remembered(self) -> None:
        engine = make_engine()
        engine.on_peer_identified(PEER, SERVER, START)
        lose(engine, PEER, START + 1)
        engine.on_peer_identified(PEER, set(), START + 9)
        assert len(engine.routing.unresponsive.by_key) == 0

    def test_probes_are_paced(self) -> None:
        engine = make_engine()
        peers = [peer_info_of(number) for number in range(1, 31)]
        for peer in peers:
            engine.on_peer_identified(peer, SERVER, START)
            engine.routing.on_reply(peer.peer_id, START)
        gone = peers[:20]
        for peer in gone:
            lose(engine, peer, START + 1)
        asked = 0
        while (now := engine.liveness.next_timer()) is not None and now < START + 75:
            for action in turn(engine, now):
                asked += 1
                engine.handle_failure(action.request_id, FailureKind.TIMEOUT, now)
        assert 8 <= asked <= 60 / CONFIG.probe_pause_s + 1

    def test_bounded(self) -> None:
        remembered = UnresponsivePeers(replace(CONFIG, max_remembered=10))
        for number in range(50):
            remembered.add(peer_info_of(number), START + number)
        kept = {silent.info for silent in remembered.by_key.values()}
        assert kept == {peer_info_of(number) for number in range(40, 50)}


class TestAlone:
    def test_the_seeds_are_wanted_again(self) -> None:
        """The only peer is gone for good, its place is taken by a node with another address later."""
        engine = make_engine()
        engine.start(engine.bootstrap([PEER]), START)
        (first,) = engine.poll_actions()
        answer(engine, first, START + 0.1)
        engine.on_peer_identified(PEER, SERVER, START + 0.2)
        for _ in range(2):
            for action in engine.poll_actions():
                answer(engine, action, START + 0.3)
        lose(engine, PEER, START + 10)
        engine.routing.unresponsive.pop(PEER.peer_id.key)
        asked: list[PeerInfo] = []
        while not asked:
            now = engine.next_timer()
            assert now is not None
            assert now < START + 60
            asked = [action.peer for action in turn(engine, now)]
        assert asked == [PEER]

    def test_a_network_of_two_heals(self) -> None:
        network = VirtualNetwork(3)
        seed, node = network.grow(2)
        seed.state = State.DOWN
        for _ in range(3):
            network.rest(30)
            node.start_job(node.engine.find_node(b"key"))
        network.rest(1200)
        seed.state = State.UP
        before = len(seed.served)
        network.run(lambda: len(seed.served) > before, within_s=600)
        assert node.known == {seed.info.peer_id}


def test_a_partition_heals_by_itself() -> None:
    network = VirtualNetwork(4)
    nodes = network.grow(24)
    far = nodes[12:]
    for node in far:
        node.state = State.DOWN
    network.rest(3600)
    near_known = {node.number: node.known for node in nodes[:12]}
    assert all(not known & {node.info.peer_id for node in far} for known in near_known.values())
    for node in far:
        node.state = State.UP
        node.turn()
    network.rest(900)
    for node in nodes[:12]:
        assert len(node.known) == 23


def test_bootstrap_results_are_those_of_before() -> None:
    network = VirtualNetwork(5)
    nodes = network.grow(12)
    assert all(len(node.known) == 11 for node in nodes)
    late = network.add()
    result = late.run_job(late.engine.bootstrap([nodes[3].info]))
    assert isinstance(result, BootstrapResult)
    assert result.known_count == 12
