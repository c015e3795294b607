"""The holders that one fetch asks: which is which, and what is told of them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass

from fastmarket.bounded_map import BoundedMap
from fastmarket.errors import LimitExceeded, NodeFault
from fastmarket.exchange.fetching.events import Ask, Drop, HolderEnded
from fastmarket.exchange.fetching.fetch import Fetch
from fastmarket.exchange.fetching.history import HolderHistory
from fastmarket.exchange.fetching.holder import AskFailure, FetchHolder, HolderTally
from fastmarket.exchange.fetching.order import HolderShare
from fastmarket.faults import Faults
from fastmarket.formats.price import cost_of
from fastmarket.net.fetching.holders import BlockAnswers, BlockHolder
from fastmarket.net.fetching.sources import FoundHolder

MAX_SPARE = 4096
"""Holders that wait for the end of another, some 500 bytes each: as many as one lookup finds."""


@dataclass(slots=True)
class _Asked:
    """One of them."""

    found: FoundHolder
    holder: BlockHolder
    ended: str = ""


class AskedHolders:
    """Joins the keys of the planner to what is asked. A bug in a holder costs one request."""

    def __init__(
        self, fetch: Fetch, answers: BlockAnswers, most: int, history: HolderHistory, faults: Faults
    ) -> None:
        """`most` of them at a time: anybody may make offers, and the first ones need not be honest.
        `history`: what was seen of them before."""
        self._fetch = fetch
        self._history = history
        self._answers = answers
        self._most = most
        self._faults = faults
        self._asked: dict[int, _Asked] = {}
        self._keys: dict[Hashable, int] = {}
        self._spare: BoundedMap[Hashable, FoundHolder] = BoundedMap(MAX_SPARE)
        self._closing: set[asyncio.Future[None]] = set()

    def __len__(self) -> int:
        return len(self._asked)

    def add(self, found: FoundHolder, now: float) -> bool:
        """Asks it, too; whether it is a new one. One that is known counts again if it has become cheaper."""
        known = self._keys.get(found.identity)
        if known is not None:
            if self._asked[known].ended or self._asked[known].found.price_per_mb <= found.price_per_mb:
                return False
            self._fetch.remove_holder(known, now)
        if sum(not one.ended for key, one in self._asked.items() if key != known) >= self._most:
            waiting = self._spare.peek(found.identity)
            if waiting is not None and waiting.price_per_mb <= found.price_per_mb:
                return False
            self._spare.put(found.identity, found)
            return waiting is None
        return self._add(found, now)

    def _add(self, found: FoundHolder, now: float) -> bool:
        key = len(self._asked)
        try:
            holder = found.make(self._answers)
            asked = FetchHolder(key, found.price_per_mb, most_requests=found.most_requests)
            if found.provider is not None:
                asked = self._history.introduce(asked, found.provider.raw, now)
            self._fetch.add_holder(asked, now)
        except (LimitExceeded, NodeFault):  # one more than we can ask, or pay
            return False
        self._asked[key] = _Asked(found, holder)
        self._keys[found.identity] = key
        return True

    def ask(self, ask: Ask) -> None:
        """Asks for a block."""
        try:
            self._asked[ask.holder].holder.ask(ask)
        except Exception as error:  # noqa: BLE001 - see the class
            self._faults.tell("asking a holder", error, self.source(ask.holder))
            self._answers.on_failure(ask.request, AskFailure.LOST, "a bug of ours; see the log")

    def drop(self, drop: Drop) -> None:
        """Forgets a request."""
        self._faults.run("dropping a request", self._asked[drop.holder].holder.drop, drop.request)

    def end(self, event: HolderEnded, now: float) -> None:
        """It is not asked any more, and another one may be."""
        asked = self._asked[event.holder]
        asked.ended = f"{event.reason.value}: {event.detail}" if event.detail else event.reason.value
        self._close(asked)
        if len(self._spare):
            self._add(self._next_spare(), now)

    def _next_spare(self) -> FoundHolder:
        """Of the provider that had the fewest turns, the cheapest: one provider may make many offers."""
        turns = Counter(one.found.provider for one in self._asked.values())
        following = min(self._spare.values(), key=lambda one: (turns[one.provider], one.price_per_mb))
        self._spare.pop(following.identity)
        return following

    def source(self, key: int) -> str:
        """Of a holder, for people."""
        return self._asked[key].holder.source

    def shares(self, tallies: tuple[HolderTally, ...]) -> tuple[HolderShare, ...]:
        """What came of each."""
        return tuple(self._share(tally) for tally in tallies if tally.key in self._asked)

    @property
    def is_any_asked(self) -> bool:
        """Whether one has not ended."""
        return any(not one.ended for one in self._asked.values())

    def most_cost(self, wanted: int) -> int:
        """What so many bytes cost at most: each at the highest price of those that are asked, and each
        holder's share rounded up."""
        prices = [one.found.price_per_mb for one in self._asked.values() if not one.ended]
        rounded = max(0, sum(price > 0 for price in prices) - 1) if wanted else 0
        return cost_of(wanted, max(prices, default=0)) + rounded

    def record(self, now: float) -> None:
        """Remembers what came of each."""
        for tally in self._fetch.holders():
            asked = self._asked.get(tally.key)
            if asked is not None and asked.found.provider is not None:
                self._history.record(asked.found.provider.raw, tally, now)

    async def close(self) -> None:
        """Ends all."""
        for asked in self._asked.values():
            if not asked.ended:
                self._close(asked)
        while self._closing:
            await asyncio.wait(self._closing)

    def _close(self, asked: _Asked) -> None:
        closing = asyncio.ensure_future(asked.holder.close())
        self._closing.add(closing)
        closing.add_done_callback(self._closed)

    def _closed(self, closing: asyncio.Future[None]) -> None:
        self._closing.discard(closing)
        if not closing.cancelled() and (error := closing.exception()) is not None:
            self._faults.tell("closing a holder", error)

    def _share(self, tally: HolderTally) -> HolderShare:
        asked = self._asked[tally.key]
        found = asked.found
        return HolderShare(
            "" if found.provider is None else str(found.provider),
            asked.holder.source,
            tally.price_per_mb,
            tally.bytes,
            tally.rate or 0.0,
            tally.cost,
            asked.ended,
            found.name,
        )
