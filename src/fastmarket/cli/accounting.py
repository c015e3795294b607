"""Commands about payments: `earnings`, `spending`, `statement`, `owed`, `forgive`, `block` and `unblock`."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from fastmarket.cli.render import Column, clean, size_text
from fastmarket.wording import counted

if TYPE_CHECKING:
    from fastmarket.cli.context import Context
    from fastmarket.market.client_accounting import LedgerTotals, LedgerView, StatementLine, TabView
    from fastmarket.market.grpc_client import MarketClient

MONTH_COLUMNS = (
    Column("Month"),
    Column("Amount", right=True, bold=True),
    Column("Currency"),
    Column("Bytes", right=True),
    Column("Receipts", right=True),
    Column("Peers", right=True),
)
STATEMENT_COLUMNS = (
    Column("Month"),
    Column("Side"),
    Column("Peer", wraps=True),
    Column("Amount", right=True, bold=True),
    Column("Currency"),
    Column("Bytes", right=True),
    Column("Receipts", right=True),
)
TAB_COLUMNS = (
    Column("Side"),
    Column("Peer", wraps=True),
    Column("Signed", right=True, bold=True),
    Column("Unpaid", right=True, bold=True),
    Column("Lost", right=True),
    Column("Currency"),
    Column("Unpaid bytes", right=True),
    Column("Credit", right=True),
    Column("Defaults", right=True),
    Column("State"),
)
CSV_FIELDS = ("month", "side", "peer_id", "currency", "receipts", "bytes", "amount")
_LONG_S = 120.0  # of a file with many tabs


def earnings(desk: Context) -> None:
    """What buyers signed for, by month."""
    _by_month(desk, "sold")


def spending(desk: Context) -> None:
    """What this node signed for, by month."""
    _by_month(desk, "bought")


def _by_month(desk: Context, side: str) -> None:
    told = desk.link.call(lambda client: client.get_ledger(timeout_s=_LONG_S))
    totals = [one for one in told.totals if one.side == side]
    months = [one for one in told.months if one.side == side]
    if desk.as_json:
        shown: dict[str, object] = {
            "month": told.month,
            "totals": [asdict(one) for one in totals],
            "months": [asdict(one) for one in months],
        }
        if side == "bought":
            shown |= {"budget_per_day": told.budget_per_day, "spent_today": told.spent_today}
        desk.screen.json({**shown, "ms": desk.link.took_ms})
        return
    if not totals:
        desk.screen.line("Nothing is sold for money yet" if side == "sold" else "Nothing is bought yet")
        return
    rows = [
        (
            one.month,
            str(one.amount),
            one.currency,
            size_text(one.bytes),
            str(one.receipts),
            str(one.peers),
        )
        for one in months
    ]
    desk.screen.table("; ".join(_summary(one, told) for one in totals), MONTH_COLUMNS, rows)


def _summary(one: LedgerTotals, told: LedgerView) -> str:
    currency = one.currency
    if one.side == "sold":
        parts = [f"earned {one.signed.amount} {currency} from {counted(one.tabs, 'buyer')}"]
    else:
        parts = [f"spent {one.signed.amount} {currency} at {counted(one.tabs, 'seller')}"]
        if currency == told.currency:
            budget = "" if told.budget_per_day is None else f" of {told.budget_per_day}"
            parts.append(f"today {told.spent_today}{budget}")
    if one.unpaid.bytes:
        parts.append(f"{size_text(one.unpaid.bytes)} unpaid ({one.unpaid.amount} {currency})")
    if one.lost.bytes:
        parts.append(f"{size_text(one.lost.bytes)} lost ({one.lost.amount} {currency})")
    return ", ".join(parts)


def statement(desk: Context, month: str = "", *, as_csv: bool = False) -> None:
    """Receipts of a month by peer."""

    async def listed(client: MarketClient) -> list[StatementLine]:
        return [line async for line in client.statement(month, timeout_s=_LONG_S)]

    found = desk.link.call(listed)
    if desk.as_json:
        desk.screen.json({"rows": [asdict(line) for line in found], "ms": desk.link.took_ms})
    elif as_csv:
        desk.screen.line(csv_text(found))
    elif not found:
        desk.screen.line("No receipts in that month")
    else:
        rows = [
            (
                line.month,
                line.side,
                line.peer_id,
                str(line.amount),
                line.currency,
                size_text(line.bytes),
                str(line.receipts),
            )
            for line in found
        ]
        desk.screen.table(_sides(found), STATEMENT_COLUMNS, rows)


def _sides(lines: Sequence[StatementLine]) -> str:
    """The sums above a statement: `sold for 16 unit; bought for 3 unit`."""
    sums: dict[tuple[str, str], int] = {}
    for line in lines:
        key = line.side, line.currency
        sums[key] = sums.get(key, 0) + line.amount
    return "; ".join(f"{side} for {amount} {currency}" for (side, currency), amount in sums.items())


def csv_text(lines: Sequence[StatementLine]) -> str:
    """As programs for tables read it, with a line of names; without the last line break."""
    made = io.StringIO()
    writer = csv.DictWriter(made, CSV_FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(line) for line in lines)
    return made.getvalue().rstrip("\n")


def owed(desk: Context, *, unpaid: bool = False) -> None:
    """Tabs, the largest debts first; `unpaid`: only those with something that no receipt is for."""

    async def listed(client: MarketClient) -> list[TabView]:
        return [tab async for tab in client.list_tabs(owing=unpaid, timeout_s=_LONG_S)]

    found = sorted(desk.link.call(listed), key=_debts, reverse=True)
    if desk.as_json:
        desk.screen.json({"tabs": [asdict(tab) for tab in found], "ms": desk.link.took_ms})
    elif not found:
        desk.screen.line("Nothing is owed")
    else:
        desk.screen.table(counted(len(found), "tab"), TAB_COLUMNS, [_tab_row(tab) for tab in found])


def _debts(tab: TabView) -> tuple[int, int]:
    return tab.unpaid.amount + tab.lost.amount, tab.signed.amount


def _tab_row(tab: TabView) -> tuple[str, ...]:
    state = [name for name, is_so in (("blocked", tab.blocked), ("proof of fraud", tab.proof)) if is_so]
    return (
        tab.side,
        tab.peer_id,
        str(tab.signed.amount),
        str(tab.unpaid.amount) if tab.unpaid.bytes else "",
        str(tab.lost.amount) if tab.lost.bytes else "",
        tab.currency,
        size_text(tab.unpaid.bytes) if tab.unpaid.bytes else "",
        size_text(tab.credit),
        str(tab.defaults) if tab.defaults else "",
        ", ".join(state),
    )


def forgive(desk: Context, peer: str) -> None:
    """Writes off what a buyer owes."""
    debt = desk.link.call(lambda client: client.forgive(peer))
    if desk.as_json:
        desk.screen.json({"peer_id": peer, "forgiven": asdict(debt), "ms": desk.link.took_ms})
    else:
        desk.screen.line(f"forgave {clean(peer)} {size_text(debt.bytes)} that cost {debt.amount}")


def block(desk: Context, peer: str, *, blocked: bool = True) -> None:
    """Sells nothing more to a peer for money, or again."""
    desk.link.call(lambda client: client.block(peer, blocked=blocked))
    if desk.as_json:
        desk.screen.json({"peer_id": peer, "blocked": blocked, "ms": desk.link.took_ms})
    else:
        desk.screen.line(f"{clean(peer)} is {'blocked' if blocked else 'no longer blocked'}")
