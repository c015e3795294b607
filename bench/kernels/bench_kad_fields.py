"""fastmarket.native.kad_fields beside its twin: a FIND_NODE reply that names 20 peers."""

from __future__ import annotations

from pytest_benchmark.fixture import BenchmarkFixture

from bench.kernels.sides import PEER_IDS, TARGETS, Case, both, run
from fastmarket.native import kad_fields
from fastmarket.pb.libp2p import kad_pb2
from tests.reference import kad_fields as twin

REPLY = kad_pb2.Message(
    type=kad_pb2.Message.FIND_NODE,
    closerPeers=[kad_pb2.Message.Peer(id=raw, addrs=[bytes(8), bytes(20)]) for raw in PEER_IDS[:20]],
).SerializeToString()


@both(Case("reply-of-20", kad_fields.message_fields, twin.message_fields, [(REPLY, 40, 0)] * TARGETS))
def test_call(benchmark: BenchmarkFixture, case: Case, compiled: bool) -> None:
    run(benchmark, case, compiled)
