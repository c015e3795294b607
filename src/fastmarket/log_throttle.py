"""Limits repeated log lines: one per name and interval."""

from __future__ import annotations

from fastmarket.bounded_map import BoundedMap


class LogThrottle:
    """Allows one message per name and interval; suppressed ones are counted."""

    def __init__(self, interval_s: float, max_names: int) -> None:
        self._interval_s = interval_s
        # Last logged at, suppressed since.
        self._logged: BoundedMap[str, tuple[float, int]] = BoundedMap(max_names)

    def due(self, name: str, now: float) -> int | None:
        """Number of suppressed calls since the last one, or None while throttled."""
        at, suppressed = self._logged.peek(name) or (float("-inf"), 0)
        if now - at < self._interval_s:
            self._logged.put(name, (at, suppressed + 1))
            return None
        self._logged.put(name, (now, 0))
        return suppressed
