"""Spans of a file that an earlier run is said to have written."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

from fastmarket.errors import CallerFault


class KeptSpans:
    """Sorted, joined spans (first, end), end exclusive."""

    __slots__ = ("_ends", "_firsts")

    def __init__(self, spans: Iterable[tuple[int, int]]) -> None:
        """Raises CallerFault("kept", ...) for a span that is not one."""
        self._firsts: list[int] = []
        self._ends: list[int] = []
        for first, end in sorted(spans):
            if first < 0 or end < first:
                raise CallerFault("kept", f"{first} to {end} is not a span")
            if self._ends and first <= self._ends[-1]:
                self._ends[-1] = max(self._ends[-1], end)
            else:
                self._firsts.append(first)
                self._ends.append(end)

    @property
    def is_empty(self) -> bool:
        """Whether there is none."""
        return not self._firsts

    def covers(self, first: int, end: int) -> bool:
        """Whether all of these bytes are."""
        if not self._firsts:
            return False
        at = bisect_right(self._firsts, first) - 1
        return at >= 0 and self._ends[at] >= end
