"""How a log stays short whatever others do: one line a name in an interval."""

from __future__ import annotations

from collections import OrderedDict


class LogThrottle:
    """Lets one thing be said of each name in an interval; the rest is counted."""

    def __init__(self, interval_s: float, max_names: int) -> None:
        self._interval_s = interval_s
        self._max_names = max_names
        self._said: OrderedDict[str, tuple[float, int]] = OrderedDict()  # when, and how often not since

    def due(self, name: str, now: float) -> int | None:
        """None: not now. Else how often nothing was said of it since the last time."""
        at, unsaid = self._said.pop(name, (float("-inf"), 0))
        if now - at < self._interval_s:
            self._said[name] = (at, unsaid + 1)
            return None
        self._said[name] = (now, 0)
        while len(self._said) > self._max_names:
            self._said.popitem(last=False)
        return unsaid
