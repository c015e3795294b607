"""`GetLedger`, `ListTabs`, `GetStatement`, `ForgivePeer` and `BlockPeer` of `fastmarket.v1.Market`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from google.protobuf.message import Message

from fastmarket.config import MarketConfig
from fastmarket.errors import CallerFault, Forbidden, Unmet
from fastmarket.formats.identity import PeerId
from fastmarket.market.access import AccessScope
from fastmarket.market.calls import Calls, Method
from fastmarket.market.sharing import MAY_WRITE
from fastmarket.payments.ledger import (
    EARLIER,
    Debt,
    MonthSums,
    StatementRow,
    TabEntry,
    TabSide,
    TabSums,
    month_text,
    parse_month,
)
from fastmarket.pb.fastmarket.v1 import market_pb2 as v1

if TYPE_CHECKING:
    from fastmarket.storage.tab_ledger import TabLedger

DEFAULT_PAGE = 100
ALL = "all"  # months
_NEWEST = 999_912  # of all months


class _Place(NamedTuple):
    """The last row of a page, as its token tells it."""

    side: TabSide
    month: int
    peer: bytes
    currency: str

    def token(self) -> str:
        return f"{self.side:d}.{self.month}.{self.peer.hex()}.{self.currency}"


_SIDES = {
    v1.TAB_SIDE_UNSPECIFIED: tuple(TabSide),
    v1.TAB_SIDE_SOLD: (TabSide.SOLD,),
    v1.TAB_SIDE_BOUGHT: (TabSide.BOUGHT,),
}
_SHOWN_SIDES = {TabSide.SOLD: v1.TAB_SIDE_SOLD, TabSide.BOUGHT: v1.TAB_SIDE_BOUGHT}


class LedgerMethods:
    """The methods, over the node's ledger; without one they say what is missing."""

    def __init__(self, ledger: TabLedger | None, config: MarketConfig) -> None:
        self._ledger = ledger
        self._config = config

    def handlers(self, calls: Calls) -> dict[str, Method]:
        """By name. With whom this node deals is for those that may write."""
        unary = calls.unary
        return {
            "GetLedger": Method(AccessScope.WRITE, unary(v1.GetLedgerRequest, self._get_ledger)),
            "ListTabs": Method(AccessScope.WRITE, unary(v1.ListTabsRequest, self._list_tabs)),
            "GetStatement": Method(AccessScope.WRITE, unary(v1.GetStatementRequest, self._get_statement)),
            "ForgivePeer": Method(AccessScope.WRITE, unary(v1.ForgivePeerRequest, self._forgive)),
            "BlockPeer": Method(AccessScope.WRITE, unary(v1.BlockPeerRequest, self._block)),
        }

    def _opened(self) -> TabLedger:
        if not MAY_WRITE.get():
            raise Forbidden("payments", "are for programs on this node's machine, or with a token")
        if self._ledger is None:
            reason = "this node takes no payments; start it with --payments"
            raise Unmet("payments", reason, "NO_PAYMENTS")
        return self._ledger

    async def _get_ledger(self, request: v1.GetLedgerRequest, deadline_s: float | None) -> Message:
        told = await self._opened().sums()
        return v1.Ledger(
            sums=map(_sums, told.tabs),
            months=map(_month, told.months),
            currency=told.currency,
            month=month_text(told.month),
            budget_per_day=told.budget_per_day,
            spent_today=told.spent_today,
        )

    async def _list_tabs(self, request: v1.ListTabsRequest, deadline_s: float | None) -> Message:
        ledger = self._opened()
        if request.side not in _SIDES:
            raise CallerFault("side", f"{request.side} is not a side")
        after, size = _place(request.page_token), self._size(request.page_size)
        found: list[TabEntry] = []
        for side in _SIDES[request.side]:
            if side >= after.side and len(found) <= size:
                begin = after[2:] if side is after.side else (b"", "")
                limit = size + 1 - len(found)
                found += await ledger.tabs(side, begin, limit, owing=request.owing)
        last = found[size - 1] if len(found) > size else None
        token = "" if last is None else _Place(last.side, EARLIER, last.peer, last.currency).token()
        return v1.ListTabsResponse(tabs=map(_tab, found[:size]), next_page_token=token)

    async def _get_statement(self, request: v1.GetStatementRequest, deadline_s: float | None) -> Message:
        ledger = self._opened()
        months = _months(request.month, ledger.month)
        after, size = _place(request.page_token), self._size(request.page_size)
        found: list[StatementRow] = []
        for side in TabSide:
            if side >= after.side and len(found) <= size:
                begin = after[1:] if side is after.side else (-1, b"", "")
                found += await ledger.statement(side, months, begin, size + 1 - len(found))
        last = found[size - 1] if len(found) > size else None
        token = "" if last is None else _Place(last.side, last.month, last.peer, last.currency).token()
        return v1.GetStatementResponse(rows=map(_row, found[:size]), next_page_token=token)

    async def _forgive(self, request: v1.ForgivePeerRequest, deadline_s: float | None) -> Message:
        debt = await self._opened().forgive(PeerId.from_text(request.peer_id))
        return v1.ForgivePeerResponse(forgiven=_debt(debt))

    async def _block(self, request: v1.BlockPeerRequest, deadline_s: float | None) -> Message:
        await self._opened().block(PeerId.from_text(request.peer_id), blocked=request.blocked)
        return v1.BlockPeerResponse()

    def _size(self, asked: int) -> int:
        return min(asked or DEFAULT_PAGE, self._config.max_page)


def _place(token: str) -> _Place:
    """Raises CallerFault ("page_token")."""
    if not token:
        return _Place(TabSide.SOLD, -1, b"", "")
    try:
        side, month, peer, currency = token.split(".", 3)
        return _Place(TabSide(int(side)), min(int(month), _NEWEST), bytes.fromhex(peer), currency)
    except ValueError:
        raise CallerFault("page_token", "not issued by this server") from None


def _months(asked: str, now: int) -> tuple[int, int]:
    """The first and the last. Raises CallerFault ("month")."""
    if asked == ALL:
        return EARLIER, _NEWEST
    month = parse_month(asked) if asked else now
    return month, month


def _debt(debt: Debt) -> v1.Debt:
    return v1.Debt(bytes=debt.bytes, amount=debt.amount)


def _sums(one: TabSums) -> v1.TabSums:
    return v1.TabSums(
        side=_SHOWN_SIDES[one.side],
        currency=one.currency,
        tabs=one.tabs,
        signed=_debt(one.signed),
        unpaid=_debt(one.unpaid),
        lost=_debt(one.lost),
        defaults=one.defaults,
        blocked=one.blocked,
    )


def _month(one: MonthSums) -> v1.MonthSums:
    return v1.MonthSums(
        side=_SHOWN_SIDES[one.side],
        month=month_text(one.month),
        currency=one.currency,
        peers=one.peers,
        receipts=one.receipts,
        bytes=one.bytes,
        amount=one.amount,
    )


def _tab(one: TabEntry) -> v1.TabEntry:
    return v1.TabEntry(
        side=_SHOWN_SIDES[one.side],
        peer_id=str(PeerId.from_bytes(one.peer)),
        currency=one.currency,
        signed=_debt(one.signed),
        unpaid=_debt(one.unpaid),
        lost=_debt(one.lost),
        credit=one.credit,
        defaults=one.defaults,
        blocked=one.is_blocked,
        proof=one.has_proof,
        unverified_bytes=one.unverified,
    )


def _row(one: StatementRow) -> v1.StatementRow:
    return v1.StatementRow(
        side=_SHOWN_SIDES[one.side],
        month=month_text(one.month),
        peer_id=str(PeerId.from_bytes(one.peer)),
        currency=one.currency,
        receipts=one.receipts,
        bytes=one.bytes,
        amount=one.amount,
    )
