"""Shares limited resources among callers: calls, memory, concurrent searches, the event loop.

A caller is a token, or else an IP address; of programs on this machine, each connection is one.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Generic, TypeVar

Item = TypeVar("Item")

CALLER: ContextVar[str] = ContextVar("CALLER", default="")
"""The caller for which the running task works."""

FROM_HERE: ContextVar[bool] = ContextVar("FROM_HERE", default=False)
"""Whether that caller is a program on this machine."""


MAY_WRITE: ContextVar[bool] = ContextVar("MAY_WRITE", default=False)
"""Whether that caller has a token that may write or, where there are no tokens, is a program on this machine.
The HTTP port asks the same of whoever writes (`web.write_access`)."""


class FairQueue(Generic[Item]):
    """A queue that serves callers round robin; each caller's items keep their order."""

    def __init__(self) -> None:
        self._items: OrderedDict[str, deque[Item]] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._items)

    def __contains__(self, caller: str) -> bool:
        return caller in self._items

    def push(self, caller: str, item: Item) -> None:
        """Appends to the caller's items; a caller without any gets the last turn."""
        self._items.setdefault(caller, deque()).append(item)

    def callers(self) -> list[str]:
        """Callers in the order of their turns."""
        return list(self._items)

    def pop(self, caller: str) -> Item:
        """The caller's first item; its next turn comes after all others'."""
        items = self._items.pop(caller)
        item = items.popleft()
        if items:
            self._items[caller] = items
        return item

    def pop_next(self) -> Item:
        """The first item of the caller whose turn it is."""
        return self.pop(next(iter(self._items)))


class Share:
    """`total` units of something. A caller may hold at most as much as is left, so that something always
    remains for the next one (dynamic thresholds: Choudhury and Hahne, 1998); a single caller gets half of the
    total.

    With `most`, a caller may hold that much, however little is left.
    """

    def __init__(self, total: int, most: int | None = None) -> None:
        self._total = total
        self._most = most
        self._held: Counter[str] = Counter()
        self._used = 0

    @property
    def used(self) -> int:
        """Units held by all callers."""
        return self._used

    def take(self, caller: str, amount: int = 1) -> bool:
        """False if the caller holds enough already, or too little is left."""
        free = self._total - self._used
        if amount > free or self._held[caller] >= (free if self._most is None else self._most):
            if not self._held[caller]:
                del self._held[caller]
            return False
        self._held[caller] += amount
        self._used += amount
        return True

    def release(self, caller: str, amount: int = 1) -> None:
        """Returns what was taken."""
        self._used -= amount
        self._held[caller] -= amount
        if not self._held[caller]:
            del self._held[caller]


class Slots:
    """Slots for concurrent work, limited by `Share`; callers without one wait in a `FairQueue`."""

    def __init__(self, count: int) -> None:
        self._share = Share(count)
        self._waiting: FairQueue[asyncio.Future[None]] = FairQueue()

    @property
    def used(self) -> int:
        """Slots held by all callers."""
        return self._share.used

    async def take(self, caller: str) -> None:
        """Waits for a slot; `release` returns it."""
        if caller not in self._waiting and self._share.take(caller):
            return
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.push(caller, granted)
        try:
            await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled():
                self.release(caller)
            raise

    def release(self, caller: str) -> None:
        """Returns a slot and grants it to the next in turn."""
        self._share.release(caller)
        more = True
        while more:
            more = False
            for waiting in self._waiting.callers():
                more = self._grant(waiting) or more

    @asynccontextmanager
    async def slot(self, caller: str) -> AsyncGenerator[None, None]:
        """Holds a slot during the block."""
        await self.take(caller)
        try:
            yield
        finally:
            self.release(caller)

    def _grant(self, caller: str) -> bool:
        if not self._share.take(caller):
            return False
        while caller in self._waiting:
            granted = self._waiting.pop(caller)
            if not granted.done():  # else the waiter was cancelled
                granted.set_result(None)
                return True
        self._share.release(caller)
        return False


# A turn of the event loop with bulk work in it, on a machine that is not busy: a turn in which other work
# comes, too,
# or whose process has to wait for a core, takes longer, and the next one gets less bulk work.
TURN_S = 0.004
# Turns without bulk work after each with some. A new call needs seven turns from its first byte to its
# answer, and so waits for two with bulk work in them. An empty turn takes some 10 us.
REST_TURNS = 3


class LoopTurns:
    """Splits bulk work: each turn of the event loop runs pieces up to `budget` in total, callers in rotation.

    So the loop polls its sockets in between, however many callers send however much. Of a turn that took
    longer than `TURN_S`, the next one's budget is half, down to one piece; it grows back by an eighth of the
    whole with each one that did not (AIMD).
    """

    def __init__(self, budget: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = budget
        self._budget = budget
        self._left = budget
        self._planned = False
        self._clock = clock
        self._planned_at = 0.0
        self._waiting: FairQueue[tuple[int, asyncio.Future[None]]] = FairQueue()

    async def take(self, caller: str, cost: int) -> None:
        """Returns when a piece may run at once; a cost above the budget takes a whole turn."""
        if not self._waiting and self._left > 0:
            self._left -= cost
            self._plan()
            return
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.push(caller, (cost, granted))
        self._plan()
        await granted

    def _plan(self) -> None:
        if not self._planned:
            self._planned = True
            self._planned_at = self._clock()
            asyncio.get_running_loop().call_soon(self._rest, REST_TURNS)

    def _rest(self, left: int) -> None:
        if left == REST_TURNS:
            self._adapt()
        if left:
            asyncio.get_running_loop().call_soon(self._rest, left - 1)
        else:
            self._turn()

    def _adapt(self) -> None:
        if self._clock() - self._planned_at > TURN_S:
            self._budget = max(self._budget // 2, 1)
        else:
            self._budget = min(self._budget + max(self._most // 8, 1), self._most)

    def _turn(self) -> None:
        self._planned = False
        self._left = self._budget
        while self._waiting and self._left > 0:
            cost, granted = self._waiting.pop_next()
            if not granted.done():  # else the waiter was cancelled
                self._left -= cost
                granted.set_result(None)
        if self._left < self._budget:
            self._plan()
