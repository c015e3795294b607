"""What the page is told of payments, as JSON; amounts are text, as prices are (`web.market_json`)."""

from __future__ import annotations

from fastmarket.formats.identity import PeerId
from fastmarket.payments.ledger import Debt, MonthSums, TabEntry, TabSide, TabSums, month_text
from fastmarket.storage.tab_ledger import LedgerSums, TabLedger

Json = dict[str, object]


async def ledger_json(ledger: TabLedger, most: int) -> Json:
    """Sums, and at most so many tabs of each side with something unpaid."""
    told = await ledger.sums()
    tabs = [one for side in TabSide for one in await ledger.tabs(side, (b"", ""), most, owing=True)]
    return {**_ledger(told), "tabs": [_tab(one) for one in tabs]}


def _ledger(told: LedgerSums) -> Json:
    budget = told.budget_per_day
    return {
        "currency": told.currency,
        "month": month_text(told.month),
        "budget_per_day": None if budget is None else str(budget),
        "spent_today": str(told.spent_today),
        "totals": [_sums(one) for one in told.tabs],
        "months": [_month(one) for one in told.months],
    }


def _debt(debt: Debt) -> Json:
    return {"bytes": debt.bytes, "amount": str(debt.amount)}


def _sums(one: TabSums) -> Json:
    return {
        "side": one.side.name.lower(),
        "currency": one.currency,
        "tabs": one.tabs,
        "signed": _debt(one.signed),
        "unpaid": _debt(one.unpaid),
        "lost": _debt(one.lost),
        "defaults": one.defaults,
        "blocked": one.blocked,
    }


def _month(one: MonthSums) -> Json:
    return {
        "side": one.side.name.lower(),
        "month": month_text(one.month),
        "currency": one.currency,
        "peers": one.peers,
        "receipts": one.receipts,
        "bytes": one.bytes,
        "amount": str(one.amount),
    }


def _tab(one: TabEntry) -> Json:
    return {
        "side": one.side.name.lower(),
        "peer_id": str(PeerId.from_bytes(one.peer)),
        "currency": one.currency,
        "signed": _debt(one.signed),
        "unpaid": _debt(one.unpaid),
        "lost": _debt(one.lost),
        "defaults": one.defaults,
        "blocked": one.is_blocked,
        "proof": one.has_proof,
    }
