"""A benchmark and its ceiling in one run: what is reported is the share of the ceiling's speed reached.

Both take turns, and of each the best turn counts: what slows this machine for a while slows both, or neither
of the turns that are kept. So the ratio, unlike the times, may be compared with one from another day.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pytest_benchmark.fixture import BenchmarkFixture

ROUNDS = 40
ROUND_S = 0.004  # a round of a kernel takes at least so long, so that the clock and the caller do not count


@dataclass(frozen=True)
class Mark:
    """What the ratio is to be: `share` of the ceiling's speed. Told beside it; only a fall is a failure."""

    share: float
    why: str = ""


def report(
    benchmark: BenchmarkFixture, ours_us: float, ceiling_us: float, ceiling: str, mark: Mark | None = None
) -> float:
    """Writes the figures of one operation where `bench.compare` finds them; the ratio."""
    ratio = ceiling_us / ours_us
    benchmark.extra_info |= {
        "ratio": round(ratio, 4),
        "us": round(ours_us, 4),
        "ceiling_us": round(ceiling_us, 4),
        "ceiling": ceiling,
    }
    if mark is not None:
        benchmark.extra_info |= {"mark": mark.share, "holds": ratio >= mark.share, "mark_means": mark.why}
    return ratio


def beside(
    benchmark: BenchmarkFixture,
    ours: Callable[[], object],
    ceiling: Callable[[], object],
    what: str,
    *,
    calls: int = 1,
    mark: Mark | None = None,
) -> float:
    """Measures one against the other; each call of the two does `calls` operations. `what`: the ceiling."""
    ours(), ceiling()
    turns = max(1, round(ROUND_S / max(seconds(ours, 1), 1e-9)))
    ceiling_turns = max(1, round(ROUND_S / max(seconds(ceiling, 1), 1e-9)))
    best = float("inf")

    def before() -> None:
        nonlocal best
        best = min(best, seconds(ceiling, ceiling_turns) / ceiling_turns)

    def many() -> None:
        for _ in range(turns):
            ours()

    benchmark.pedantic(many, setup=before, rounds=ROUNDS)
    return report(benchmark, benchmark.stats.stats.min / turns / calls * 1e6, best / calls * 1e6, what, mark)


def each(function: Callable[..., object], rows: Sequence[tuple[object, ...]]) -> Callable[[], None]:
    """The function over all rows of arguments."""

    def run() -> None:
        for row in rows:
            function(*row)

    return run


def seconds(run: Callable[[], object], turns: int) -> float:
    """What `turns` calls take."""
    began = time.perf_counter()
    for _ in range(turns):
        run()
    return time.perf_counter() - began
