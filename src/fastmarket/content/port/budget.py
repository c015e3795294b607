"""How fast all connections together may send, and whose turn it is (`rate_bytes`)."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

from fastmarket.content.port.bounds import TURN_BYTES

BURST_S = 0.1  # of the rate: what may be sent at once after a pause
MIN_SHARE_BYTES = (
    4 * 1024
)  # of one turn, at low rates: less would cost more in headers and calls than it sends

Who = TypeVar("Who")


class SendBudget(Generic[Who]):
    """A token bucket, which gives out shares in turn: nobody has two while another waits for one."""

    def __init__(self, rate_bytes: int, now: float) -> None:
        """`rate_bytes` a second; 0: no limit."""
        self._rate = rate_bytes
        self._burst = max(rate_bytes * BURST_S, MIN_SHARE_BYTES)
        self._share = (
            max(min(int(self._burst / 8), TURN_BYTES), MIN_SHARE_BYTES) if rate_bytes else TURN_BYTES
        )
        self._tokens = self._burst
        self._at = now
        self._waiting: OrderedDict[Who, None] = OrderedDict()

    def ask(self, who: Who, now: float) -> int:
        """Bytes that may be sent now; 0: `who` waits, and is told by `next_turn`."""
        if not self._rate:
            return self._share
        self._refill(now)
        if self._tokens < 1 or self._waiting:
            self._waiting[who] = None
            return 0
        return self._share

    def spend(self, count: int) -> None:
        """So many bytes were sent. They may be more than there were: the next ones wait for it."""
        if self._rate:
            self._tokens -= count

    def is_waiting(self, who: Who) -> bool:
        """Whether `who` has asked, and not had its turn."""
        return who in self._waiting

    def forget(self, who: Who) -> None:
        """Waits no more; harmless if it did not."""
        self._waiting.pop(who, None)

    def next_turn(self, now: float) -> tuple[Who, int] | None:
        """Whose turn it is, and the bytes that it may send; None: nobody waits, or nothing may be sent."""
        self._refill(now)
        if not self._waiting or self._tokens < 1:
            return None
        return self._waiting.popitem(last=False)[0], self._share

    def next_timer(self) -> float | None:
        """When `next_turn` has something to say."""
        if not self._waiting:
            return None
        return self._at + max(1 - self._tokens, 0.0) / self._rate

    def _refill(self, now: float) -> None:
        self._tokens = min(self._tokens + (now - self._at) * self._rate, self._burst)
        self._at = now
