"""fastmarket.native.peer_cache beside its twin: replies of 20 peers, all named before, as nearly always."""

from __future__ import annotations

from random import Random

from pytest_benchmark.fixture import BenchmarkFixture

from bench.kernels.sides import PEER_IDS, SIDES, measure
from fastmarket.formats.identity import PeerId
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.wire.messages import (
    PEER_CACHE_ENTRY_BYTES,
    Field,
    Kind,
    encode_peer,
    encode_reply,
    read_peer,
)
from fastmarket.native.peer_cache import PeerInfoCache
from tests.reference import peer_cache as twin

PEERS = [
    PeerInfo(PeerId(raw), (Multiaddr.from_endpoint(f"9.{number}.3.4", 4001),))
    for number, raw in enumerate(PEER_IDS)
]
ENTRIES = [encode_peer(Field.CLOSER_PEERS, info, 8192) for info in PEERS]
REPLIES = [encode_reply(Kind.FIND_NODE, Random(number).sample(ENTRIES, 20)) for number in range(100)]
ROWS = [(reply, b"\x08\x04", 0x42, 40, False) for reply in REPLIES]


@SIDES
def test_reply_of_20_peers(benchmark: BenchmarkFixture, compiled: bool) -> None:
    ours = PeerInfoCache(1024, PEER_CACHE_ENTRY_BYTES, read_peer)
    theirs = twin.PeerInfoCache(PEER_CACHE_ENTRY_BYTES, read_peer)
    assert [ours.read_all(*row) for row in ROWS] == [theirs.read_all(*row) for row in ROWS]
    measure(benchmark, (ours if compiled else theirs).read_all, ROWS)
