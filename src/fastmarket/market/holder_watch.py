"""Keeps track of what a watch has reported about holders, across restarts of its node."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing

from fastmarket.errors import Busy, FastmarketError, RequestTimeout
from fastmarket.market.client_values import Holder, HolderChange
from fastmarket.market.grpc_errors import ServerUnavailable

FIRST_PAUSE_S = 0.1  # before the first reconnect; doubled each time
LONGEST_PAUSE_S = 2.0
CONFIRM_S = 30.0  # from the first look after a gap to the second, if the caller gives no interval
MIN_CONFIRM_S = 2.0  # by then a restarted node has joined its network again

Key = tuple[bytes, str]
Open = Callable[[float | None], AsyncGenerator[HolderChange, None]]


class HolderWatch:
    """Merges what several calls report; the first message of each has all holders its node sees."""

    def __init__(self) -> None:
        self._told: dict[Key, Holder] = {}
        self._begun = False
        self._missing: set[Key] = set()
        self._gap = False

    @property
    def begun(self) -> bool:
        """Whether a first message has arrived."""
        return self._begun

    @property
    def doubts(self) -> bool:
        """Whether holders were missing after a gap: a second look tells whether they are gone, or the node
        had not yet rejoined the network."""
        return bool(self._missing)

    def interrupted(self) -> None:
        """Notes a gap: changes may have been missed."""
        self._gap = True

    def first(self, holders: Iterable[Holder]) -> HolderChange | None:
        """The change in the first message of a call; None if nothing differs."""
        found = {_key(holder): holder for holder in holders}
        present = tuple(holder for key, holder in found.items() if self._told.get(key) != holder)
        missing = {key for key in self._told if key not in found}
        gone = tuple(self._told.pop(key) for key in tuple(self._told) if key in missing & self._missing)
        self._missing = missing - self._missing
        self._told.update(found)
        begun, self._begun = self._begun, True
        gap, self._gap = self._gap, False
        return HolderChange(present, gone, gap) if present or gone or gap or not begun else None

    def later(self, change: HolderChange) -> HolderChange | None:
        """The change in a later message."""
        gone = []
        for holder in change.gone:
            told = self._told.pop(_key(holder), None)
            self._missing.discard(_key(holder))
            if told is not None:
                gone.append(told)
        for holder in change.present:
            self._told[_key(holder)] = holder
            self._missing.discard(_key(holder))
        return HolderChange(change.present, tuple(gone)) if change.present or gone else None


async def watch_on(
    open_watch: Open, interval_s: float, timeout_s: float | None, resume_s: float
) -> AsyncGenerator[HolderChange, None]:
    """The changes of one content over as many calls as needed. `open_watch` starts one, given the seconds
    left.

    If the node is away longer than `resume_s`, or was never reached, raises the last call's error.
    """
    watch, away = HolderWatch(), _Away(resume_s, timeout_s)
    while True:
        try:
            async with aclosing(open_watch(away.left_s())) as changes:
                first = await anext(changes)
                away.over()
                if (told := watch.first(first.present)) is not None:
                    yield told
                # The second look is a new call, whose first message has all holders again.
                look_again_s = time.monotonic() + max(interval_s or CONFIRM_S, MIN_CONFIRM_S)
                while (change := await _next(changes, look_again_s if watch.doubts else None)) is not None:
                    if (told := watch.later(change)) is not None:
                        yield told
            continue
        except (ServerUnavailable, Busy) as error:
            fault: FastmarketError = error
        except StopAsyncIteration:
            fault = ServerUnavailable("the watch ended")
        if not watch.begun:
            raise fault
        watch.interrupted()
        await away.pause(fault)


async def _next(changes: AsyncGenerator[HolderChange, None], until_s: float | None) -> HolderChange | None:
    """The next change, or None if it did not arrive in time."""
    try:
        async with asyncio.timeout(None if until_s is None else until_s - time.monotonic()):
            return await anext(changes)
    except TimeoutError:
        return None


class _Away:
    """How long the node has been away, and when to stop waiting for it."""

    def __init__(self, resume_s: float, timeout_s: float | None) -> None:
        self._resume_s = resume_s
        self._end = None if timeout_s is None else time.monotonic() + timeout_s
        self._since: float | None = None
        self._pause_s = FIRST_PAUSE_S

    def left_s(self) -> float | None:
        """The caller's remaining time. Raises `RequestTimeout`."""
        if self._end is None:
            return None
        left_s = self._end - time.monotonic()
        if left_s <= 0:
            raise RequestTimeout("the watch's timeout expired")
        return left_s

    def over(self) -> None:
        """The node answers again."""
        self._since, self._pause_s = None, FIRST_PAUSE_S

    async def pause(self, fault: FastmarketError) -> None:
        """Pauses before the next attempt; raises `fault` if the node has been away too long."""
        now = time.monotonic()
        self._since = now if self._since is None else self._since
        if now - self._since >= self._resume_s:
            raise fault
        pause_s = random.uniform(self._pause_s / 2, self._pause_s)
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        left_s = self.left_s()
        await asyncio.sleep(pause_s if left_s is None else min(pause_s, left_s))


def _key(holder: Holder) -> Key:
    """Unique among the holders of one content."""
    return holder.id, holder.provider
