"""Contains bugs of ours: each affects only the operation in which it occurs.

Timers, loops and callbacks that serve many parts run each part separately and report its exceptions here;
`net.pump` and `repeating` schedule the next run before they do anything.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from fastmarket.log_throttle import LogThrottle
from fastmarket.wording import suppressed_note

# Something that fails on every message would fill the log: a traceback takes some 25 lines, 2 kB.
LOG_INTERVAL_S = 60.0
MAX_PLACES = 256


class Faults:
    """Reports exceptions to the loop's exception handler, which logs them in full: each place and exception
    type once per `LOG_INTERVAL_S`; the others are counted."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.count = 0
        """How many there have been."""
        self._now = now
        self._log_throttle = LogThrottle(LOG_INTERVAL_S, MAX_PLACES)

    def tell(self, place: str, error: BaseException, what: object = "") -> None:
        """`place` names a part of the program, one of few; `what` says what it was doing."""
        self.count += 1
        suppressed = self._log_throttle.due(f"{place}: {type(error).__name__}", self._now())
        if suppressed is None:
            return
        busy = f" ({what})" if what else ""
        message = f"{place} failed{busy}; everything else continues{suppressed_note(suppressed)}"
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # a program that uses a part of the package without a loop
            logging.getLogger(__name__).error(message, exc_info=error)
        else:
            loop.call_exception_handler({"message": message, "exception": error})

    def run(self, place: str, call: Callable[..., object], *args: Any) -> bool:
        """Calls it; returns False if it failed, which has been reported."""
        try:
            call(*args)
        except Exception as error:  # noqa: BLE001 - the purpose of this class
            self.tell(place, error)
            return False
        return True
