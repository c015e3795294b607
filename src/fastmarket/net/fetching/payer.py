"""Pays one seller: a ticket for each request, and receipts for what came with the next request."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from enum import Enum
from logging import getLogger
from typing import NamedTuple

from fastmarket.errors import NodeFault, PeerFault
from fastmarket.exchange.fetching.events import Ask
from fastmarket.exchange.fetching.holder import AskFailure
from fastmarket.formats.cid import Cid
from fastmarket.formats.identity import PeerId
from fastmarket.net.fetching.wallet import Wallet
from fastmarket.payments.buyer import Permission, SignedReceipt
from fastmarket.payments.frames import Told
from fastmarket.payments.paying import FOR_GOOD, MAX_PAYMENTS, MAX_REFUSALS, Declined, Paying, refused
from fastmarket.payments.purse import Purse
from fastmarket.payments.reasons import Reason
from fastmarket.payments.tab import Tab
from fastmarket.payments.x402 import Payment, PaymentTerms, decode_state, decode_terms, encode_payment

log = getLogger(__name__)


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


class Payer:
    """Pays one holder, during one fetch; or, without a content, what earlier ones left unpaid."""

    def __init__(self, wallet: Wallet, purse: Purse, content: bytes = b"", price: int = 0) -> None:
        """Of a content (multihash) at that price per MB."""
        self._wallet = wallet
        self._tabs = wallet.tabs
        self._purse = purse
        self._content = content
        self._offer = wallet.tabs.offer(content, purse.tab.seller, price)
        self._paying = Paying(wallet.tabs, purse, self._offer if content else None, os.urandom)
        self._refusals: dict[int, int] = {}  # of requests that are not answered yet
        self._last_secret: bytes | None = None  # of the session in which the last payment beside was made
        # Of requests under way: file bytes, and the session in which they were sent
        self._asked: dict[int, tuple[int, bytes | None]] = {}
        self._carrier: int | None = None  # the request under way that the receipt went with

    @classmethod
    def of(cls, wallet: Wallet, seller: PeerId, content: bytes, price: int) -> Payer:
        """On the tab with that seller. Raises NodeFault."""
        return cls(wallet, wallet.purse(seller), content, price)

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
        if told and not self._purse.is_agreed:  # PAYMENT-RESPONSE
            tab = self._purse.tab
            with suppress(PeerFault):  # it told nothing that counts
                self._paying.on_answer(decode_state(told), secret)
            self._note_left(tab, Reason.SEQ)
        self._pay(then, final=False)

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
        if refusals >= MAX_REFUSALS:
            return _given_up(refused(terms))
        found = self._on_told(terms, secret, then)
        if found is None:
            self._refusals[ask.request] = refusals
        return found

    # --- beside requests, and at the end

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

    def take(self, told: Told) -> RefusedAsk | None:
        """The answer to that; None: another payment is worth it, or none is needed."""
        return self._on_told(told, self._last_secret)

    # --- within

    def _payment(self, block: bytes, receipt: bytes | None) -> Payment | None:
        purse = self._purse
        if not self._content:
            return Payment(b"", receipt or b"", purse.opening)
        if purse.secret is None:
            return None
        ticket = self._tabs.ticket(purse, self._offer, self._content, block).encode()
        return Payment(ticket, receipt or b"", purse.opening)

    def _take(self, ask: Ask) -> tuple[int | None, bytes | None]:
        self._refusals.pop(ask.request, None)
        if self._carrier == ask.request:
            self._carrier = None
        return self._asked.pop(ask.request, (None, None))

    def _pay(self, then: Callable[[], None], *, final: bool) -> bool:
        """Whether a receipt is being written now."""
        signed = self._paying.sign(self._wallet.clock.now(), final=final)
        if signed is not None:
            self._wallet.write(signed, then)
        return signed is not None

    def _on_told(
        self, told: Told, secret: bytes | None, then: Callable[[], None] | None = None
    ) -> RefusedAsk | None:
        tab, is_writing = self._purse.tab, self._wallet.wait(self._purse, then)
        found = self._paying.on_told(told, secret, self._wallet.clock.now(), is_writing=is_writing)
        reason = told.reason if isinstance(told, PaymentTerms) and told.reason in FOR_GOOD else Reason.SEQ
        self._note_left(tab, reason)
        if isinstance(found, SignedReceipt):
            self._wallet.write(found, then)
            return None
        return None if found is None else _given_up(found)

    def _note_left(self, tab: Tab, reason: Reason) -> None:
        if self._purse.tab is not tab:  # a few times; then the fetch says why it left
            log.warning("%s refuses a receipt for good (%s): a new tab is begun", tab.seller, reason.value)


def _given_up(refusal: Declined) -> RefusedAsk:
    kind = AskFailure.REFUSED if refusal.retry_after_s is None else AskFailure.BUSY
    return RefusedAsk(kind, refusal.detail, refusal.retry_after_s)


async def pay_rest(payer: Payer, pay: Callable[[Payment], Awaitable[Told]]) -> None:
    """Pays for what came since the last receipt, one offer after the other, and with each answer what the
    seller misses beside; ends early when it refuses. Raises what `pay` does."""
    for _ in range(MAX_PAYMENTS):
        written = asyncio.Event()
        payment = payer.last_payment(written.set)
        if payment is LastTurn.PAID:
            return
        if payment is LastTurn.WAIT:
            await written.wait()
        elif payer.take(await pay(payment)) is not None:
            return
