"""Follows the paths of orders: what is new, changed or gone below one is sold, or no longer, by itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from contextlib import aclosing

from fastmarket.config import ContentConfig
from fastmarket.content.allowed import shown_path
from fastmarket.content.goods import SellOrder
from fastmarket.content.watching import changes_below
from fastmarket.faults import Faults

log = logging.getLogger(__name__)


class Followers:
    """A task for each order that is followed. In the event loop."""

    def __init__(
        self, config: ContentConfig, sell: Callable[[SellOrder], Awaitable[None]], faults: Faults
    ) -> None:
        """`sell` runs an order anew: at the start, and when something below its path has changed. Its
        exceptions are reported, and the order is followed further."""
        self._config = config
        self._sell = sell
        self._faults = faults
        self._tasks: dict[SellOrder, asyncio.Task[None]] = {}
        self._is_told = False

    def update(self, orders: Iterable[SellOrder]) -> None:
        """Follows those of the orders that are `watched`, and no others. Calls that change nothing are
        cheap."""
        wanted = {order for order in orders if order.watched}
        for order in self._tasks.keys() - wanted:
            self._tasks.pop(order).cancel()
        for order in sorted(wanted - self._tasks.keys(), key=lambda order: order.path):
            if len(self._tasks) >= self._config.max_watches:
                self._tell(order)
                break
            self._tasks[order] = asyncio.ensure_future(self._follow(order))

    async def stop(self) -> None:
        """Ends all tasks, and the imports that they run."""
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self, order: SellOrder) -> None:
        async with aclosing(changes_below(order.path, self._config)) as changes:
            async for _ in changes:
                try:
                    await self._sell(order)
                except Exception as error:  # noqa: BLE001 - or it would not be followed any more
                    self._faults.tell("selling what is followed", error, shown_path(order.path))

    def _tell(self, order: SellOrder) -> None:
        if not self._is_told:
            self._is_told = True
            log.warning(
                "more than %d directories are to be followed; %s is not, nor are others",
                self._config.max_watches,
                shown_path(order.path),
            )
