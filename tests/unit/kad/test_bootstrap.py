"""Joining: nothing is claimed before it is so."""

from __future__ import annotations

from random import Random

from fastmarket.config import KadConfig
from fastmarket.formats.choice import FailureKind
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.bootstrap import BootstrapJob, BootstrapResult, SeedSettled
from fastmarket.kad.engine import Engine
from fastmarket.kad.events import JobFinished, JobProgress
from tests.virtual import START, Conditions, State, VirtualNetwork, peer_id_of, peer_info_of

CONFIG = KadConfig()
SEED = peer_info_of(1)


def make_engine() -> Engine:
    return Engine(CONFIG, peer_id_of("local"), now=START, entropy=Random(1).randbytes)


def outcome(engine: Engine) -> BootstrapResult | None:
    for event in engine.poll_events():
        if isinstance(event, JobFinished):
            assert isinstance(event.result, BootstrapResult)
            return event.result
    return None


def test_not_finished_before_seeds_are_connected_and_identified() -> None:
    """The race of the first system: there it was over as soon as the first query was."""
    engine = make_engine()
    engine.start(engine.bootstrap([SEED]), START)
    (first,) = engine.poll_actions()
    assert first.peer == SEED
    assert outcome(engine) is None
    engine.handle_reply(first.request_id, CONFIG.protocol, b"\x08\x04", START + 0.1)
    assert outcome(engine) is None, "it answered, but nobody knows yet who it is"
    engine.on_peer_identified(SEED, {CONFIG.protocol}, START + 0.2)
    result = None
    for _ in range(2):  # the self-lookup and the one more
        assert outcome(engine) is None
        (action,) = engine.poll_actions()
        engine.handle_reply(action.request_id, CONFIG.protocol, b"\x08\x04", START + 0.3)
    result = outcome(engine)
    assert result == BootstrapResult((SEED,), (), 1, 0)


def test_answerers_are_identified_before_it_is_over() -> None:
    network = VirtualNetwork(1, Conditions(identify_delay_s=0.4))
    nodes = network.grow(5)
    late = network.add()
    job_id = late.start_job(late.engine.bootstrap([nodes[2].info]))
    network.run(lambda: job_id in late.finished)
    assert late.known == {node.info.peer_id for node in nodes}


def test_a_seed_that_never_identifies_itself_is_not_connected() -> None:
    engine = make_engine()
    engine.start(engine.bootstrap([SEED]), START)
    (first,) = engine.poll_actions()
    engine.handle_reply(first.request_id, CONFIG.protocol, b"\x08\x04", START + 0.1)
    engine.handle_timer(START + CONFIG.settle_s)
    assert outcome(engine) is None
    engine.handle_timer(START + CONFIG.request_timeout_s)
    assert outcome(engine) == BootstrapResult((), ((SEED, FailureKind.TIMEOUT),), 0, 0)


def test_dead_seeds_are_named_and_the_living_suffice() -> None:
    network = VirtualNetwork(2)
    nodes = network.grow(6)
    nodes[1].state, nodes[2].state = State.DOWN, State.SILENT
    late = network.add()
    started = network.now
    job_id = late.start_job(late.engine.bootstrap([node.info for node in nodes[1:4]]))
    network.run(lambda: job_id in late.finished)
    result = late.finished[job_id].result
    assert isinstance(result, BootstrapResult)
    assert result.connected == (nodes[3].info,)
    assert dict(result.failed) == {
        nodes[1].info: FailureKind.GONE,
        nodes[2].info: FailureKind.TIMEOUT,
    }
    assert result.known_count >= 4
    assert network.now - started < 5 * CONFIG.settle_s, "the silent one did not hold it up"
    settled = [item for item in late.progress[job_id] if isinstance(item, SeedSettled)]
    assert [item.remaining_count for item in settled] == [2, 1, 0]


def test_all_seeds_dead_ends_soon_and_says_so() -> None:
    network = VirtualNetwork(3)
    dead = network.add()
    dead.state = State.DOWN
    node = network.add()
    result = node.run_job(node.engine.bootstrap([dead.info]), within_s=1.0)
    assert result == BootstrapResult((), ((dead.info, FailureKind.GONE),), 0, 0)


def test_without_seeds_and_alone_it_ends_at_once() -> None:
    engine = make_engine()
    job_id = engine.start(engine.bootstrap([]), START)
    assert engine.poll_events() == [JobFinished(job_id, BootstrapResult((), (), 0, 0))]
    job_id = engine.start(engine.bootstrap([PeerInfo(peer_id_of("local"), SEED.addrs)]), START)
    assert engine.poll_events() == [JobFinished(job_id, BootstrapResult((), (), 0, 0))]


def test_the_deadline_ends_it_and_counts_what_was_left_out() -> None:
    engine = make_engine()
    engine.start(engine.bootstrap([SEED], timeout_s=2.0), START)
    (first,) = engine.poll_actions()
    engine.on_peer_identified(SEED, {CONFIG.protocol}, START)
    engine.handle_reply(first.request_id, CONFIG.protocol, b"\x08\x04", START + 0.1)
    engine.handle_timer(START + 2.0)
    assert outcome(engine) == BootstrapResult((SEED,), (), 1, 1)


def test_cancelled() -> None:
    engine = make_engine()
    job_id = engine.start(engine.bootstrap([SEED]), START)
    engine.cancel(job_id, START)
    result = outcome(engine)
    assert result is not None
    assert result.failed == ((SEED, FailureKind.TIMEOUT),)


def test_buckets_farther_than_the_closest_neighbour_are_looked_up_in() -> None:
    """A node that only ever met its close neighbours meets the far side, too."""
    network = VirtualNetwork(4)
    nodes = network.grow(70)
    late = network.add()
    late.run_job(late.engine.bootstrap([nodes[0].info]))
    sizes: dict[int, int] = {}
    for contact in late.engine.contacts():
        bucket = late.engine.routing.bucket_of(contact.info.peer_id.key)
        sizes[bucket] = sizes.get(bucket, 0) + 1
    there: dict[int, int] = {}
    for peer_id in network.nodes:
        bucket = late.engine.routing.bucket_of(peer_id.key)
        there[bucket] = there.get(bucket, 0) + 1
    for bucket, count in there.items():
        if bucket < 3:
            assert sizes[bucket] >= min(count, 20) * 0.9


def test_an_ephemeral_port_is_never_learnt() -> None:
    """The first system stored where an inbound connection came from. Here a request teaches no address."""
    network = VirtualNetwork(5)
    nodes = network.grow(3)
    for node in nodes:
        for contact in node.engine.contacts():
            assert contact.info.addrs == network.nodes[contact.info.peer_id].info.addrs
    engine = make_engine()
    engine.handle_request(SEED.peer_id, b"\x08\x04\x12\x01k", START)
    assert engine.table_size == 0
    assert not any(isinstance(event, JobProgress) for event in engine.poll_events())


def test_a_node_is_asked_at_the_pace_that_joining_showed() -> None:
    """So the first search of a node that has just joined does not wait for one that hangs since."""
    network = VirtualNetwork(1, Conditions(latency_s=(0.0001, 0.0005)))
    nodes = network.grow(12)
    late = network.add()
    late.run_job(late.engine.bootstrap([nodes[0].info]))
    soft_timeouts_s = [late.engine.knowledge.rtt.soft_timeout_s(node.info.peer_id) for node in nodes]
    assert max(soft_timeouts_s) < CONFIG.soft_timeout_s / 2


def test_where_peers_did_not_answer_another_lookup_is_wanted() -> None:
    network = VirtualNetwork(3)
    nodes = network.grow(60)
    for node in nodes[40:]:
        node.state = State.SILENT
    late = network.add()
    result = late.run_job(late.engine.bootstrap([nodes[0].info]))
    assert isinstance(result, BootstrapResult)
    assert result.unanswered_count > 0
    assert 0 in late.engine.routing.stale_buckets(network.now)
    # A refresh asks for nothing more, or a network with dead nodes would be refreshed without end.
    again = late.run_job(BootstrapJob(late.engine._around, (), 30.0, late.engine.routing.stale_buckets))
    assert isinstance(again, BootstrapResult)
    assert again.unanswered_count == 0
    assert late.engine.routing.stale_buckets(network.now) == []
