"""fastmarket.native.event_queue beside its twin: 1,000 events run while 5,000 wait."""

from __future__ import annotations

from random import Random

from pytest_benchmark.fixture import BenchmarkFixture

from bench.kernels.sides import SIDES
from fastmarket.native.event_queue import EventQueue
from tests.reference import event_queue as twin


@SIDES
def test_1000_events_among_5000(benchmark: BenchmarkFixture, compiled: bool) -> None:
    events = EventQueue(0.0) if compiled else twin.EventQueue(0.0)
    delays = [Random(number).random() * 10 for number in range(1000)]

    def again(delay: float) -> None:
        events.after(10.0, again, delay)

    for delay in delays * 5:
        events.at(delay, again, delay)
    benchmark(events.rest, 2.0)
    assert events.events >= 1000
