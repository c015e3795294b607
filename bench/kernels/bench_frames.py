"""fastmarket.native.frames beside its twin: 64 requests of one read are answered, with the cipher."""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.bench_wire import OUTSTANDING, ServedRequests
from bench.kernels.sides import SIDES
from fastmarket.libp2p.tcp import yamux
from tests.reference import frames as twin

READS = 10


@SIDES
def test_served_rpc(benchmark: BenchmarkFixture, compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not compiled:
        monkeypatch.setattr(yamux, "receive_frames", twin.receive_frames)
        monkeypatch.setattr(yamux, "write_frame", twin.write_frame)
    served = ServedRequests()

    def setup() -> tuple[tuple[list[bytes]], dict[str, object]]:
        served.take_replies()
        return (served.reads(READS),), {}

    benchmark.pedantic(served.serve, setup=setup, rounds=50)
    if benchmark.stats is not None:
        calls = READS * OUTSTANDING
        benchmark.extra_info["us_per_call"] = round(benchmark.stats["min"] / calls * 1e6, 4)
