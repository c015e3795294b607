"""The single time scale that the shell passes to protocol objects."""

from __future__ import annotations

import time


class Clock:
    """Unix seconds, fixed once at construction and advanced by the monotonic clock.

    A step of the system clock (NTP, an operator, a resumed laptop) therefore never moves a protocol timer.
    """

    __slots__ = ("_offset",)

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def now(self) -> float:
        """Unix seconds."""
        return self._offset + time.monotonic()
