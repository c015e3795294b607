"""The tabs of a running node for people: what is on disk, once what was changed in memory is there, too."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from fastmarket.errors import NodeFault, NoSuchTab
from fastmarket.formats.identity import PeerId
from fastmarket.payments.buyer import BuyerTabs
from fastmarket.payments.ledger import (
    Debt,
    MonthSums,
    StatementRow,
    TabEntry,
    TabSide,
    TabSums,
    month_of,
    months_before,
)
from fastmarket.payments.rows import BuyerRow, SellerRow
from fastmarket.payments.seller import SellerTabs
from fastmarket.storage.tab_sums import Place, TabSumsReader
from fastmarket.storage.tabs import AnyRow, TabDatabase, TabJournal

SHOWN_MONTHS = 12  # in the sums
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class LedgerSums:
    """All of it in sums. `months`: the last SHOWN_MONTHS of each side, the newest first."""

    tabs: list[TabSums]
    months: list[MonthSums]
    currency: str
    month: int
    budget_per_day: int | None
    spent_today: int


class TabLedger:
    """What one may ask and change. Every method raises NodeFault."""

    def __init__(
        self,
        database: TabDatabase,
        journal: TabJournal,
        sold: SellerTabs,
        bought: BuyerTabs,
        now: Callable[[], float],
    ) -> None:
        """`now`: Unix seconds."""
        self._reader = TabSumsReader(database.path)
        self._journal = journal
        self._sold = sold
        self._bought = bought
        self._now = now
        self._turn = asyncio.Lock()

    @property
    def month(self) -> int:
        """The month of UTC that it is, as 202611."""
        return month_of(self._now())

    async def sums(self) -> LedgerSums:
        """Of all tabs, and of the last months."""
        month = self.month
        since = months_before(month, SHOWN_MONTHS - 1)
        spent = self._bought.spent_today(self._now())

        def read() -> tuple[list[TabSums], list[MonthSums]]:
            months = [one for side in TabSide for one in self._reader.months(side, since)]
            return self._reader.sums(), months

        tabs, months = await self._read(read)
        return LedgerSums(tabs, months, self._sold.currency, month, self._bought.budget_per_day, spent)

    async def statement(
        self, side: TabSide, months: tuple[int, int], after: tuple[int, bytes, str], limit: int
    ) -> list[StatementRow]:
        """Rows from the first to the last of these months, by month and peer, behind that place."""
        return await self._read(lambda: self._reader.statement(side, months, after, limit))

    async def tabs(self, side: TabSide, after: Place, limit: int, *, owing: bool) -> list[TabEntry]:
        """Tabs by peer, behind that place; `owing`: only those with something unpaid."""
        return await self._read(lambda: self._reader.tabs(side, after, limit, owing=owing))

    async def forgive(self, buyer: PeerId) -> Debt:
        """What a buyer owes is owed no more; returns what it was. Raises NoSuchTab."""
        now = self._now()
        debt = self._sold.forgive(buyer, now)
        if debt is None:
            raise NoSuchTab("peer_id", f"nothing was sold to {buyer} for {self._sold.currency}")
        await self._write()
        return debt

    async def block(self, buyer: PeerId, *, blocked: bool) -> None:
        """Nothing more is sold to a peer for money, or again."""
        self._sold.block(buyer, blocked=blocked, now=self._now())
        await self._write()

    async def close(self) -> None:
        """When nobody asks any more."""
        async with self._turn:
            self._reader.close()

    async def _read(self, question: Callable[[], Answer]) -> Answer:
        with suppress(NodeFault):  # a full disk, of which the log tells: then as it was
            await self._write()
        async with self._turn:
            return await asyncio.to_thread(question)

    async def _write(self) -> None:
        """What has changed, and nobody wrote yet. It is written whether or not the caller waits."""
        sold, bought = self._sold.poll_changes(), self._bought.poll_changes()
        rows: list[AnyRow] = [*sold, *bought]
        done = self._journal.put(rows)
        done.add_done_callback(lambda done: self._on_put(done, sold, bought))
        await asyncio.shield(done)

    def _on_put(
        self, done: asyncio.Future[None], sold: Sequence[SellerRow], bought: Sequence[BuyerRow]
    ) -> None:
        if done.cancelled() or done.exception() is not None:
            if sold:
                self._sold.on_write_failed(sold)
            self._bought.on_write_failed(bought)
        else:
            if sold:
                self._sold.on_written(sold)
            self._bought.on_written(bought)
