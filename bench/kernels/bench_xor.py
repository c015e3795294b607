"""fastmarket._xor beside its twin: distances, and the nearest of keys that lie packed."""

from __future__ import annotations

from random import Random

from pytest_benchmark.fixture import BenchmarkFixture

from bench.kernels.sides import KEYS, Case, both, run
from fastmarket import _xor
from tests.reference import xor as twin

PACKED = b"".join(Random(2).randbytes(32) for _ in range(200))


@both(
    Case("distance", _xor.distance, twin.distance, list(zip(KEYS, reversed(KEYS), strict=True))),
    Case("nearest-20-of-200-packed", _xor.nearest, twin.nearest, [(key, PACKED, 20) for key in KEYS[:20]]),
)
def test_call(benchmark: BenchmarkFixture, case: Case, compiled: bool) -> None:
    run(benchmark, case, compiled)
