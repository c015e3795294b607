"""Fetches files for callers: finds their holders while it asks those that it has found."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass

from fastmarket.config import FetchConfig, HolderConfig
from fastmarket.errors import Busy, NetworkFault
from fastmarket.exchange.fetching.history import HolderHistory
from fastmarket.exchange.fetching.order import FetchOrder, FetchReport, FetchSummary
from fastmarket.net.fetching.running import RunningFetch
from fastmarket.net.fetching.sources import HolderSource
from fastmarket.net.pump import RunQueue


@dataclass(slots=True)
class FetchTotals:
    """Since the start: fetches that `ended`, well or not; those that came to a `whole`, and what these
    fetched and cost."""

    ended: int = 0
    whole: int = 0
    fetched_bytes: int = 0
    cost: int = 0

    def add(self, summary: FetchSummary) -> None:
        """A fetch is whole."""
        self.whole += 1
        self.fetched_bytes += summary.fetched
        self.cost += summary.cost


class Fetcher:
    """All fetches of a node."""

    def __init__(
        self,
        config: FetchConfig,
        holders: HolderConfig,
        run_queue: RunQueue,
        sources: Sequence[HolderSource],
        history: HolderHistory | None = None,
    ) -> None:
        """`sources`: the later ones are asked only while the earlier ones do not suffice. `history`: what was
        seen of holders before, to which each fetch adds."""
        self.history = HolderHistory(config) if history is None else history
        self.totals = FetchTotals()
        self._config = config
        self._holders = holders
        self._run_queue = run_queue
        self._sources = sources
        self._closing: set[asyncio.Future[None]] = set()

    async def fetch(self, order: FetchOrder) -> AsyncGenerator[FetchReport, None]:
        """Reports until the end: plans, progress, bytes unless there is an `output`, and the summary. With
        `plan_only`, plans alone. Closing it ends the fetch; what was written stays.

        Raises NotFound (no holder), Unmet (`max_price`, `max_cost`, no `output`), NoHolderServes, BadContent,
        CallerFault, StorageFault.
        """
        running = RunningFetch(order, self._config, self._holders, self._run_queue, self.history)
        search: asyncio.Future[None] | None = None
        try:
            await running.begin()
            search = asyncio.ensure_future(self._search(order, running))
            async with aclosing(running.reports()) as reports:
                async for report in reports:
                    if isinstance(report, FetchSummary):
                        self.totals.add(report)
                    yield report
        finally:
            closing = asyncio.ensure_future(self._end(running, search))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
            await asyncio.shield(closing)  # it goes on where the caller is cancelled once more

    async def close(self) -> None:
        """Waits until the fetches that were left have ended; there must be no others."""
        while self._closing:
            await asyncio.wait(self._closing)

    async def _end(self, running: RunningFetch, search: asyncio.Future[None] | None) -> None:
        if search is not None:
            search.cancel()
            await asyncio.wait([search])
        await running.close()
        self.totals.ended += 1

    async def _search(self, order: FetchOrder, running: RunningFetch) -> None:
        try:
            while await self._look(order, running):
                running.on_searched()
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._holders.search_interval_s):
                        await running.wanting.wait()
        except Exception as error:  # noqa: BLE001 - the fetch goes on with those that were found
            self._run_queue.faults.tell("searching for holders", error, str(order.root))
        running.on_searched()
        running.no_more_holders()

    async def _look(self, order: FetchOrder, running: RunningFetch) -> bool:
        """Searches once; False if holders are wanted and there are no others."""
        news = 0
        for source in self._sources:
            with suppress(NetworkFault, Busy):
                async with aclosing(
                    source.find(order.root.multihash, self._holders.search_timeout_s)
                ) as found:
                    async for holder in found:
                        news += running.add(holder)
            if not running.wanting.is_set():
                return True
        return bool(news)
