"""fastmarket.native.block_filter beside its twin: blocks that are not there, among 100,000 that are."""

from __future__ import annotations

from random import Random

from pytest_benchmark.fixture import BenchmarkFixture

from bench.kernels.sides import MULTIHASHES, Case, assert_faster, both, run
from fastmarket.native.block_filter import BlockFilter
from tests.reference import block_filter as twin

COUNT = 100_000
OURS, TWIN = BlockFilter(COUNT), twin.BlockFilter(COUNT)
ADDED = Random(3).randbytes(32 * COUNT)
for side in (OURS, TWIN):
    side.add(ADDED)
MISS = Case("one-that-is-not-there", OURS.may_have, TWIN.may_have, [(one,) for one in MULTIHASHES])
ADD = Case("add-4096", OURS.add, TWIN.add, [(ADDED[: 32 * 4096],)])


@both(MISS, ADD)
def test_call(benchmark: BenchmarkFixture, case: Case, compiled: bool) -> None:
    run(benchmark, case, compiled)


def test_compiling_is_worth_it() -> None:
    for case in (MISS, ADD):
        assert_faster(5, case)
