"""fastmarket.native.frames beside its twin: 64 requests of one read are answered, with the cipher."""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.bench_wire import NOW, OUTSTANDING, RPC, joined, written
from bench.kernels.sides import SIDES
from fastmarket.formats.varint import frame
from fastmarket.libp2p.events import StreamData
from fastmarket.libp2p.tcp import yamux
from tests.reference import frames as twin

READS = 10


@SIDES
def test_served_rpc(benchmark: BenchmarkFixture, compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not compiled:
        monkeypatch.setattr(yamux, "receive_frames", twin.receive_frames)
        monkeypatch.setattr(yamux, "write_frame", twin.write_frame)
    dialer, listener = joined()
    streams = [dialer.open_stream([RPC], NOW, lazy=True) for _ in range(OUTSTANDING)]
    request, replies = frame(bytes(38)), list[bytes]()

    def setup() -> tuple[tuple[list[bytes]], dict[str, object]]:
        for data in replies:
            dialer.receive_data(data, NOW)
            while (event := dialer.next_event()) is not None:
                if isinstance(event, StreamData):
                    dialer.consumed(event.stream_id, len(event.data), NOW)
        replies.clear()
        listener.receive_data(dialer.data_to_send(), NOW)
        reads = []
        for _ in range(READS):
            for stream in streams:
                dialer.send(stream, request, NOW)
            reads.append(dialer.data_to_send())
        return (reads,), {}

    def serve(reads: list[bytes]) -> None:
        for data in reads:
            listener.receive_data(data, NOW)
            replies.extend(written(listener))

    benchmark.pedantic(serve, setup=setup, rounds=50)
    if benchmark.stats is not None:
        calls = READS * OUTSTANDING
        benchmark.extra_info["us_per_call"] = round(benchmark.stats["min"] / calls * 1e6, 4)
