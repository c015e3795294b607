"""What people ask of tabs: what was earned and spent in a month, who owes what, who did not pay. Sans-IO.

Sums over receipts and tabs that outgrow 2^63 - 1 are told as that: a stranger may sign for any amount.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum

from fastmarket.errors import CallerFault
from fastmarket.formats.price import cost_of
from fastmarket.payments.rows import BuyerRow, SellerRow
from fastmarket.payments.tab import MAX_SUM

EARLIER = 0
"""The month of receipts that are older than the months kept one by one."""
_FIRST, _LAST = 190_001, 999_912


class TabSide(IntEnum):
    """What this node did on a tab; kept on disk by these numbers."""

    SOLD = 0  # the other one is a buyer
    BOUGHT = 1  # the other one is a seller


@dataclass(frozen=True, slots=True)
class Debt:
    """Bytes, and what they cost: on a tab, in all."""

    bytes: int = 0
    amount: int = 0

    @classmethod
    def of(cls, parts: Iterable[tuple[int, int]]) -> Debt:
        """Of parts of `(bytes, price per MB)`."""
        count = amount = 0
        for some, price in parts:
            count += some
            amount += cost_of(some, price)
        return cls(at_most(count), at_most(amount))


@dataclass(frozen=True, slots=True)
class StatementRow:
    """Receipts of one month (202611; `EARLIER`) on the tab with one peer."""

    side: TabSide
    month: int
    peer: bytes
    currency: str
    receipts: int
    bytes: int
    amount: int


@dataclass(frozen=True, slots=True)
class TabEntry:
    """A tab for people. `signed`: in receipts, on all tabs with that peer; `unpaid`: not in one yet; `lost`:
    not paid in time; `credit`: bytes that the seller serves before it is paid."""

    side: TabSide
    peer: bytes
    currency: str
    signed: Debt
    unpaid: Debt
    lost: Debt
    credit: int
    defaults: int = 0
    is_blocked: bool = False
    has_proof: bool = False
    unverified: int = 0
    """Bytes that the buyer paid for without having verified them."""


@dataclass(frozen=True, slots=True)
class TabSums:
    """All tabs of one side in one currency: how many, and what is in them."""

    side: TabSide
    currency: str
    tabs: int
    signed: Debt
    unpaid: Debt
    lost: Debt
    defaults: int
    blocked: int


@dataclass(frozen=True, slots=True)
class MonthSums:
    """All receipts of one side and month in one currency; `peers`: with how many."""

    side: TabSide
    month: int
    currency: str
    peers: int
    receipts: int
    bytes: int
    amount: int


def at_most(number: int) -> int:
    """No more than is told."""
    return min(number, MAX_SUM)


def tab_entry(row: SellerRow | BuyerRow) -> TabEntry:
    """The tab in a row."""
    if isinstance(row, BuyerRow):
        unpaid = Debt.of((one.verified, one.price) for one in row.due)
        signed = _signed(row)
        side, peer = TabSide.BOUGHT, row.seller
        return TabEntry(
            side, peer, row.currency, signed, unpaid, Debt(), row.credit, unverified=row.unverified
        )
    return TabEntry(
        TabSide.SOLD,
        row.buyer,
        row.currency,
        _signed(row),
        Debt.of((one.served, one.price) for one in row.owed),
        Debt.of((one.lost, one.price) for one in row.owed),
        row.credit,
        row.defaults,
        row.is_blocked,
        bool(row.proof),
    )


def _signed(row: SellerRow | BuyerRow) -> Debt:
    return Debt(at_most(row.total_bytes + row.paid_bytes), at_most(row.total_amount + row.paid_amount))


def month_of(now: float) -> int:
    """The month of UTC of a time in Unix seconds, as 202611."""
    try:
        date = datetime.fromtimestamp(now, UTC)
    except (ValueError, OverflowError, OSError):  # a clock that shows no year of ours
        return _FIRST if now < 0 else _LAST
    return date.year * 100 + date.month


def months_before(month: int, count: int) -> int:
    """The month so many before another one."""
    number = month // 100 * 12 + month % 100 - 1 - count
    return number // 12 * 100 + number % 12 + 1


def month_text(month: int) -> str:
    """`2026-11`; `earlier`."""
    return "earlier" if month == EARLIER else f"{month // 100:04d}-{month % 100:02d}"


def parse_month(text: str) -> int:
    """The month in `2026-11` or `earlier`. Raises CallerFault ("month")."""
    if text == "earlier":
        return EARLIER
    year, dash, month = text.partition("-")
    is_number = all(part.isascii() and part.isdecimal() for part in (year, month))
    if not (dash and is_number and len(year) == 4 and len(month) == 2 and 1 <= int(month) <= 12):
        raise CallerFault("month", f"{text!r:.40} is not YYYY-MM")
    return int(year) * 100 + int(month)
