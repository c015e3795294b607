"""Where a seller looks at what came with a request: opening, receipt and ticket, in this order. Sans-IO."""

from __future__ import annotations

from dataclasses import dataclass

from fastmarket.errors import PeerFault
from fastmarket.formats.identity import PeerId
from fastmarket.payments.account import Account
from fastmarket.payments.reasons import Reason
from fastmarket.payments.seller import CheckedReceipt, SellerTabs
from fastmarket.payments.session import Ticket
from fastmarket.payments.tab import PricedOffer
from fastmarket.payments.x402 import Payment, PaymentTerms, TabState


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request is for: a block (multihash) with so many file bytes, which costs `price` per MB now, as
    a part of `content` (multihash)."""

    block: bytes
    content: bytes
    price: int
    file_bytes: int


@dataclass(frozen=True, slots=True)
class Admitted:
    """It may be served: `Till.on_unsent` takes back what was not sent. `offer`: None if it costs nothing."""

    account: Account
    offer: PricedOffer | None
    count: int


@dataclass(frozen=True, slots=True)
class NotAdmitted:
    """It may not; `account`: whose ticket it was, if it was one."""

    reason: Reason
    account: Account | None = None


def ticket_of(payment: Payment) -> Ticket | Reason:
    """Its ticket; else why there is none."""
    if not payment.ticket:
        return Reason.SESSION
    try:
        return Ticket.decode(payment.ticket)
    except PeerFault:
        return Reason.TICKET


class Till:
    """Answers requests of buyers out of the accounts."""

    def __init__(self, tabs: SellerTabs) -> None:
        self.tabs = tabs

    def take(self, payment: Payment, host: str, now: float) -> CheckedReceipt | Reason | None:
        """Opens the session and checks the receipt that came, if any. A `CheckedReceipt` with a row is
        written, and then confirmed or dropped, before `admit`. Raises NodeFault."""
        if payment.opening and (wrong := self.tabs.open_session(payment.opening, host, now)) is not None:
            return wrong
        return self.tabs.check_receipt(payment.receipt, now) if payment.receipt else None

    def admit(self, ticket: Ticket | Reason, wanted: Wanted, now: float) -> Admitted | NotAdmitted:
        """Whether it may be served now, by what `ticket_of` said of the payment."""
        tabs = self.tabs
        if isinstance(ticket, Reason):
            tabs.refused[ticket] += 1
            return NotAdmitted(ticket)
        account = tabs.find_ticket(ticket, wanted.block)
        if isinstance(account, Reason):
            return NotAdmitted(account)
        if not wanted.file_bytes or not wanted.price:
            return Admitted(account, None, 0)
        if ticket.content != wanted.content or ticket.price != wanted.price:
            tabs.refused[Reason.PRICE] += 1
            return NotAdmitted(Reason.PRICE, account)
        offer = self._offer(wanted)
        reason = tabs.admit(account, offer, wanted.file_bytes, now)
        if reason is not None:
            return NotAdmitted(reason, account)
        return Admitted(account, offer, wanted.file_bytes)

    # --- to who is known by its connection, and agreed to the price

    def may_serve(self, buyer: PeerId, wanted: Wanted, now: float) -> bool:
        """Whether it would be served now."""
        tabs, account = self.tabs, self.tabs.find(buyer)
        return account is not None and tabs.would_admit(account, self._offer(wanted), wanted.file_bytes, now)

    def serve(self, buyer: PeerId, wanted: Wanted, now: float) -> bool:
        """Whether it is; then it counts as served."""
        account = self.tabs.find(buyer)
        if account is None:
            return False
        if not wanted.file_bytes:
            return not account.is_blocked
        return self.tabs.admit(account, self._offer(wanted), wanted.file_bytes, now) is None

    def _offer(self, wanted: Wanted) -> PricedOffer:
        return self.tabs.offer(wanted.content, wanted.price)

    def on_unsent(self, admitted: Admitted, count: int, now: float) -> None:
        """So many of its file bytes were not sent."""
        if admitted.offer is not None:
            self.tabs.on_unsent(admitted.account, admitted.offer, count, now)

    def terms(self, refused: NotAdmitted, wanted: Wanted) -> PaymentTerms:
        """What to tell who was not admitted."""
        tabs = self.tabs
        state = TabState() if refused.account is None else self.state(refused.account, wanted)
        asked = (tabs.currency, wanted.price, tabs.session_key, state, tabs.backings.terms)
        return PaymentTerms(refused.reason, tabs.seller, *asked)

    def state(self, account: Account, wanted: Wanted, charged: int = 0) -> TabState:
        """What to tell who has an account."""
        offer = PricedOffer.of(wanted.content, self.tabs.seller, self.tabs.currency, wanted.price)
        owed = account.owed.get(offer.hash)
        of_offer = 0 if owed is None else owed.served + owed.lost
        return TabState(account.seq, account.credit, account.unpaid + account.lost, of_offer, charged)
