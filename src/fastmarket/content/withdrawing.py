"""Takes back the offers of what is no longer sold: all of them, also when whoever asked for it has left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Protocol

from fastmarket.errors import NoSuchOffer
from fastmarket.kad.outcome import Outcome

# Withdrawals under way, each a lookup of its own: one after the other, those of 50,000 files would take a
# day in a network whose round trips take long.
AT_ONCE = 64

OfferName = tuple[bytes, bytes]
"""A content (multihash) and the id of the user in whose name it is offered."""


class OfferTaker(Protocol):
    """The part of a node's `Dht` that withdrawals need."""

    async def withdraw_offer(self, content: bytes, user_id: bytes, deadline_s: float) -> Outcome:
        """See `market.dht.Dht`."""


class Withdrawals:
    """All that are under way."""

    def __init__(self, registry: OfferTaker, is_sold: Callable[[bytes, bytes], bool]) -> None:
        """`is_sold(content, user id)`: whether the offer is right after all, when its turn comes."""
        self._registry = registry
        self._is_sold = is_sold
        self._tasks: set[asyncio.Task[None]] = set()

    async def withdraw(self, offers: Iterable[OfferName], each_s: float) -> None:
        """Withdraws them, each within `each_s` seconds. Goes on if the caller is cancelled, until `close`.

        Raises what the first that failed raised, when all were tried.
        """
        names = list(dict.fromkeys(offers))
        if not names:
            return
        task = asyncio.ensure_future(self._withdraw(names, each_s))
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        await asyncio.shield(task)

    async def close(self) -> None:
        """Ends what is under way. Those that had no turn stay registered."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _withdraw(self, names: list[OfferName], each_s: float) -> None:
        faults: list[BaseException] = []
        for at in range(0, len(names), AT_ONCE):
            some = (self._one(*name, each_s) for name in names[at : at + AT_ONCE])
            outcomes = await asyncio.gather(*some, return_exceptions=True)
            faults += [one for one in outcomes if one is not None][: not faults]
        if faults:
            raise faults[0]

    async def _one(self, content: bytes, user_id: bytes, each_s: float) -> None:
        if self._is_sold(content, user_id):
            return
        try:
            await self._registry.withdraw_offer(content, user_id, each_s)
        except NoSuchOffer:
            return  # withdrawn already

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # seen, whether or not the caller is still there
