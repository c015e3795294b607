"""The buyer's side: what may be asked for, and when a receipt is signed for what came. Sans-IO.

For each block: `may_ask`, then `on_asked`, then one of `on_verified` and `on_given_up`. `next_receipt` signs
when enough is due; it goes to disk, then `confirm_written`, and only then `sendable` hands it out, until the
seller says that it has it (`on_accepted`): so no two receipts of one number can have different sums, and none
is lost.

The loss: bytes are paid for after they were verified. What the seller says to have sent beyond is paid for
only if it was asked for, and at most a window (`PaymentConfig`) in a run of the program.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum
from weakref import WeakValueDictionary

from fastmarket.bounded_map import BoundedMap, Eviction
from fastmarket.config.payments import PaymentConfig
from fastmarket.errors import CallerFault, PeerFault, Unmet
from fastmarket.formats.identity import Identity, PeerId
from fastmarket.native.sodium import x25519_public
from fastmarket.payments.backing import VoucherScheme, open_terms
from fastmarket.payments.in_flight import InFlight
from fastmarket.payments.purse import Purse
from fastmarket.payments.reasons import Reason
from fastmarket.payments.receipt import Receipt, open_receipt
from fastmarket.payments.rows import BuyerRow, BuyerRows
from fastmarket.payments.session import TabOpening, Ticket, shared_secret
from fastmarket.payments.tab import MAX_SUM, PricedOffer, Tab

DAY_S = 86_400
MAX_NEW_TABS = 3
"""With one seller in a run, because it refused the one before: a seller that refuses everything is left."""

_JUMP = 1 << 27  # of the numbers of openings, which are milliseconds: a day and a half


class Permission(Enum):
    """Whether more may be asked for."""

    YES = "yes"
    UNPAID = "unpaid"  # not before the seller has a receipt
    BUDGET = "budget"  # not today


@dataclass(frozen=True, slots=True)
class SignedReceipt:
    """A receipt to be written (`row`) before it is sent."""

    purse: Purse
    row: BuyerRow


class BuyerTabs:
    """The tabs of one buyer with all sellers."""

    def __init__(
        self,
        identity: Identity,
        config: PaymentConfig,
        rows: BuyerRows,
        vouchers: VoucherScheme | None = None,
    ) -> None:
        """`rows`: what is on disk. `vouchers`: None: receipts have none."""
        self._vouchers = vouchers
        self._identity = identity
        self._config = config
        self._rows = rows
        self._purses: BoundedMap[bytes, Purse] = BoundedMap(
            config.max_sellers, eviction=Eviction.LEAST_RECENTLY_USED
        )
        self._changed: dict[bytes, Purse] = {}
        # Two of one seller would sign two receipts of one number: one is kept while anybody holds it.
        self._held: WeakValueDictionary[bytes, Purse] = WeakValueDictionary()
        self._written: InFlight[Purse] = InFlight()
        self.refused: Counter[Reason] = Counter()
        """Why sellers refused tabs and receipts for good."""
        self._spent_day = -1
        self._spent = 0  # on that day, in receipts

    @property
    def budget_per_day(self) -> int | None:
        """Whole units in a day of UTC; None: no bound."""
        return self._config.budget_per_day

    # --- sessions

    def purse(self, seller: PeerId, salt: bytes) -> Purse:
        """The tab with a seller; a new one with that salt if there is none. Raises NodeFault."""
        purse = self._held.get(seller.raw)
        if purse is None:
            row = self._rows.find(seller.raw, self._config.currency)
            if row is not None:
                purse = Purse.of(row, self._identity.peer_id, self._config)
            else:
                purse = Purse(Tab(self._identity.peer_id, seller, self._config.currency, salt), self._config)
        self._purses.put(seller.raw, purse)
        self._held[seller.raw] = purse
        return purse

    def open_session(
        self, purse: Purse, seller_key: bytes, private: bytes, now: float, *, was_refused: bool = False
    ) -> bytes | None:
        """The opening to send to a seller of that key, an envelope; `private`: a fresh X25519 private key.
        `was_refused`: the number of the last one was too low, as after a crash and a clock that went back.
        None: it is no key."""
        secret = shared_secret(private, seller_key, purse.tab.id)
        if secret is None:
            return None
        # Higher than before, even if no row was written since, unless the clock went back.
        purse.opened = max(purse.opened + 1, int(now * 1000)) + (_JUMP if was_refused else 0)
        purse.secret, purse.seller_key, purse.number = secret, seller_key, 0
        self._changed[purse.tab.seller.raw] = purse
        opening = TabOpening(purse.tab, seller_key, x25519_public(private), purse.opened)
        purse.opening = opening.sign(self._identity)
        return purse.opening

    def ticket(self, purse: Purse, offer: PricedOffer, content: bytes, block: bytes) -> Ticket:
        """For one request for a block (multihash) of a content; a session must be open."""
        assert purse.secret is not None, "a session must be open"
        purse.number += 1
        return Ticket.made(purse.secret, purse.tab.id, purse.number, offer.price, content, block)

    def offer(self, content: bytes, seller: PeerId, price: int) -> PricedOffer:
        """The offer of a content by that seller at that price."""
        return PricedOffer.of(content, seller, self._config.currency, price)

    # --- asking

    def may_ask(self, purse: Purse, offer: PricedOffer, count: int, now: float) -> Permission:
        """Whether so many bytes more may be asked for now."""
        budget = self._config.budget_per_day
        if budget is not None:
            pending = sum(one.pending_cost for one in self._purses.values() if one.outstanding)
            if self.spent_today(now) + pending + offer.cost(count) > budget:
                return Permission.BUDGET
        if purse.unpaid and purse.unpaid + count > purse.credit:
            return Permission.UNPAID
        return Permission.YES

    def on_asked(self, purse: Purse, offer: PricedOffer, count: int) -> None:
        """So many bytes at most are under way."""
        purse.ask(offer, count)

    def on_verified(self, purse: Purse, offer: PricedOffer, asked: int, verified: int) -> None:
        """A block came of `asked` bytes at most: so many of it are file bytes, and right."""
        purse.end_ask(offer, asked, verified=verified, given_up=0)
        if verified:
            self._changed[purse.tab.seller.raw] = purse

    def on_given_up(self, purse: Purse, offer: PricedOffer, asked: int, *, may_have_come: bool) -> None:
        """No block came of a request, or a wrong one; `may_have_come`: the seller may have sent it."""
        purse.end_ask(offer, asked, verified=0, given_up=asked if may_have_come else 0)

    # --- paying

    def next_receipt(self, purse: Purse, now: float, *, final: bool = False) -> SignedReceipt | None:
        """A receipt, if one is due: for a part of the credit, in whole units, so that nothing is lost by
        rounding; or for whatever is unpaid if `final`. Raises CallerFault if a sum outgrows its field, Unmet
        ("budget")."""
        best = purse.payable()
        if best is None:
            return None
        offer_hash, due = best
        is_crowded = len(purse.due) >= self._config.credit.max_offers_owed // 2
        if not (final or is_crowded) and due.verified < self._threshold(purse):
            return None
        offer = PricedOffer(offer_hash, due.price)
        count = due.verified if final or is_crowded else offer.whole_units(due.verified)
        if not count:
            return None
        budget = self._config.budget_per_day
        if budget is not None and self.spent_today(now) + offer.cost(count) > budget:
            raise Unmet("budget", f"of {budget} a day is spent", "TOO_EXPENSIVE")
        day = int(now // DAY_S)
        until = min(int(now + self._config.receipt_valid_s), MAX_SUM)
        if self._vouchers is not None and purse.settlement is None:
            return None  # the seller has not yet said how it settles
        receipt = self._endorsed(purse, purse.next_receipt(offer, count, until))
        self._spent = self.spent_today(now) + receipt.cumulative_amount - purse.paid_amount
        purse.take_receipt(receipt, receipt.sign(self._identity), day)
        return SignedReceipt(purse, purse.row())

    def _threshold(self, purse: Purse) -> int:
        return min(int(purse.credit * self._config.pay_fraction), purse.window)

    def confirm_written(self, purse: Purse) -> None:
        """The row of its receipt is on disk."""
        purse.is_written = True

    def sendable(self, purse: Purse) -> bytes | None:
        """The receipt that the seller lacks; None: there is none, or it is not on disk."""
        return None if purse.is_accepted or not purse.is_written else purse.receipt

    def on_accepted(self, purse: Purse, seq: int, credit: int) -> None:
        """The seller has the receipt with that number, and gives so much credit in all."""
        if seq > purse.seq:
            raise CallerFault("seq", "is of a receipt that was never signed")
        most = self._config.credit.max_bytes
        purse.credit = min(max(credit, 0), most)
        if seq == purse.seq:
            purse.is_accepted = True
        self._changed[purse.tab.seller.raw] = purse

    def on_opened(self, purse: Purse, secret: bytes | None) -> None:
        """The seller has taken a ticket of the session with that secret: it need not be opened again."""
        if secret is not None and secret == purse.secret:
            purse.opening = b""

    def on_refused(self, purse: Purse, reason: Reason, salt: bytes) -> bool:
        """The seller refuses the tab or its newest receipt for good. Goes on with another tab, with that
        salt, on which only what was not yet in a receipt is paid for; False: there were too many."""
        self.refused[reason] += 1
        if purse.new_tabs >= MAX_NEW_TABS or not purse.is_written:
            return False
        purse.begin_tab(salt)
        self._changed[purse.tab.seller.raw] = purse
        return True

    def renew_receipt(self, purse: Purse, now: float) -> SignedReceipt | None:
        """The receipt that the seller lacks, with the same sums and valid for longer; None: there is none."""
        if purse.is_accepted or not purse.is_written or not purse.receipt:
            return None
        until = min(int(now + self._config.receipt_valid_s), MAX_SUM)
        receipt = self._endorsed(purse, replace(open_receipt(purse.receipt), valid_until=until))
        purse.renew_receipt(receipt.sign(self._identity))
        return SignedReceipt(purse, purse.row())

    @property
    def makes_vouchers(self) -> bool:
        """Whether a receipt that lacks one can have one."""
        return self._vouchers is not None

    def on_terms(self, purse: Purse, settlement: bytes) -> None:
        """The seller says how it settles. Raises PeerFault: it did not sign that, or settles otherwise than
        we do."""
        if self._vouchers is not None and settlement != purse.settlement:
            self._vouchers.sign(purse.tab, 0, open_terms(settlement, purse.tab.seller))
            purse.settlement = settlement

    def _endorsed(self, purse: Purse, receipt: Receipt) -> Receipt:
        """With a voucher, if the seller takes one. Raises CallerFault."""
        if self._vouchers is None or purse.settlement is None:
            return receipt
        try:
            terms = open_terms(purse.settlement, purse.tab.seller)
            voucher = self._vouchers.sign(receipt.tab, receipt.cumulative_amount, terms)
        except PeerFault as fault:
            raise CallerFault("voucher", fault.reason) from None
        return replace(receipt, voucher=voucher)

    def on_claim(self, purse: Purse, offer: PricedOffer, unpaid: int) -> int:
        """The seller says that so many bytes of an offer are unpaid; returns how many more of them are due
        than were verified."""
        taken = purse.claim(offer, unpaid)
        self._changed[purse.tab.seller.raw] = purse
        return taken

    def owing(self) -> list[Purse]:
        """The tabs in memory on which something is due that no purchase under way will pay for."""
        return [purse for purse in self._purses.values() if purse.is_owing]

    def spent_today(self, now: float) -> int:
        """In receipts, to all sellers. Raises NodeFault."""
        day = int(now // DAY_S)
        if day != self._spent_day:
            self._spent_day, self._spent = day, self._rows.spent(day)
        return self._spent

    # --- the disk

    def poll_changes(self, *, closing: bool = False) -> list[BuyerRow]:
        """Rows to be written, without anybody waiting for it; at the end of the program all, as closed.
        `on_written` or `on_write_failed` follows."""
        purses = dict(self._changed)
        if closing:
            purses.update(self._purses.items())
        ready = [one for one in purses.values() if one.is_written]
        for purse in ready:
            self._changed.pop(purse.tab.seller.raw, None)
        opened = [one for one in ready if one.opened]
        for purse in opened:
            self._written.add(purse.tab.seller.raw, purse)
        return [one.row(is_open=not closing) for one in opened]

    def on_written(self, rows: Iterable[BuyerRow]) -> None:
        """What `poll_changes` gave is on disk."""
        for row in rows:
            self._written.end(row.seller)

    def on_write_failed(self, rows: Iterable[BuyerRow]) -> None:
        """It is not."""
        for row in rows:
            if (purse := self._written.end(row.seller)) is not None:
                self._changed[row.seller] = purse
