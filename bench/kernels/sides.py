"""What the kernels' benchmarks share: a kernel and its plain twin on the same arguments, in turn.

`pytest bench/kernels` measures all, `pytest bench/kernels/bench_cid.py` one. Figures depend on the machine
and are read by people only; what is asserted is agreement and, within one run, that compiling was worth it.
"""

from __future__ import annotations

import timeit
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from random import Random

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.ratio import each

TARGETS = 256  # different arguments in turn, so that no branch predictor learns one answer
SIDES = pytest.mark.parametrize("compiled", [True, False], ids=["compiled", "twin"])

_random = Random(1)
KEYS = [_random.randbytes(32) for _ in range(TARGETS)]
MULTIHASHES = [b"\x12\x20" + _random.randbytes(32) for _ in range(TARGETS)]
PEER_IDS = [b"\x00\x24\x08\x01\x12\x20" + _random.randbytes(32) for _ in range(TARGETS)]

Call = Callable[..., object]


@dataclass(frozen=True)
class Case:
    """One function of a kernel, the same of its twin, and what both are called with."""

    name: str
    ours: Call
    twin: Call
    rows: Sequence[tuple[object, ...]]


def both(*cases: Case) -> pytest.MarkDecorator:
    """Parametrizes a test over `case` and `compiled`."""
    rows = [
        pytest.param(case, compiled, id=f"{case.name}-{'compiled' if compiled else 'twin'}")
        for case in cases
        for compiled in (True, False)
    ]
    return pytest.mark.parametrize(("case", "compiled"), rows)


def run(benchmark: BenchmarkFixture, case: Case, compiled: bool) -> None:
    """Both agree; the time of one side is reported."""
    assert [case.ours(*row) for row in case.rows] == [case.twin(*row) for row in case.rows]
    measure(benchmark, case.ours if compiled else case.twin, case.rows)


def measure(benchmark: BenchmarkFixture, function: Call, rows: Sequence[tuple[object, ...]]) -> None:
    """Reports the time of one round and, in extra_info, of one call."""
    benchmark(each(function, rows))
    if benchmark.stats is not None:
        benchmark.extra_info["us_per_call"] = round(benchmark.stats["min"] / len(rows) * 1e6, 4)


def singles(values: Iterable[object]) -> list[tuple[object, ...]]:
    """Rows of one argument each."""
    return [(value,) for value in values]


def fastest(function: Callable[[], object], rounds: int = 5) -> float:
    """Seconds of the best of some rounds."""
    return min(timeit.repeat(function, number=1, repeat=rounds))


def assert_faster(factor: float, case: Case, rounds: int = 5) -> None:
    """By far less than is measured, inside one run, so that a busy machine does not matter."""
    ours, twin = fastest(each(case.ours, case.rows), rounds), fastest(each(case.twin, case.rows), rounds)
    assert factor * ours < twin
