"""How much of each good was sent since the node started."""

from __future__ import annotations

from collections.abc import Mapping

from fastmarket.bounded_map import BoundedMap, Eviction
from fastmarket.content.allowed import is_within
from fastmarket.content.goods import Good

MAX_FILES = 65_536
"""Files whose sum is remembered; those served longest ago leave first, and count as not served. 16 MB."""


class SentBytes:
    """Sums by path."""

    def __init__(self) -> None:
        self._by_path: BoundedMap[str, int] = BoundedMap(MAX_FILES, eviction=Eviction.LEAST_RECENTLY_USED)

    def add(self, sent: Mapping[str, int]) -> None:
        """Bytes sent out of files since the last call."""
        for path, count in sent.items():
            self._by_path.put(path, (self._by_path.peek(path) or 0) + count)

    def of(self, good: Good) -> int:
        """Bytes of the file, or of all files of the directory."""
        if not good.is_directory:
            return self._by_path.peek(good.path) or 0
        return sum(self._by_path.peek(path) or 0 for path in self._by_path if is_within(path, good.path))
