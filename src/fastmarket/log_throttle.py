"""Limits repeated log lines: one per name and interval."""

from __future__ import annotations

from collections import OrderedDict


class LogThrottle:
    """Allows one message per name and interval; suppressed ones are counted."""

    def __init__(self, interval_s: float, max_names: int) -> None:
        self._interval_s = interval_s
        self._max_names = max_names
        self._said: OrderedDict[str, tuple[float, int]] = OrderedDict()  # last logged at, suppressed since

    def due(self, name: str, now: float) -> int | None:
        """Number of suppressed calls since the last one, or None while throttled."""
        at, unsaid = self._said.pop(name, (float("-inf"), 0))
        if now - at < self._interval_s:
            self._said[name] = (at, unsaid + 1)
            return None
        self._said[name] = (now, 0)
        while len(self._said) > self._max_names:
            self._said.popitem(last=False)
        return unsaid
