"""fastmarket.native.sha256 beside hashlib, which is its twin: many short inputs at once."""

from __future__ import annotations

from random import Random

from pytest_benchmark.fixture import BenchmarkFixture

from bench.kernels.sides import Case, assert_faster, both, run
from fastmarket.native import sha256
from tests.reference import sha256 as twin

SHORT = [Random(number).randbytes(34) for number in range(1000)]
MANY = Case("1000-times-34-bytes", sha256.sha256_many, twin.sha256_many, [(SHORT,)])


@both(
    MANY,
    Case("34000-packed-bytes", sha256.sha256_packed, twin.sha256_packed, [(b"".join(SHORT), 34)]),
)
def test_call(benchmark: BenchmarkFixture, case: Case, compiled: bool) -> None:
    run(benchmark, case, compiled)


def test_compiling_is_worth_it() -> None:
    if sha256.BACKEND != "portable":
        assert_faster(1, MANY)
