"""One row of the table: figures, and marks they are held to; or why it was not measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median

from bench.local_network import Mark, Report

NOT_MEASURED = "not measured"


def share(name: str, value: float, limit: float) -> Mark:
    """A ratio of two measurements of one run."""
    return Mark(name, value, limit, "x")


def row(name: str, figures: dict[str, object], marks: Sequence[Mark], why_not: str = "") -> Report:
    """`why_not`: a part of it was not measured."""
    if why_not:
        figures = {**figures, NOT_MEASURED: why_not}
    return Report(name, figures, marks)


def rounded(values: Iterable[float]) -> list[float]:
    """For people."""
    return [float(f"{value:.3g}") for value in values]


def middle(values: Sequence[float]) -> float:
    """The median."""
    return float(median(values))
