"""Questions about all tabs, answered from the file by a connection of its own: in any thread, one by one."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastmarket.errors import NodeFault, StorageFault
from fastmarket.payments.ledger import (
    Debt,
    MonthSums,
    StatementRow,
    TabEntry,
    TabSide,
    TabSums,
    at_most,
    tab_entry,
)
from fastmarket.payments.rows import BuyerRow, SellerRow
from fastmarket.storage.tab_text import DamagedTab, row_of

_HALF_BITS = 32
Place = tuple[bytes, str]
"""The peer and the currency of the last row of a page."""

_TABLES = {TabSide.SOLD: "buyers", TabSide.BOUGHT: "sellers"}
_OWING = {
    TabSide.SOLD: " AND (unpaid_bytes > 0 OR lost_bytes > 0)",
    TabSide.BOUGHT: " AND unpaid_bytes > 0",
}


def _summed(*columns: str) -> str:
    """Two results for each column: SQLite's own sum fails beyond 2^63 - 1."""
    low = (1 << _HALF_BITS) - 1
    return ", ".join(f"sum({one} >> {_HALF_BITS}), sum({one} & {low})" for one in columns)


def _joined(halves: tuple[int, ...]) -> list[int]:
    pairs = zip(halves[::2], halves[1::2], strict=True)
    return [at_most((high << _HALF_BITS) + low) for high, low in pairs]


_SOLD_SUMS = f"""
SELECT currency, count(*), sum(defaults), sum(blocked),
{_summed("paid_bytes", "paid_amount", "unpaid_bytes", "unpaid_amount", "lost_bytes", "lost_amount")}
FROM buyers GROUP BY currency ORDER BY currency
"""
_BOUGHT_SUMS = f"""
SELECT currency, count(*), 0, 0, {_summed("paid_bytes", "paid_amount", "unpaid_bytes", "unpaid_amount")}
FROM sellers GROUP BY currency ORDER BY currency
"""
_MONTH_SUMS = f"""
SELECT month, currency, count(*), {_summed("receipts", "bytes", "amount")} FROM months
WHERE side = ? AND month >= ? GROUP BY month, currency ORDER BY month DESC, currency
"""
_STATEMENT = """
SELECT month, peer, currency, receipts, bytes, amount FROM months
WHERE side = ? AND month BETWEEN ? AND ? AND (month, peer, currency) > (?, ?, ?)
ORDER BY month, peer, currency LIMIT ?
"""


class TabSumsReader:
    """The answers. Every method raises NodeFault."""

    def __init__(self, path: Path) -> None:
        """`path`: of a database that `TabDatabase` has opened."""
        self._path = path
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA query_only=1")

    def close(self) -> None:
        """Not while a question is being answered."""
        self._connection.close()

    def sums(self) -> list[TabSums]:
        """Of each side and currency."""
        with self._faults():
            sold = self._connection.execute(_SOLD_SUMS).fetchall()
            bought = self._connection.execute(_BOUGHT_SUMS).fetchall()
        return [
            *(_tab_sums(TabSide.SOLD, row) for row in sold),
            *(_tab_sums(TabSide.BOUGHT, row) for row in bought),
        ]

    def months(self, side: TabSide, since: int) -> list[MonthSums]:
        """Sums of each month from that one on, the newest first."""
        with self._faults():
            rows = self._connection.execute(_MONTH_SUMS, (side, since)).fetchall()
        return [
            MonthSums(side, month, currency, peers, *_joined(halves))
            for month, currency, peers, *halves in rows
        ]

    def statement(
        self, side: TabSide, months: tuple[int, int], after: tuple[int, bytes, str], limit: int
    ) -> list[StatementRow]:
        """Rows from the first to the last of these months, by month and peer, behind that place."""
        with self._faults():
            rows = self._connection.execute(_STATEMENT, (side, *months, *after, limit)).fetchall()
        return [StatementRow(side, *row) for row in rows]

    def tabs(self, side: TabSide, after: Place, limit: int, *, owing: bool) -> list[TabEntry]:
        """Tabs by peer, behind that place; `owing`: only those with something unpaid."""
        where = _OWING[side] if owing else ""
        query = f"SELECT row FROM {_TABLES[side]} WHERE (peer, currency) > (?, ?){where}"
        with self._faults():
            rows = self._connection.execute(f"{query} ORDER BY peer, currency LIMIT ?", (*after, limit))
            try:
                return [_entry(side, str(row[0])) for row in rows]
            except DamagedTab as error:
                raise NodeFault(f"{self._path.name}: a row that no fastmarket wrote: {error}") from None

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StorageFault(f"cannot read {self._path.name}: {error}") from None


def _entry(side: TabSide, text: str) -> TabEntry:
    return tab_entry(row_of(SellerRow, text) if side is TabSide.SOLD else row_of(BuyerRow, text))


def _tab_sums(side: TabSide, row: tuple[int, ...]) -> TabSums:
    currency, tabs, defaults, blocked, *halves = row
    sums = [*_joined(tuple(halves)), 0, 0][:6]
    signed, unpaid, lost = (Debt(*sums[at : at + 2]) for at in (0, 2, 4))
    return TabSums(side, str(currency), tabs, signed, unpaid, lost, defaults, blocked)
