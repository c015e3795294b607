"""How a log stays short whatever others do: one line a name in an interval."""

from __future__ import annotations

from fastmarket.bounded_map import BoundedMap


class LogThrottle:
    """Lets one thing be said of each name in an interval; the rest is counted."""

    def __init__(self, interval_s: float, max_names: int) -> None:
        self._interval_s = interval_s
        self._said: BoundedMap[str, tuple[float, int]] = BoundedMap(
            max_names
        )  # when, and how often not since

    def due(self, name: str, now: float) -> int | None:
        """None: not now. Else how often nothing was said of it since the last time."""
        at, unsaid = self._said.peek(name) or (float("-inf"), 0)
        if now - at < self._interval_s:
            self._said.put(name, (at, unsaid + 1))
            return None
        self._said.put(name, (now, 0))
        return unsaid
