"""How rows of tabs are written: each with what is told of it, and with what it adds to the sums of its month.

The months are counted here, from the difference to the row before: so the sums of all months are those of the
rows, whatever the clock does. Called within a transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

from fastmarket.payments.ledger import EARLIER, TabEntry, TabSide, tab_entry
from fastmarket.payments.rows import BuyerRow, SellerRow
from fastmarket.payments.tab import MAX_SUM
from fastmarket.storage.tab_text import row_of, text_of

KEPT_MONTHS = 36
"""Months that are kept one by one, some 80 bytes each for each tab; older ones become one, "earlier"."""

_BUYER_NOW = "SELECT paid_bytes, paid_amount FROM buyers WHERE peer = ? AND currency = ?"
_SELLER_NOW = "SELECT paid_bytes, paid_amount FROM sellers WHERE peer = ? AND currency = ?"
_PUT_BUYER = """
INSERT OR REPLACE INTO buyers (peer, currency, row, paid_bytes, paid_amount, unpaid_bytes, unpaid_amount,
lost_bytes, lost_amount, defaults, blocked) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_PUT_SELLER = """
INSERT OR REPLACE INTO sellers (peer, currency, row, paid_bytes, paid_amount, unpaid_bytes, unpaid_amount,
day, day_amount) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_ON_CONFLICT = f"""
ON CONFLICT (side, month, peer, currency) DO UPDATE SET receipts = receipts + excluded.receipts,
bytes = CASE WHEN bytes > {MAX_SUM} - excluded.bytes THEN {MAX_SUM} ELSE bytes + excluded.bytes END,
amount = CASE WHEN amount > {MAX_SUM} - excluded.amount THEN {MAX_SUM} ELSE amount + excluded.amount END
"""
_ADD = f"INSERT INTO months VALUES (?, ?, ?, ?, ?, ?, ?) {_ON_CONFLICT}"
_NEVER = 1_000_000  # behind all months
_MONTH_BEFORE = "SELECT max(month) FROM months WHERE side = ? AND month < ?"
_FOLD = f"""
INSERT INTO months SELECT side, {EARLIER}, peer, currency, receipts, bytes, amount FROM months
WHERE side = ? AND month > {EARLIER} AND month < ? {_ON_CONFLICT}
"""
_DROP = f"DELETE FROM months WHERE side = ? AND month > {EARLIER} AND month < ?"


def put_rows(connection: sqlite3.Connection, rows: Iterable[SellerRow | BuyerRow], month: int) -> None:
    """Replaces the rows; what they add counts for that month."""
    for row in rows:
        entry = tab_entry(row)
        is_sold = entry.side is TabSide.SOLD
        where = entry.peer, entry.currency
        before = connection.execute(_BUYER_NOW if is_sold else _SELLER_NOW, where).fetchone()
        _add(connection, entry, (0, 0) if before is None else before, month)
        common = (*where, text_of(row), *_sums(entry))
        if isinstance(row, BuyerRow):
            connection.execute(_PUT_SELLER, (*common, row.day, row.day_amount))
        else:
            lost = entry.lost
            connection.execute(
                _PUT_BUYER, (*common, lost.bytes, lost.amount, entry.defaults, entry.is_blocked)
            )


def fill_in(connection: sqlite3.Connection) -> None:
    """Completes rows of the first format, of whose receipts no month is known. Raises DamagedTab."""
    found: Sequence[SellerRow | BuyerRow] = [
        *(row_of(SellerRow, text) for text in _texts(connection, "buyers")),
        *(row_of(BuyerRow, text) for text in _texts(connection, "sellers")),
    ]
    put_rows(connection, found, EARLIER)


def fold_months(connection: sqlite3.Connection) -> None:
    """Makes one of the oldest months, so that KEPT_MONTHS of each side are left."""
    for side in TabSide:
        oldest = _NEVER
        for _ in range(KEPT_MONTHS):
            found = connection.execute(_MONTH_BEFORE, (side, oldest)).fetchone()[0]
            if not found:
                break
            oldest = found
        else:
            connection.execute(_FOLD, (side, oldest))
            connection.execute(_DROP, (side, oldest))


def _texts(connection: sqlite3.Connection, table: str) -> list[str]:
    rows = connection.execute(f"SELECT row FROM {table} WHERE paid_bytes IS NULL").fetchall()
    return [str(row[0]) for row in rows]


def _sums(entry: TabEntry) -> tuple[int, int, int, int]:
    return entry.signed.bytes, entry.signed.amount, entry.unpaid.bytes, entry.unpaid.amount


def _add(
    connection: sqlite3.Connection, entry: TabEntry, before: tuple[int | None, int | None], month: int
) -> None:
    more_bytes = entry.signed.bytes - (before[0] or 0)
    more_amount = entry.signed.amount - (before[1] or 0)
    if more_bytes > 0 or more_amount > 0:  # one receipt: the next is not signed before this one is on disk
        added = 1, max(more_bytes, 0), max(more_amount, 0)
        connection.execute(_ADD, (entry.side, month, entry.peer, entry.currency, *added))
