"""Limits how often each caller may call: one token bucket per caller, for a bounded number of callers."""

from __future__ import annotations

from fastmarket.bounded_map import BoundedMap

__all__ = ["CallRate"]


class CallRate:
    """Allows `per_second` calls per caller, and up to `burst` at once after a pause.

    Beyond `max_callers`, the least recently seen caller is forgotten and starts again with a full bucket.
    """

    def __init__(self, per_second: float, burst: int, max_callers: int) -> None:
        self._per_second = per_second
        self._burst = burst
        self._left: BoundedMap[str, tuple[float, float]] = BoundedMap(max_callers)  # calls left, as of when

    def take(self, caller: str, now: float) -> float:
        """0.0: the call may go on; else the seconds until one may."""
        left, at = self._left.peek(caller) or (float(self._burst), now)
        left = min(float(self._burst), left + max(now - at, 0.0) * self._per_second)
        wait_s = 0.0 if left >= 1.0 else (1.0 - left) / self._per_second
        self._left.put(caller, (left if wait_s else left - 1.0, now))
        return wait_s
