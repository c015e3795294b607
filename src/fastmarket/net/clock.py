"""The single time scale that the shell passes to protocol objects."""

from __future__ import annotations

import time
from collections.abc import Callable


class Clock:
    """Unix seconds, fixed once at construction and advanced by the monotonic clock.

    A step of the system clock (NTP, an operator, a resumed laptop) therefore never moves a protocol timer.
    """

    __slots__ = ("_monotonic", "_offset")

    def __init__(
        self, system: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """`system` returns Unix seconds, `monotonic` seconds since any moment."""
        self._monotonic = monotonic
        self._offset = system() - monotonic()

    def now(self) -> float:
        """Unix seconds."""
        return self._offset + self._monotonic()
