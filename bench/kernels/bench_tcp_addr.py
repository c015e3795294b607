"""fastmarket.native.tcp_addr beside its twin: addresses with a peer id behind them, text and bytes."""

from __future__ import annotations

from pytest_benchmark.fixture import BenchmarkFixture

from bench.kernels.sides import PEER_IDS, Case, both, run, singles
from fastmarket.formats.identity import PeerId
from fastmarket.native import tcp_addr
from tests.reference import tcp_addr as twin

TEXTS = [
    f"/ip4/192.0.2.{number}/tcp/{4000 + number}/p2p/{PeerId(raw)}" for number, raw in enumerate(PEER_IDS)
]
RAWS = [twin.addr_from_text(text) for text in TEXTS]


@both(
    Case("text-to-bytes", tcp_addr.addr_from_text, twin.addr_from_text, singles(TEXTS)),
    Case("bytes-to-text", tcp_addr.addr_to_text, twin.addr_to_text, singles(RAWS)),
)
def test_call(benchmark: BenchmarkFixture, case: Case, compiled: bool) -> None:
    run(benchmark, case, compiled)
