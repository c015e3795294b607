"""What a buyer does next on a tab, by what its seller says: sign, ask again, or leave. Sans-IO.

Requests over HTTP, streams beside Bitswap and debts of earlier purchases differ in how they reach a seller;
what becomes of its answer is decided here alone. Whatever a seller says, no two receipts of one number
differ, and what is signed for is what was verified, and at most the window beyond.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from fastmarket.errors import CallerFault, NodeFault, PeerFault
from fastmarket.payments.buyer import BuyerTabs, SignedReceipt
from fastmarket.payments.purse import Purse
from fastmarket.payments.reasons import Reason
from fastmarket.payments.session import KEY_BYTES
from fastmarket.payments.tab import SALT_BYTES, PricedOffer
from fastmarket.payments.x402 import PaymentTerms, TabState

MAX_PAYMENTS = 128
"""To one seller in a row: one to write and one to send a receipt for each offer with unpaid bytes, of which
there are 64 at most."""

MAX_REFUSALS = 8
"""Of one request, before the seller is given up: a session, a receipt or two, and some waiting."""

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
LATER_S = {Reason.PENDING: 0.05, Reason.DISK: 30.0, Reason.HOUR: 60.0}
"""When to ask again."""


@dataclass(frozen=True, slots=True)
class Declined:
    """Why nothing more is signed for this seller now; `retry_after_s`: None: later neither."""

    detail: str
    retry_after_s: float | None = None


NextStep: TypeAlias = SignedReceipt | Declined | None
"""A receipt, to be written and then sent; or why there is none; None: to ask again is worth it."""


class Paying:
    """One tab, while one offer is bought, or, without one, while what was left unpaid is paid."""

    def __init__(
        self, tabs: BuyerTabs, purse: Purse, offer: PricedOffer | None, entropy: Callable[[int], bytes]
    ) -> None:
        """`entropy(count)`: so many random bytes, for keys and salts."""
        self.tabs = tabs
        self.purse = purse
        self.offer = offer
        self._entropy = entropy

    def sign(self, now: float, *, final: bool) -> SignedReceipt | None:
        """A receipt for what is due, if enough is, or `final`; None, too: the budget of the day is spent, or
        cannot be read (`BuyerTabs.may_ask` says so)."""
        try:
            return self.tabs.next_receipt(self.purse, now, final=final)
        except (CallerFault, NodeFault):
            return None

    def on_answer(self, state: TabState, secret: bytes | None) -> Declined | None:
        """A request of the session with that secret was answered; how the tab stands now."""
        if state.seq > self.purse.seq:
            return self._on_newer(state, secret)
        self.tabs.on_accepted(self.purse, state.seq, state.credit)
        self.tabs.on_opened(self.purse, secret)
        return None

    def on_told(
        self, told: PaymentTerms | TabState, secret: bytes | None, now: float, *, is_writing: bool
    ) -> NextStep:
        """What a request of the session with that secret, or a payment beside, was answered with.
        `is_writing`: a receipt of this tab is on its way to the disk."""
        if isinstance(told, PaymentTerms):
            return self._on_terms(told, secret, now, is_writing)
        refused = self.on_answer(told, secret)
        if refused is None and told.seq <= self.purse.seq and self.offer is not None:
            self.tabs.on_claim(self.purse, self.offer, told.offer_unpaid)
        return refused

    def _on_terms(self, terms: PaymentTerms, secret: bytes | None, now: float, is_writing: bool) -> NextStep:
        if (wrong := self._wrong_terms(terms)) is not None:
            return wrong
        reason = terms.reason
        if reason in LATER_S:
            return Declined(f"not now: {reason.value}", LATER_S[reason])
        if reason in SESSION_REASONS:
            return self._on_no_session(terms, secret, now)
        if reason is Reason.EXPIRED or (reason in UNVOUCHED and self.tabs.makes_vouchers):
            signed = self.tabs.renew_receipt(self.purse, now)
            return signed if signed is not None or is_writing else refused(terms)
        if reason in FOR_GOOD:
            return self._begin_tab(terms, secret)
        return self._on_credit(terms, secret, now, is_writing)

    def _wrong_terms(self, terms: PaymentTerms) -> Declined | None:
        tab = self.purse.tab
        if terms.seller != tab.seller or terms.currency != tab.currency:
            asked = f"{terms.currency} for {terms.seller}"
            return Declined(f"it asks for {asked}, and not {tab.currency} for {tab.seller}")
        try:
            self.tabs.on_terms(self.purse, terms.settlement)
        except PeerFault as fault:
            return Declined(f"it settles otherwise than we do: {fault}")
        if self.offer is not None and terms.price != self.offer.price:
            return Declined(f"it asks {terms.price} per MB now, and offered {self.offer.price}")
        return None

    def _on_no_session(self, terms: PaymentTerms, secret: bytes | None, now: float) -> Declined | None:
        purse = self.purse
        if secret == purse.secret:  # else another request has opened one meanwhile
            private, was_refused = self._entropy(KEY_BYTES), terms.reason is Reason.NUMBER
            self.tabs.open_session(purse, terms.session_key, private, now, was_refused=was_refused)
        return None if purse.secret is not None else refused(terms)

    def _on_credit(self, terms: PaymentTerms, secret: bytes | None, now: float, is_writing: bool) -> NextStep:
        """It gives no more credit; or it says what nothing can be done about."""
        purse, tabs, offer = self.purse, self.tabs, self.offer
        if terms.reason is not Reason.CREDIT or offer is None:
            return refused(terms)
        if terms.state.seq > purse.seq:
            return self._on_newer(terms.state, secret)
        if terms.state.seq == purse.seq:
            tabs.on_accepted(purse, terms.state.seq, terms.state.credit)
        tabs.on_claim(purse, offer, terms.state.offer_unpaid)
        if (signed := self.sign(now, final=True)) is not None:
            return signed
        is_worth_it = is_writing or purse.is_asked or tabs.sendable(purse) is not None
        return None if is_worth_it else refused(terms)

    def _on_newer(self, state: TabState, secret: bytes | None) -> Declined | None:
        """The seller has a receipt that we do not know: our file is an old copy. To sign its number once more
        would be fraud."""
        if secret != self.purse.secret or self._begun(Reason.SEQ):
            return None
        return Declined(f"it has receipt {state.seq}, and the last one of ours is {self.purse.seq}")

    def _begin_tab(self, terms: PaymentTerms, secret: bytes | None) -> Declined | None:
        # Else another request was told so, and has begun another one.
        is_ours = secret == self.purse.secret
        return refused(terms) if is_ours and not self._begun(terms.reason) else None

    def _begun(self, reason: Reason) -> bool:
        return self.tabs.on_refused(self.purse, reason, self._entropy(SALT_BYTES))


def refused(terms: PaymentTerms) -> Declined:
    """For what cannot be mended, or was tried often enough."""
    if terms.reason is Reason.PEER:
        return Declined("it has blocked this node as a buyer (peer)")
    unpaid = f", {terms.state.unpaid} bytes unpaid" if terms.reason is Reason.CREDIT else ""
    return Declined(f"it does not take the payment: {terms.reason.value}{unpaid}")
