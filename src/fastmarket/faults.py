"""What a bug of ours costs: the one thing that it happened in.

Whatever goes on, a timer, a loop, a callback for many, runs each part by itself and tells here of what that
raised; `net.pump` and `repeating` settle the next time before they do anything.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from fastmarket.log_throttle import LogThrottle

# A place that fails at every message would fill the log: a traceback takes some 25 lines, 2 kB.
LOG_INTERVAL_S = 60.0
MAX_PLACES = 256  # told apart; there are some forty in the source, times the kinds of exceptions met
# Before what failed is tried again when it is due at once: what fails every time would else take all the CPU.
PAUSE_S = 1.0


class Faults:
    """Hands them to the loop's exception handler, which logs them in full: each place and kind of exception
    once in `LOG_INTERVAL_S`; the rest is counted."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.count = 0
        """How many there were."""
        self._now = now
        self._seldom = LogThrottle(LOG_INTERVAL_S, MAX_PLACES)

    def tell(self, place: str, error: BaseException, what: object = "") -> None:
        """`place` names a piece of the program, and so is one of few; `what` it was busy with."""
        self.count += 1
        unsaid = self._seldom.due(f"{place}: {type(error).__name__}", self._now())
        if unsaid is None:
            return
        busy, more = (
            f" ({what})" if what else "",
            f" ({unsaid} similar messages suppressed)" if unsaid else "",
        )
        message = f"{place} failed{busy}; everything else goes on{more}"
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # a program that uses a part of us outside of any
            logging.getLogger(__name__).error(message, exc_info=error)
        else:
            loop.call_exception_handler({"message": message, "exception": error})

    def run(self, place: str, call: Callable[..., object], *args: Any) -> bool:
        """Calls it; False: it failed, and that was told."""
        try:
            call(*args)
        except Exception as error:  # noqa: BLE001 - what this class is for
            self.tell(place, error)
            return False
        return True
