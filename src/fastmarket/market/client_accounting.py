"""The client's half of payments: GetLedger, ListTabs, GetStatement, ForgivePeer, BlockPeer."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass

from fastmarket.market.client_calls import ClientCalls, RpcMethod, sendable
from fastmarket.pb.fastmarket.v1 import market_pb2 as v1

_GET_LEDGER = RpcMethod("/fastmarket.v1.Market/GetLedger", v1.Ledger)
_LIST_TABS = RpcMethod("/fastmarket.v1.Market/ListTabs", v1.ListTabsResponse)
_GET_STATEMENT = RpcMethod("/fastmarket.v1.Market/GetStatement", v1.GetStatementResponse)
_FORGIVE_PEER = RpcMethod("/fastmarket.v1.Market/ForgivePeer", v1.ForgivePeerResponse)
_BLOCK_PEER = RpcMethod("/fastmarket.v1.Market/BlockPeer", v1.BlockPeerResponse)

PAGE = 1000  # rows requested at a time
SOLD, BOUGHT = "sold", "bought"
_SIDES = {v1.TAB_SIDE_SOLD: SOLD, v1.TAB_SIDE_BOUGHT: BOUGHT}


@dataclass(frozen=True, slots=True)
class DebtView:
    """Bytes of files, and what they cost in whole units."""

    bytes: int
    amount: int


@dataclass(frozen=True, slots=True)
class LedgerTotals:
    """All tabs of one side ("sold" or "bought") in one currency. `signed`: in receipts; `unpaid`: not in one
    yet; `lost`: not paid for in time."""

    side: str
    currency: str
    tabs: int
    signed: DebtView
    unpaid: DebtView
    lost: DebtView
    defaults: int
    blocked: int


@dataclass(frozen=True, slots=True)
class MonthTotals:
    """The receipts of one month ("2026-11") of one side in one currency, with so many peers."""

    side: str
    month: str
    currency: str
    peers: int
    receipts: int
    bytes: int
    amount: int


@dataclass(frozen=True, slots=True)
class LedgerView:
    """All of it in sums. `months`: the last twelve, the newest first; `month`: this one; `currency`: of the
    node's own prices; `budget_per_day` None: no limit."""

    totals: tuple[LedgerTotals, ...]
    months: tuple[MonthTotals, ...]
    currency: str
    month: str
    budget_per_day: int | None
    spent_today: int


@dataclass(frozen=True, slots=True)
class TabView:
    """All tabs with one peer in one currency; see `LedgerTotals`. `credit`: bytes that the seller serves
    unpaid; `proof`: the peer signed two receipts of one number. `unverified_bytes`: of `signed`."""

    side: str
    peer_id: str
    currency: str
    signed: DebtView
    unpaid: DebtView
    lost: DebtView
    credit: int
    defaults: int
    blocked: bool
    proof: bool
    unverified_bytes: int


@dataclass(frozen=True, slots=True)
class StatementLine:
    """The receipts of one month ("2026-11", "earlier") with one peer in one currency."""

    side: str
    month: str
    peer_id: str
    currency: str
    receipts: int
    bytes: int
    amount: int


class LedgerCalls(ClientCalls):
    """Methods of `MarketClient`. `CallerFault` ("payments"): the node takes no payments."""

    async def get_ledger(self, *, timeout_s: float | None = None) -> LedgerView:
        """What was earned and spent, and is owed, in sums."""
        told = await self._call(_GET_LEDGER, v1.GetLedgerRequest(), timeout_s)
        return LedgerView(
            tuple(map(_totals, told.sums)),
            tuple(map(_month, told.months)),
            told.currency,
            told.month,
            told.budget_per_day if told.HasField("budget_per_day") else None,
            told.spent_today,
        )

    async def list_tabs(
        self, *, owing: bool = False, timeout_s: float | None = None
    ) -> AsyncGenerator[TabView, None]:
        """Tabs with buyers, then with sellers; `owing`: only those with something unpaid, or lost."""
        token = ""
        while True:
            request = v1.ListTabsRequest(owing=owing, page_size=PAGE, page_token=token)
            reply = await self._call(_LIST_TABS, request, timeout_s)
            for tab in reply.tabs:
                yield _tab(tab)
            token = reply.next_page_token
            if not token:
                return

    async def statement(
        self, month: str = "", *, timeout_s: float | None = None
    ) -> AsyncGenerator[StatementLine, None]:
        """Receipts by month and peer: what was sold, then what was bought. `month`: "2026-11", "earlier",
        "all", or "" for this month."""
        token = ""
        while True:
            with sendable():
                request = v1.GetStatementRequest(month=month, page_size=PAGE, page_token=token)
            reply = await self._call(_GET_STATEMENT, request, timeout_s)
            for row in reply.rows:
                side, peer = _SIDES[row.side], row.peer_id
                yield StatementLine(side, row.month, peer, row.currency, row.receipts, row.bytes, row.amount)
            token = reply.next_page_token
            if not token:
                return

    async def forgive(self, peer_id: str, *, timeout_s: float | None = None) -> DebtView:
        """Writes off what a buyer owes; returns what it was."""
        with sendable():
            request = v1.ForgivePeerRequest(peer_id=peer_id)
        return _debt((await self._call(_FORGIVE_PEER, request, timeout_s)).forgiven)

    async def block(self, peer_id: str, *, blocked: bool = True, timeout_s: float | None = None) -> None:
        """Sells nothing more to a peer for money; `blocked` False: again."""
        with sendable():
            request = v1.BlockPeerRequest(peer_id=peer_id, blocked=blocked)
        await self._call(_BLOCK_PEER, request, timeout_s)


def _debt(debt: v1.Debt) -> DebtView:
    return DebtView(debt.bytes, debt.amount)


def _debts(one: v1.TabSums | v1.TabEntry) -> tuple[DebtView, DebtView, DebtView]:
    return _debt(one.signed), _debt(one.unpaid), _debt(one.lost)


def _totals(one: v1.TabSums) -> LedgerTotals:
    side, counts = _SIDES[one.side], (one.defaults, one.blocked)
    return LedgerTotals(side, one.currency, one.tabs, *_debts(one), *counts)


def _month(one: v1.MonthSums) -> MonthTotals:
    counts = one.peers, one.receipts, one.bytes, one.amount
    return MonthTotals(_SIDES[one.side], one.month, one.currency, *counts)


def _tab(one: v1.TabEntry) -> TabView:
    return TabView(
        _SIDES[one.side],
        one.peer_id,
        one.currency,
        *_debts(one),
        one.credit,
        one.defaults,
        one.blocked,
        one.proof,
        one.unverified_bytes,
    )
