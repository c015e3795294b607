"""The newest receipts of all buyers, read beside the node: in a thread, with a connection of its own.

Pages of rows are read one by one, each in a moment: a long read would keep the write-ahead log from being
cut.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from fastmarket.errors import PeerFault, StorageFault
from fastmarket.payments.backing import NewestReceipt, newest
from fastmarket.payments.receipt import open_receipt
from fastmarket.payments.rows import SellerRow
from fastmarket.storage.tab_text import DamagedTab, row_of
from fastmarket.storage.tabs import BUSY_TIMEOUT_S

PAGE_ROWS = 256
_PAGE = (
    "SELECT peer, currency, row FROM buyers WHERE (peer, currency) > (?, ?)"
    f" ORDER BY peer, currency LIMIT {PAGE_ROWS}"
)


def newest_receipts(path: Path, since: float) -> Iterator[NewestReceipt]:
    """Of each tab of the buyers that were active since then (Unix seconds). Raises StorageFault. A row or
    receipt that cannot be read is left out: it is told of where it is used."""
    at: tuple[bytes, str] = (b"", "")
    while page := _page(path, at):
        for peer, currency, text in page:
            at = (peer, currency)
            try:
                row = row_of(SellerRow, str(text))
            except DamagedTab:
                continue
            if row.active_at >= since:
                yield from _receipts(row)


def _page(path: Path, after: tuple[bytes, str]) -> list[tuple[bytes, str, str]]:
    try:
        with closing(sqlite3.connect(path, timeout=BUSY_TIMEOUT_S)) as connection:
            connection.execute("PRAGMA query_only=1")
            return connection.execute(_PAGE, after).fetchall()
    except sqlite3.Error as error:
        raise StorageFault(f"cannot read {path.name}: {error}") from None


def _receipts(row: SellerRow) -> Iterator[NewestReceipt]:
    for raw in (*row.earlier, row.receipt):
        try:
            receipt = open_receipt(raw) if raw else None
        except PeerFault:
            continue
        if receipt is not None:
            yield newest(receipt)
