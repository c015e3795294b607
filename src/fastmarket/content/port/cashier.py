"""Payment at the content port: what costs something is served to who pays, and not here for who cannot.

A receipt that comes with a request is on disk before the request is answered: until then the request is held,
and others go on. Kubo and others, which know no payment, get 404: they count 402 as a failure of the whole
server (boxo 0.43, httpnet).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from fastmarket.content.place import FileBlock, Place
from fastmarket.content.port.messages import (
    AnswerCharge,
    GatewayRequest,
    Header,
    PaidRequest,
    RequestRefused,
)
from fastmarket.content.port.resolving import NOT_HERE
from fastmarket.errors import NodeFault, PeerFault, StorageFault
from fastmarket.log_throttle import LogThrottle
from fastmarket.payments.reasons import Reason
from fastmarket.payments.rows import SellerRow
from fastmarket.payments.seller import CheckedReceipt
from fastmarket.payments.session import Ticket
from fastmarket.payments.tab import PricedOffer
from fastmarket.payments.till import Admitted, NotAdmitted, Till, Wanted, ticket_of
from fastmarket.payments.x402 import (
    REQUIRED_HEADER,
    RESPONSE_HEADER,
    Payment,
    decode_payment,
    encode_state,
    encode_terms,
)
from fastmarket.wording import suppressed_note

log = logging.getLogger(__name__)

OUR_AGENT = "fastmarket/"  # begins the User-Agent of programs that can pay
FAULT_LOG_INTERVAL_S = 60.0
_NOT_PAID = "it costs something: see PAYMENT-REQUIRED"


class Prices(Protocol):
    """What blocks cost."""

    def find(self, block: bytes, content: bytes | None) -> tuple[bytes, int] | None:
        """See `content.prices.GoodPrices`."""


class RowWriter(Protocol):
    """The disk."""

    def put(self, rows: Sequence[SellerRow]) -> asyncio.Future[None]:
        """Completes when the rows are on disk; raises StorageFault."""


@dataclass(slots=True)
class TakenPayment(PaidRequest):
    """What came with a request; `wrong`: why it does not count; `is_ready`: none of it is being written."""

    payment: Payment
    ticket: Ticket | Reason
    wrong: Reason | None = None
    is_ready: bool = True


@dataclass(frozen=True, slots=True)
class SoldBlock:
    """What a block that may be served adds to its answer. `charge`: None if it costs nothing."""

    headers: tuple[Header, ...] = ()
    charge: AnswerCharge | None = None


_FOR_NOTHING = SoldBlock()


class Cashier:
    """Sits between the gateway and a till."""

    def __init__(self, till: Till, prices: Prices, writer: RowWriter, now: Callable[[], float]) -> None:
        """`now`: Unix seconds."""
        self.till = till
        self._prices = prices
        self._writer = writer
        self._now = now
        self._faults = LogThrottle(FAULT_LOG_INTERVAL_S, 1)

    def holds(self, request: GatewayRequest, wake: Callable[[], None]) -> bool:
        """Whether a request has to wait for the disk; `wake` is called when it has waited enough."""
        header = request.headers.get("payment-signature")
        if header is None:
            return False
        taken = request.paid
        if taken is None:
            taken = request.paid = self._take(header, request.address, wake)
        return isinstance(taken, TakenPayment) and not taken.is_ready

    def check(self, request: GatewayRequest, block: bytes, place: Place) -> SoldBlock:
        """Sells a block (multihash) to who asks for it, if it may be. Raises RequestRefused."""
        taken = request.paid
        ticket = taken.ticket if isinstance(taken, TakenPayment) else None
        found = self._price(block, ticket.content if isinstance(ticket, Ticket) else None)
        if found is None or not found[1]:
            return _FOR_NOTHING
        file_bytes = place.length if isinstance(place, FileBlock) else 0
        wanted = Wanted(block, *found, file_bytes)
        if not isinstance(taken, TakenPayment):
            self._check_stranger(request, wanted)
            return _FOR_NOTHING
        if taken.wrong is not None:
            raise self._refusal(request, NotAdmitted(taken.wrong), wanted)
        if request.method == "HEAD":  # it gives nothing away
            wanted = Wanted(block, *found, 0)
        admitted = self.till.admit(taken.ticket, wanted, self._now())
        if isinstance(admitted, NotAdmitted):
            raise self._refusal(request, admitted, wanted)
        charge = None if admitted.offer is None else _BlockCharge(self.till, admitted, place.size, self._now)
        if not (taken.payment.receipt or taken.payment.opening or charge is None):
            return SoldBlock((), charge)  # a ticket alone changes nothing that a buyer has to be told
        state = self.till.state(admitted.account, wanted, admitted.count)
        return SoldBlock(((RESPONSE_HEADER, encode_state(state, admitted.account.buyer)),), charge)

    def check_whole(self, block: bytes) -> None:
        """Of an answer of many blocks, of which this is the first: what costs something is sold by the block.
        Raises RequestRefused."""
        found = self._price(block, None)
        if found is not None and found[1]:
            raise RequestRefused(404, f"{NOT_HERE} as a whole: it is sold by the block, with ?format=raw")

    def look(self) -> None:
        """Writes what has changed, and counts what was not paid in time."""
        tabs = self.till.tabs
        tabs.handle_timer(self._now())
        rows = tabs.poll_changes()
        if rows:
            self._writer.put(rows).add_done_callback(lambda done: self._on_looked(done, rows))

    async def close(self) -> None:
        """Writes what has changed. Raises StorageFault."""
        rows = self.till.tabs.poll_changes()
        if rows:
            await self._writer.put(rows)

    # --- within

    def _price(self, block: bytes, content: bytes | None) -> tuple[bytes, int] | None:
        try:
            return self._prices.find(block, content)
        except NodeFault:
            raise RequestRefused(404, NOT_HERE) from None  # nothing is given away for that

    def _take(self, header: str, address: str, wake: Callable[[], None]) -> PaidRequest:
        try:
            payment = decode_payment(header)
        except PeerFault:
            return TakenPayment(Payment(b""), Reason.TICKET, self._refused(Reason.TICKET))
        ticket = ticket_of(payment)
        try:
            found = self.till.take(payment, address, self._now())
        except NodeFault as fault:
            self._tell(fault)
            return TakenPayment(payment, ticket, self._refused(Reason.DISK))
        if isinstance(found, Reason):
            return TakenPayment(payment, ticket, found)
        taken = TakenPayment(payment, ticket)
        if isinstance(found, CheckedReceipt) and found.row is not None:
            taken.is_ready = False
            checked = found
            self._writer.put([found.row]).add_done_callback(
                lambda done: self._on_written(done, checked, taken, wake)
            )
        return taken

    def _on_written(
        self,
        done: asyncio.Future[None],
        checked: CheckedReceipt,
        taken: TakenPayment,
        wake: Callable[[], None],
    ) -> None:
        fault = StorageFault("not written") if done.cancelled() else done.exception()
        if fault is None:
            self.till.tabs.confirm_receipt(checked.account, self._now())
        else:
            self.till.tabs.drop_receipt(checked.account)
            taken.wrong = Reason.DISK
            self._tell(fault)
        taken.is_ready = True
        wake()

    def _on_looked(self, done: asyncio.Future[None], rows: Sequence[SellerRow]) -> None:
        fault = StorageFault("not written") if done.cancelled() else done.exception()
        if fault is None:
            self.till.tabs.on_written(rows)
        else:
            self.till.tabs.on_write_failed(rows)
            self._tell(fault)

    def _check_stranger(self, request: GatewayRequest, wanted: Wanted) -> None:
        if not request.headers.get("user-agent", "").startswith(OUR_AGENT):
            raise RequestRefused(404, NOT_HERE)
        if wanted.file_bytes and request.method != "HEAD":
            raise self._refusal(request, NotAdmitted(self._refused(Reason.SESSION)), wanted)

    def _refusal(self, request: GatewayRequest, refused: NotAdmitted, wanted: Wanted) -> RequestRefused:
        terms = self.till.terms(refused, wanted)
        amount = PricedOffer(b"", wanted.price).cost(wanted.file_bytes)
        told = encode_terms(terms, request.target, amount)
        return RequestRefused(402, f"{refused.reason.value}: {_NOT_PAID}", ((REQUIRED_HEADER, told),))

    def _refused(self, reason: Reason) -> Reason:
        self.till.tabs.refused[reason] += 1
        return reason

    def _tell(self, fault: BaseException) -> None:
        suppressed = self._faults.due("payments", self._now())
        if suppressed is not None:
            log.warning("cannot write what is owed: %s%s", fault, suppressed_note(suppressed))


class _BlockCharge:
    """An `AnswerCharge` for a block or a range of it. What the system took counts as sent, whether it
    arrived or not: otherwise a buyer could take it, and be silent about it."""

    __slots__ = ("_admitted", "_now", "_size", "_till")

    def __init__(self, till: Till, admitted: Admitted, size: int, now: Callable[[], float]) -> None:
        self._till = till
        self._admitted = admitted
        self._size = size
        self._now = now

    def take_back(self, unsent: int, length: int) -> None:
        count = self._admitted.count
        if unsent < length:
            count = min(unsent, count) if length == self._size else 0  # a range costs the block
        self._till.on_unsent(self._admitted, count, self._now())
