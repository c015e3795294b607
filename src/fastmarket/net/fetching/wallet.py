"""Pays holders: for each request a ticket, receipts for what came, on the next request of the same seller."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from enum import Enum
from typing import NamedTuple, Protocol

from fastmarket.errors import CallerFault, NodeFault, PeerFault, StorageFault
from fastmarket.exchange.fetching.events import Ask
from fastmarket.exchange.fetching.holder import AskFailure
from fastmarket.formats.cid import Cid
from fastmarket.formats.identity import PeerId
from fastmarket.net.clock import Clock
from fastmarket.payments.buyer import BuyerTabs, Permission, SignedReceipt
from fastmarket.payments.purse import Purse
from fastmarket.payments.reasons import Reason
from fastmarket.payments.rows import BuyerRow
from fastmarket.payments.tab import SALT_BYTES
from fastmarket.payments.x402 import (
    Payment,
    PaymentTerms,
    TabState,
    decode_state,
    decode_terms,
    encode_payment,
)

log = logging.getLogger(__name__)

MAX_REFUSALS = 8
"""Of one request with 402, before the holder is given up: a session, a receipt or two, and some waiting."""

SESSION_REASONS = frozenset(
    {Reason.SESSION, Reason.SELLER_KEY, Reason.TICKET, Reason.NUMBER, Reason.OPENING, Reason.BUYER_KEY}
)
# The receipt, or its tab, will never be taken.
FOR_GOOD = frozenset(
    {
        *(Reason.RECEIPT, Reason.SIGNATURE, Reason.TAB, Reason.SALT),
        *(Reason.OFFER, Reason.SEQ, Reason.BYTES, Reason.AMOUNT),
    }
)
UNVOUCHED = frozenset({Reason.VOUCHER, Reason.VOUCHER_TAB})  # a voucher by its newest terms may do
_MENDED = SESSION_REASONS | FOR_GOOD | {Reason.CREDIT, Reason.EXPIRED}
_LATER_S = {Reason.PENDING: 0.05, Reason.DISK: 30.0, Reason.HOUR: 60.0}  # when to ask again


class SendTurn(Enum):
    """What becomes of a request that is to be sent."""

    SEND = "send"
    WAIT = "wait"  # for the disk, or for what is under way
    REFUSED = "refused"  # by the budget


class LastTurn(Enum):
    """Why there is nothing to pay on a last request."""

    WAIT = "wait"  # for the disk
    PAID = "paid"


class RefusedAsk(NamedTuple):
    """A request that was refused is given up."""

    kind: AskFailure
    detail: str
    retry_after_s: float | None = None


class BuyerRowWriter(Protocol):
    """The disk."""

    def put(self, rows: Sequence[BuyerRow]) -> asyncio.Future[None]:
        """Completes when the rows are on disk; raises StorageFault."""


class Wallet:
    """What a node pays from."""

    def __init__(self, tabs: BuyerTabs, writer: BuyerRowWriter, clock: Clock) -> None:
        self.tabs = tabs
        self._writer = writer
        self._waiting: dict[int, list[Callable[[], None]]] = {}  # by the tab that is being written
        self._unwritten: dict[int, Purse] = {}  # whose receipt could not be written
        self.clock = clock

    def payer(self, seller: PeerId, content: bytes, price: int) -> Payer:
        """For one holder of a content (multihash) at that price per MB. Raises NodeFault."""
        return Payer(self, self.tabs.purse(seller, os.urandom(SALT_BYTES)), content, price)

    def write(self, signed: SignedReceipt, then: Callable[[], None]) -> None:
        """Writes a receipt; `then` is called when it may be sent."""
        self._waiting[id(signed.purse)] = [then]
        done = self._writer.put([signed.row])
        done.add_done_callback(lambda done: self._on_written(done, signed.purse))

    def wait(self, purse: Purse, then: Callable[[], None]) -> bool:
        """Whether a receipt of that tab is being written; `then` is called when it may be sent."""
        waiting = self._waiting.get(id(purse))
        if waiting is not None and then not in waiting:
            waiting.append(then)
        return waiting is not None

    def _on_written(self, done: asyncio.Future[None], purse: Purse) -> None:
        fault = StorageFault("not written") if done.cancelled() else done.exception()
        if fault is None:
            self.tabs.confirm_written(purse)
        else:
            self._unwritten[id(purse)] = purse
            log.warning("cannot write a receipt, and pay %s: %s", purse.tab.seller, fault)
        for then in self._waiting.pop(id(purse)):
            then()

    def look(self) -> None:
        """Writes what has changed, and what could not be written before."""
        unwritten, self._unwritten = self._unwritten, {}
        for purse in unwritten.values():
            self.write(SignedReceipt(purse, purse.row()), _nothing)
        rows = self.tabs.poll_changes()
        if rows:
            self._writer.put(rows).add_done_callback(lambda done: self._on_looked(done, rows))

    def _on_looked(self, done: asyncio.Future[None], rows: Sequence[BuyerRow]) -> None:
        if done.cancelled() or done.exception() is not None:
            self.tabs.on_write_failed(rows)
        else:
            self.tabs.on_written(rows)

    async def close(self) -> None:
        """Writes everything as closed."""
        rows = self.tabs.poll_changes(closing=True)
        if rows:
            await self._writer.put(rows)


class Payer:
    """Pays one holder, during one fetch."""

    def __init__(self, wallet: Wallet, purse: Purse, content: bytes, price: int) -> None:
        self._wallet = wallet
        self._tabs = wallet.tabs
        self._purse = purse
        self._content = content
        self._offer = wallet.tabs.offer(content, purse.tab.seller, price)
        self._refusals: dict[int, int] = {}  # of requests that are not answered yet
        # Of requests under way: file bytes, and the session in which they were sent
        self._last_secret: bytes | None = None
        self._asked: dict[int, tuple[int, bytes | None]] = {}
        self._carrier: int | None = None  # the request under way that the receipt went with

    @property
    def content(self) -> bytes:
        """Its multihash."""
        return self._content

    def may_send(self, ask: Ask, then: Callable[[], None]) -> SendTurn:
        """Whether a request may be sent now; `then` is called when that may have changed."""
        purse, tabs, now = self._purse, self._tabs, self._wallet.clock.now()
        try:
            permission = tabs.may_ask(purse, self._offer, ask.file_bytes, now)
        except NodeFault:
            return SendTurn.REFUSED  # what was spent cannot be read
        if permission is Permission.BUDGET:
            return SendTurn.REFUSED
        if permission is Permission.YES:
            return SendTurn.SEND
        if tabs.sendable(purse) is not None:  # once: one that is under way will be answered
            return SendTurn.SEND if self._carrier is None else SendTurn.WAIT
        if self._pay(then, final=True) or self._wallet.wait(purse, then):
            return SendTurn.WAIT
        return SendTurn.WAIT if self._asked else SendTurn.SEND  # the seller says what it misses

    def header(self, ask: Ask) -> str:
        """PAYMENT-SIGNATURE of a request; "": it goes without."""
        block = Cid.from_bytes(ask.cid).multihash
        self.on_sent(ask)
        receipt = None
        if self._carrier is None and self._purse.secret is not None:
            receipt = self._tabs.sendable(self._purse)
            self._carrier = None if receipt is None else ask.request
        payment = self._payment(block, receipt)
        return "" if payment is None else encode_payment(payment)

    def on_sent(self, ask: Ask) -> None:
        """A request is sent; where it goes without a payment, that is sent beside it (`last_payment`)."""
        self._asked[ask.request] = ask.file_bytes, self._purse.secret
        self._tabs.on_asked(self._purse, self._offer, ask.file_bytes)

    def on_block(self, ask: Ask, verified: int, told: str, then: Callable[[], None]) -> None:
        """A block came, with so many file bytes that are right."""
        asked, secret = self._take(ask)
        if asked is not None and (verified or not asked):
            self._tabs.on_verified(self._purse, self._offer, asked, verified)
        elif asked is not None:
            self._tabs.on_given_up(self._purse, self._offer, asked, may_have_come=True)
        self._on_header(told, secret)
        self._pay(then, final=False)

    def _on_header(self, told: str, secret: bytes | None) -> None:
        """PAYMENT-RESPONSE of the answer to a request of the session with that secret, or ""."""
        if told:
            with suppress(PeerFault):  # it told nothing that counts
                self._on_state(decode_state(told), secret)

    def _on_state(self, state: TabState, secret: bytes | None) -> bool:
        """Whether it counts."""
        if state.seq > self._purse.seq:
            self._on_newer_receipt(secret)
            return False
        self._tabs.on_accepted(self._purse, state.seq, state.credit)
        self._tabs.on_opened(self._purse, secret)
        return True

    def on_nothing(self, ask: Ask, *, may_have_come: bool) -> None:
        """No block came of a request."""
        asked, _ = self._take(ask)
        if asked is not None:
            self._tabs.on_given_up(self._purse, self._offer, asked, may_have_come=may_have_come)

    def on_refused(self, ask: Ask, told: str, then: Callable[[], None]) -> RefusedAsk | None:
        """A request was answered with 402 and these terms; None: it is worth sending again."""
        refusals = self._refusals.get(ask.request, 0) + 1
        _, secret = self._asked.get(ask.request, (0, None))
        self.on_nothing(ask, may_have_come=False)
        try:
            terms = decode_terms(told)
        except PeerFault as fault:
            return RefusedAsk(AskFailure.REFUSED, f"it asks for payment in a way that is not ours: {fault}")
        found = self._why_not(terms) if refusals < MAX_REFUSALS else _refused(terms)
        if found is None:
            self._refusals[ask.request] = refusals
            found = self._settle(terms, secret, then)
        return found

    # --- the end

    @property
    def is_receipt_ready(self) -> bool:
        """Whether a receipt may be sent that the seller lacks."""
        return self._tabs.sendable(self._purse) is not None

    def agreement(self) -> Payment | None:
        """A ticket for the content itself, and the receipt that the seller lacks; None: no session is
        open."""
        self._last_secret = self._purse.secret
        return self._payment(self._content, self._tabs.sendable(self._purse))

    def last_payment(self, then: Callable[[], None]) -> Payment | LastTurn:
        """What to send with a last request, for the content itself."""
        if self.is_receipt_ready and (payment := self.agreement()) is not None:
            return payment
        is_written = self._pay(then, final=True) or self._wallet.wait(self._purse, then)
        return LastTurn.WAIT if is_written else LastTurn.PAID

    def on_last_answer(self, told: str, *, is_refused: bool) -> bool:
        """The answer to that request, with one of the headers; whether another one is worth it."""
        try:
            return self.on_told(decode_terms(told) if is_refused else decode_state(told))
        except PeerFault:
            return not is_refused

    def on_told(self, told: PaymentTerms | TabState) -> bool:
        """Likewise, once it is read."""
        return self.take(told) is None

    def take(self, told: PaymentTerms | TabState) -> RefusedAsk | None:
        """Likewise; None: another payment is worth it, or none is needed."""
        if isinstance(told, PaymentTerms):
            return self._why_not(told) or self._settle(told, self._last_secret, _nothing)
        if self._on_state(told, self._last_secret):
            self._tabs.on_claim(self._purse, self._offer, told.offer_unpaid)
        return None

    # --- within

    def _payment(self, block: bytes, receipt: bytes | None) -> Payment | None:
        if self._purse.secret is None:
            return None
        ticket = self._tabs.ticket(self._purse, self._offer, self._content, block).encode()
        return Payment(ticket, receipt or b"", self._purse.opening)

    def _take(self, ask: Ask) -> tuple[int | None, bytes | None]:
        self._refusals.pop(ask.request, None)
        if self._carrier == ask.request:
            self._carrier = None
        return self._asked.pop(ask.request, (None, None))

    def _pay(self, then: Callable[[], None], *, final: bool) -> bool:
        """Whether a receipt is being written now."""
        try:
            signed = self._tabs.next_receipt(self._purse, self._wallet.clock.now(), final=final)
        except (CallerFault, NodeFault):
            return False  # the budget of the day: `may_send` says so
        if signed is not None:
            self._wallet.write(signed, then)
        return signed is not None

    def _why_not(self, terms: PaymentTerms) -> RefusedAsk | None:
        tab = self._purse.tab
        if terms.seller != tab.seller or terms.currency != tab.currency:
            asked = f"{terms.currency} for {terms.seller}"
            return RefusedAsk(
                AskFailure.REFUSED, f"it asks for {asked}, and not {tab.currency} for {tab.seller}"
            )
        try:
            self._tabs.on_terms(self._purse, terms.settlement)
        except PeerFault as fault:
            return RefusedAsk(AskFailure.REFUSED, f"it settles otherwise than we do: {fault}")
        if terms.price != self._offer.price:
            reason = f"it asks {terms.price} per MB now, and offered {self._offer.price}"
            return RefusedAsk(AskFailure.REFUSED, reason)
        if terms.reason in _LATER_S:
            return RefusedAsk(AskFailure.BUSY, f"not now: {terms.reason.value}", _LATER_S[terms.reason])
        is_mended = terms.reason in _MENDED or (self._tabs.makes_vouchers and terms.reason in UNVOUCHED)
        return None if is_mended else _refused(terms)

    def _settle(
        self, terms: PaymentTerms, secret: bytes | None, then: Callable[[], None]
    ) -> RefusedAsk | None:
        """`secret`: of the session of the request that was refused."""
        purse, tabs = self._purse, self._tabs
        if terms.reason in SESSION_REASONS:
            if secret == purse.secret:  # else another request has opened one meanwhile
                now, private = self._wallet.clock.now(), os.urandom(32)
                was_refused = terms.reason is Reason.NUMBER
                tabs.open_session(purse, terms.session_key, private, now, was_refused=was_refused)
            return None if purse.secret is not None else _refused(terms)
        if terms.reason is Reason.EXPIRED or terms.reason in UNVOUCHED:
            return None if self._renew(then) else _refused(terms)
        if terms.reason in FOR_GOOD:
            # Else another request was told so, and has begun another one.
            is_ours = secret == purse.secret
            return _refused(terms) if is_ours and not self._begin_tab(terms.reason) else None
        if terms.state.seq > purse.seq:
            return None if self._on_newer_receipt(secret) else _refused(terms)
        if terms.state.seq == purse.seq:
            tabs.on_accepted(purse, terms.state.seq, terms.state.credit)
        tabs.on_claim(purse, self._offer, terms.state.offer_unpaid)
        if self._pay(then, final=True) or self._asked or self._wallet.wait(purse, then):
            return None
        return None if tabs.sendable(purse) is not None else _refused(terms)

    def _renew(self, then: Callable[[], None]) -> bool:
        """Whether a receipt is on its way that is valid for longer."""
        signed = self._tabs.renew_receipt(self._purse, self._wallet.clock.now())
        if signed is not None:
            self._wallet.write(signed, then)
        return signed is not None or self._wallet.wait(self._purse, then)

    def _on_newer_receipt(self, secret: bytes | None) -> bool:
        """The seller has one that we do not know: our file is an old copy. To sign its number once more would
        be fraud."""
        return secret != self._purse.secret or self._begin_tab(Reason.SEQ)

    def _begin_tab(self, reason: Reason) -> bool:
        begun = self._tabs.on_refused(self._purse, reason, os.urandom(SALT_BYTES))
        if begun:  # a few times; then the fetch says why it left
            log.warning(
                "%s refuses a receipt for good (%s): a new tab is begun", self._purse.tab.seller, reason.value
            )
        return begun


def _nothing() -> None:
    """For who asks again by itself."""


def _refused(terms: PaymentTerms) -> RefusedAsk:
    if terms.reason is Reason.PEER:
        return RefusedAsk(AskFailure.REFUSED, "it has blocked this node as a buyer (peer)")
    unpaid = f", {terms.state.unpaid} bytes unpaid" if terms.reason is Reason.CREDIT else ""
    return RefusedAsk(AskFailure.REFUSED, f"it does not take the payment: {terms.reason.value}{unpaid}")
