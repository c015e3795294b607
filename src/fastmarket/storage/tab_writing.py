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
# What a row adds to its month: the difference to the row before, which is still there.
_ADD_OF = f"""
INSERT INTO months SELECT ?1, ?2, ?3, ?4, 1, max(?5 - had_bytes, 0), max(?6 - had_amount, 0) FROM (
    SELECT coalesce(max(paid_bytes), 0) AS had_bytes, coalesce(max(paid_amount), 0) AS had_amount
    FROM {{table}} WHERE peer = ?3 AND currency = ?4
) WHERE ?5 > had_bytes OR ?6 > had_amount {_ON_CONFLICT}
"""
_ADD = {TabSide.SOLD: _ADD_OF.format(table="buyers"), TabSide.BOUGHT: _ADD_OF.format(table="sellers")}
_NEVER = 1_000_000  # behind all months
_MONTH_BEFORE = "SELECT max(month) FROM months WHERE side = ? AND month < ?"
_FOLD = f"""
INSERT INTO months SELECT side, {EARLIER}, peer, currency, receipts, bytes, amount FROM months
WHERE side = ? AND month > {EARLIER} AND month < ? {_ON_CONFLICT}
"""
_DROP = f"DELETE FROM months WHERE side = ? AND month > {EARLIER} AND month < ?"


def put_rows(connection: sqlite3.Connection, rows: Iterable[SellerRow | BuyerRow], month: int) -> None:
    """Replaces the rows; what they add counts for that month. Of several of one tab the last one counts: a
    tab has one receipt at most that is not on disk."""
    sold: dict[tuple[bytes, str], SellerRow] = {}
    bought: dict[tuple[bytes, str], BuyerRow] = {}
    for row in rows:
        if isinstance(row, SellerRow):
            sold[row.buyer, row.currency] = row
        else:
            bought[row.seller, row.currency] = row
    sales = [(tab_entry(row), text_of(row)) for row in sold.values()]
    _add(connection, TabSide.SOLD, [entry for entry, _ in sales], month)
    connection.executemany(_PUT_BUYER, [_buyer_fields(entry, text) for entry, text in sales])
    purchases = [(tab_entry(row), row) for row in bought.values()]
    _add(connection, TabSide.BOUGHT, [entry for entry, _ in purchases], month)
    connection.executemany(_PUT_SELLER, [_seller_fields(entry, row) for entry, row in purchases])


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


def _add(connection: sqlite3.Connection, side: TabSide, entries: Iterable[TabEntry], month: int) -> None:
    added = [
        (int(side), month, one.peer, one.currency, one.signed.bytes, one.signed.amount)
        for one in entries
        if one.signed.bytes or one.signed.amount
    ]
    connection.executemany(_ADD[side], added)


def _buyer_fields(entry: TabEntry, text: str) -> tuple[object, ...]:
    lost = entry.lost
    return (*_common(entry, text), lost.bytes, lost.amount, entry.defaults, entry.is_blocked)


def _seller_fields(entry: TabEntry, row: BuyerRow) -> tuple[object, ...]:
    return (*_common(entry, text_of(row)), row.day, row.day_amount)


def _common(entry: TabEntry, text: str) -> tuple[object, ...]:
    signed, unpaid = entry.signed, entry.unpaid
    where = entry.peer, entry.currency, text
    return (*where, signed.bytes, signed.amount, unpaid.bytes, unpaid.amount)
