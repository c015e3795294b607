"""The Kademlia engine: what one request served and one request of a lookup cost.

`pytest bench/bench_kad.py`; figures are microseconds of one core. Marks: a FIND_NODE answered in <= 6 us.
"""

from __future__ import annotations

from random import Random

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from fastmarket.config import KadConfig
from fastmarket.formats.identity import PeerId
from fastmarket.kad.engine import Engine
from fastmarket.kad.lookup.queries import FindNode, closer_peers, read_reply
from fastmarket.kad.wire.messages import Kind, encode_request
from tests.sim_network import START, peer_id_of, peer_info_of

CONFIG = KadConfig()
PEERS = [peer_info_of(number) for number in range(3000)]
TARGETS = [encode_request(Kind.FIND_NODE, peer_id_of(f"target {number}").raw) for number in range(256)]


def engine_of(local: PeerId, peers: int) -> Engine:
    engine = Engine(CONFIG, local, now=START, entropy=Random(1).randbytes)
    engine.set_local_addrs(peer_info_of(9999).addrs)
    for peer in PEERS[:peers]:
        engine.on_peer_identified(peer, {CONFIG.protocol}, START)
    engine.poll_actions()
    return engine


@pytest.mark.parametrize("peers", [500, 3000])
def test_find_node_served(benchmark: BenchmarkFixture, peers: int) -> None:
    """256 requests of peers of the table; tables of 120 and 165 entries."""
    engine = engine_of(peer_id_of("local"), peers)
    senders = [contact.info.peer_id for contact in engine.contacts()]
    requests = [(senders[index % len(senders)], body) for index, body in enumerate(TARGETS)]
    handle = engine.handle_request

    def serve() -> None:
        for sender, body in requests:
            handle(sender, body, START + 1)

    benchmark.extra_info["table"] = engine.table_size
    benchmark.extra_info["requests"] = len(requests)
    benchmark(serve)
    benchmark.extra_info["us_per_request"] = benchmark.stats.stats.min / len(requests) * 1e6


def test_get_providers_served(benchmark: BenchmarkFixture) -> None:
    """Five providers and 20 closer peers."""
    engine = engine_of(peer_id_of("local"), 500)
    for peer in PEERS[:5]:
        engine.handlers.providers.add(b"key", peer, START)
    body = encode_request(Kind.GET_PROVIDERS, b"key")
    benchmark(engine.handle_request, PEERS[9].peer_id, body, START + 1)


def test_reply_read(benchmark: BenchmarkFixture) -> None:
    """A reply of 20 peers, known ones, as a lookup reads it."""
    reply = engine_of(peer_id_of("local"), 500).handle_request(PEERS[0].peer_id, TARGETS[0], START)
    assert reply is not None
    assert len(benchmark(lambda: closer_peers(CONFIG, read_reply(CONFIG, Kind.FIND_NODE, reply)))) == 20


def test_lookup_job_overhead(benchmark: BenchmarkFixture) -> None:
    """A whole lookup among 300 peers, replies ready beforehand: what the engine spends on each request."""
    target = TARGETS[0]
    replies: dict[bytes, bytes] = {}
    for peer in PEERS[:300]:
        reply = engine_of(peer.peer_id, 300).handle_request(peer_id_of("local"), target, START)
        assert reply is not None
        replies[peer.peer_id.raw] = reply
    engine = engine_of(peer_id_of("local"), 300)
    key = peer_id_of("target 0").raw
    requests = 0

    def lookup() -> None:
        nonlocal requests
        engine.start(engine.lookup_job(key, FindNode(CONFIG, key)), START)
        requests = 0
        while actions := engine.poll_actions():
            requests += len(actions)
            for action in actions:
                reply = replies[action.peer.peer_id.raw]
                engine.handle_reply(action.request_id, CONFIG.protocol, reply, START)
                engine.next_timer()
        engine.poll_events()

    benchmark(lookup)
    benchmark.extra_info["requests"] = requests
    benchmark.extra_info["us_per_request"] = benchmark.stats.stats.min / requests * 1e6
