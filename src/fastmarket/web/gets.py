"""Files that the page gets: who is asked, how far it is, what it cost; some while they run, some after."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from enum import Enum
from typing import TYPE_CHECKING

from fastmarket.bounded_map import BoundedMap
from fastmarket.config import WebConfig
from fastmarket.errors import Busy, FastmarketError, NoSuchGood, RequestTimeout, Unmet
from fastmarket.exchange.fetching.order import (
    FetchOrder,
    FetchPlan,
    FetchProgress,
    FetchReport,
    FetchSummary,
    HolderShare,
)

if TYPE_CHECKING:
    from fastmarket.net.fetching.fetcher import Fetcher

KEY_BYTES = 16  # of a get's key: whoever knows it may take the file, so nobody may guess it


class GetState(Enum):
    """Where a get is."""

    WAITING = "waiting"  # for the browser to come for the file
    RUNNING = "running"
    DONE = "done"  # the browser was sent the whole file, verified
    FAILED = "failed"
    STOPPED = "stopped"  # by whoever asked for it


ENDS = frozenset({GetState.DONE, GetState.FAILED, GetState.STOPPED})


class Get:
    """One file that is got for the page."""

    def __init__(self, order: FetchOrder, name: str, asked_at: float) -> None:
        """`name`: of the file to save. `asked_at`: Unix seconds."""
        self.key = secrets.token_hex(KEY_BYTES)
        self.order = order
        self.name = name
        self.asked_at = asked_at
        self.state = GetState.WAITING
        self.plan: FetchPlan | None = None
        self.summary: FetchSummary | None = None
        self.done = 0
        self.holders: tuple[HolderShare, ...] = ()
        self.error = ""
        self._changed = asyncio.Event()
        self._stopped = asyncio.Event()

    def on_report(self, report: FetchReport) -> None:
        """Notes it."""
        if isinstance(report, FetchPlan):
            self.plan = report
            self.holders = report.holders
        elif isinstance(report, FetchProgress):
            self.done = report.done
            self.holders = report.holders
        elif isinstance(report, FetchSummary):
            self.summary = report
            self.done = report.bytes
            self.holders = report.holders
        else:
            return
        self._tell()

    def on_state(self, state: GetState, error: str = "") -> None:
        """A state that follows the one it is in; an end stays."""
        if self.state in ENDS:
            return
        self.state = state
        self.error = error
        self._tell()

    def stop(self) -> None:
        """Ends it; harmless if it has ended."""
        self.on_state(GetState.STOPPED)
        self._stopped.set()

    async def stopped(self) -> None:
        """Returns when it was stopped."""
        await self._stopped.wait()

    async def changes(self) -> AsyncGenerator[None, None]:
        """Yields at once, after changes, and for the last time when it has ended."""
        while True:
            changed = self._changed
            is_last = self.state in ENDS
            yield
            if is_last:
                return
            await changed.wait()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class Gets:
    """The gets of a node's page, since it started."""

    def __init__(self, fetcher: Fetcher | None, config: WebConfig, now: Callable[[], float]) -> None:
        """`now`: Unix seconds."""
        self._fetcher = fetcher
        self._config = config
        self._now = now
        self._known: BoundedMap[str, Get] = BoundedMap(config.max_known_gets)
        self._active: set[Get] = set()
        self._plans = 0

    @property
    def can_get(self) -> bool:
        """Whether the node fetches contents."""
        return self._fetcher is not None

    def newest_first(self) -> list[Get]:
        """Those that are remembered."""
        self._expire()
        return list(self._known.values())[::-1]

    def find(self, key: str) -> Get:
        """Raises NoSuchGood."""
        self._expire()
        get = self._known.get(key)
        if get is None:
            raise NoSuchGood("get", "there is no such get, or it was long ago")
        return get

    async def plans(self, order: FetchOrder) -> AsyncGenerator[FetchPlan, None]:
        """What it would be, again whenever another holder changes it. Raises what `Fetcher.fetch` raises, and
        Busy."""
        fetcher = self._open_fetcher()
        self._check_room()
        self._plans += 1
        until = asyncio.get_running_loop().time() + self._config.plan_budget_s
        try:
            async with aclosing(fetcher.fetch(order)) as reports:
                while True:
                    async with asyncio.timeout_at(until):
                        report = await anext(reports, None)
                    if report is None:
                        return
                    if isinstance(report, FetchPlan):
                        yield report
        except TimeoutError:
            raise RequestTimeout("the holders do not say in time what the file is") from None
        finally:
            self._plans -= 1

    def start(self, order: FetchOrder, name: str) -> Get:
        """One more, which waits for somebody to take its file. Raises Busy, Unmet."""
        self._open_fetcher()
        self._check_room()
        get = Get(order, name, self._now())
        self._known.put(get.key, get)
        self._active.add(get)
        return get

    def take(self, get: Get) -> None:
        """Whoever does takes its file. Raises Unmet: it was taken before, or has ended."""
        if get.state is not GetState.WAITING:
            raise Unmet("get", "its file was taken before; get it again")
        get.on_state(GetState.RUNNING)

    async def file(self, get: Get) -> AsyncGenerator[FetchPlan | bytes, None]:
        """First a plan, then bytes in order, among them other plans. Raises what `Fetcher.fetch` raises.

        An end before the last byte stops it."""
        fetcher = self._open_fetcher()
        try:
            async with aclosing(fetcher.fetch(get.order)) as reports:
                async for report in reports:
                    get.on_report(report)
                    if isinstance(report, FetchPlan | bytes):
                        yield report
        except FastmarketError as fault:
            get.on_state(GetState.FAILED, str(fault))
            raise
        except Exception:
            get.on_state(GetState.FAILED, "a bug of ours; see the log")
            raise
        finally:
            whole = get.summary is not None
            get.on_state(GetState.DONE if whole else GetState.STOPPED)
            self._active.discard(get)

    def stop(self, get: Get) -> None:
        """Ends it; harmless if it has ended."""
        get.stop()
        if get.plan is None:
            self._active.discard(get)

    def _open_fetcher(self) -> Fetcher:
        if self._fetcher is None:
            raise Unmet("fetcher", "this node fetches nothing")
        return self._fetcher

    def _check_room(self) -> None:
        self._expire()
        most = self._config.max_gets
        if len(self._active) + self._plans >= most:
            raise Busy("get", f"{most} files are being got; stop one, or wait until it is done")

    def _expire(self) -> None:
        before = self._now() - self._config.get_wait_s
        for get in tuple(self._active):
            if get.state is GetState.WAITING and get.asked_at < before:
                get.on_state(GetState.FAILED, "the browser did not come for the file")
                self._active.discard(get)
