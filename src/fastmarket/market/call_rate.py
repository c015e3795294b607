"""Limits how often each caller may call: one token bucket per caller, for a bounded number of callers."""

from __future__ import annotations

from collections import OrderedDict

__all__ = ["CallRate"]


class CallRate:
    """Allows `per_second` calls per caller, and up to `burst` at once after a pause.

    Beyond `max_callers`, the least recently seen caller is forgotten and starts again with a full bucket.
    """

    def __init__(self, per_second: float, burst: int, max_callers: int) -> None:
        self._per_second = per_second
        self._burst = burst
        self._max_callers = max_callers
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # calls left, and at what time

    def take(self, caller: str, now: float) -> float:
        """0.0 if the call may proceed, else the seconds until one may."""
        left, at = self._left.pop(caller, (float(self._burst), now))
        left = min(float(self._burst), left + max(now - at, 0.0) * self._per_second)
        wait_s = 0.0 if left >= 1.0 else (1.0 - left) / self._per_second
        self._left[caller] = (left if wait_s else left - 1.0, now)
        while len(self._left) > self._max_callers:
            self._left.popitem(last=False)
        return wait_s
