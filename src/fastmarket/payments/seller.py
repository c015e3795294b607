"""The seller's side: who gets how much before it pays, and which receipts count. Sans-IO.

A request carries a ticket (`session`): `find_ticket`, then `admit`, then `on_unsent` for what was not sent.
A receipt goes through `check_receipt`; what that returns is written to disk, and only `confirm_receipt` makes
it count: nothing is served on a receipt that a crash could lose. Other changes are written as `poll_changes`
gives them, without anybody waiting.

The loss: never more than the credit of a buyer (`CreditPolicy`), and by all that never paid together
`block_hour_bytes` an address block and `all_hour_bytes` in all, each hour.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from heapq import heappop, heappush

from fastmarket.bounded_map import BoundedMap
from fastmarket.config.payments import PaymentConfig
from fastmarket.formats.identity import PeerId
from fastmarket.native.sodium import x25519_public
from fastmarket.payments.account import Account, receipt_bytes
from fastmarket.payments.accounts import Accounts
from fastmarket.payments.backing import Backings, newest
from fastmarket.payments.credit import StrangerCredit, credit_block
from fastmarket.payments.ledger import Debt
from fastmarket.payments.reasons import Reason
from fastmarket.payments.receipt import Receipt, ReceiptFault, open_receipt
from fastmarket.payments.rows import SellerRow, SellerRows
from fastmarket.payments.session import Ticket, TicketWindow, open_opening, shared_secret
from fastmarket.payments.shares import CreditShares
from fastmarket.payments.tab import SALT_BYTES, PricedOffer, Tab

_WRITE_S = 1.0  # for a receipt that is being written, before what it pays for counts as lost


@dataclass(frozen=True, slots=True)
class CheckedReceipt:
    """A receipt that is right. `row`: to be written before it counts; None: it does already."""

    account: Account
    row: SellerRow | None


@dataclass(slots=True)
class SellerTotals:
    """Since the start: file bytes that receipts paid for, their amounts, receipts that counted, defaults, and
    unpaid bytes that these lost."""

    paid_bytes: int = 0
    paid_amount: int = 0
    receipts: int = 0
    defaults: int = 0
    lost_bytes: int = 0


class SellerTabs:
    """The accounts of all buyers of one seller."""

    def __init__(
        self,
        seller: PeerId,
        config: PaymentConfig,
        rows: SellerRows,
        session_private: bytes,
        backings: Backings | None = None,
        shares: CreditShares | None = None,
    ) -> None:
        """`rows`: what is on disk. `session_private`: a fresh X25519 private key. `backings`: None: receipts
        are debts. `shares`: of a fleet, whose servers give a buyer one credit together."""
        self.seller = seller
        self.backings = backings or Backings(config.settling)
        self.currency = config.currency
        self.session_key = x25519_public(session_private)
        """For openings."""
        self.refused: Counter[Reason] = Counter()
        self.totals = SellerTotals()
        self._private = session_private
        self._policy = config.credit
        self._accounts = Accounts(seller, self.currency, self._policy, rows)
        self._offers: BoundedMap[bytes, PricedOffer] = BoundedMap(self._policy.max_known_offers)
        self._strangers = StrangerCredit(self._policy)
        self._defaults: list[tuple[float, bytes]] = []  # when to look at whom
        self._timed: set[bytes] = set()
        self._is_disk_full = False
        self._shares = shares

    # --- sessions

    def open_session(self, raw: bytes, host: str, now: float) -> Reason | None:
        """An opening came from `host`; None: tickets of its tab are taken from now on. Raises NodeFault."""
        try:
            opening = open_opening(raw)
        except ReceiptFault as fault:
            return self._refuse(Reason(fault.field))
        if (wrong := self._wrong_party(opening.tab)) is not None:
            return self._refuse(wrong)
        if opening.seller_key != self.session_key:
            return self._refuse(Reason.SELLER_KEY)
        secret = shared_secret(self._private, opening.buyer_key, opening.tab.id)
        if secret is None:
            return self._refuse(Reason.BUYER_KEY)
        account = self._account_for(opening.tab, now)
        if account is None:
            return self._refuse(Reason.DISK)
        if account.is_blocked:
            return self._refuse(Reason.PEER)
        if (opening.number, secret) == (account.opened, account.secret):
            return None  # told on several connections
        if opening.number <= account.opened:
            return self._refuse(Reason.NUMBER)
        if opening.tab.id != account.tab.id and (wrong := self._begin_tab(account, opening.tab)) is not None:
            return self._refuse(wrong)
        account.opened = opening.number
        account.secret, account.window = secret, TicketWindow()
        account.block = credit_block(host)
        return None

    def find_ticket(self, ticket: Ticket, block: bytes) -> Account | Reason:
        """Whose ticket for that block (multihash) it is. Each is taken once."""
        account = self._accounts.of_tab(ticket.tab_id)
        if account is None or account.secret is None:
            return self._refuse(Reason.SESSION)
        if not ticket.is_of(account.secret, block) or not account.window.take(ticket.number):
            return self._refuse(Reason.TICKET)
        self._accounts.find(account.buyer.raw)  # is used
        return account

    # --- serving

    def offer(self, content: bytes, price: int) -> PricedOffer:
        """The offer of a content at that price; receipts may name it from now on."""
        offer = PricedOffer.of(content, self.seller, self.currency, price)
        self._offers.put(offer.hash, offer)
        return offer

    def admit(self, account: Account, offer: PricedOffer, count: int, now: float) -> Reason | None:
        """Whether so many file bytes may be served now; None: they may, and count as served."""
        reason = self._why_not(account, offer, count, now)
        if reason is not None:
            return self._refuse(reason)
        self._serve(account, offer, count, now)
        return None

    def would_admit(self, account: Account, offer: PricedOffer, count: int, now: float) -> bool:
        """Whether `admit` would say None."""
        return self._why_not(account, offer, count, now) is None

    def on_unsent(self, account: Account, offer: PricedOffer, count: int, now: float) -> None:
        """So many of the bytes admitted were not sent."""
        if count:
            self._serve(account, offer, -count, now)

    def credit_left(self, account: Account, now: float) -> int:
        """File bytes that it would be served now."""
        left = account.credit - account.unpaid
        if account.is_stranger:
            left = min(left, self._strangers.left(account.block, now))
        return max(left, 0)

    # --- receipts

    def check_receipt(self, raw: bytes, now: float) -> CheckedReceipt | Reason:
        """A receipt, from whomever it came: its signer's. Raises NodeFault."""
        try:
            receipt = open_receipt(raw)
        except ReceiptFault as fault:
            return self._refuse(Reason(fault.field))
        if (wrong := self._wrong_party(receipt.tab)) is not None:
            return self._refuse(wrong)
        account = self._known(receipt.tab.buyer, now)
        if account is None or account.tab.id != receipt.tab.id:
            is_over = account is not None and account.was_on(receipt.tab)
            return self._refuse(Reason.TAB if is_over else Reason.SESSION)
        found = self._judge(account, receipt, raw, now)
        if isinstance(found, Reason):
            return self._refuse(found)
        return found

    def confirm_receipt(self, account: Account, now: float) -> None:
        """Its row is on disk: it counts."""
        receipt, raw = account.checked, account.checked_raw
        assert receipt is not None, "no receipt was being written"
        account.checked, account.checked_raw = None, b""
        paid, amount = receipt_bytes(account, receipt), receipt.cumulative_amount - account.paid_amount
        was_stranger, is_covered = account.is_stranger, self.backings.covers(newest(receipt), now)
        settled = account.settle(receipt, raw, paid, is_covered=is_covered)
        account.active_at = now
        if was_stranger and is_covered:
            self._strangers.add(account.block, -settled, now)
        totals = self.totals
        totals.paid_bytes += paid
        totals.paid_amount += amount
        totals.receipts += 1
        self._is_disk_full = False

    def drop_receipt(self, account: Account) -> None:
        """Its row could not be written: it does not count, and may come again."""
        account.checked, account.checked_raw = None, b""
        self._is_disk_full = True
        self._refuse(Reason.DISK)

    # --- for people

    def forgive(self, buyer: PeerId, now: float) -> Debt | None:
        """What a buyer owes is owed no more; returns what it was, None: it is not known. Raises NodeFault."""
        account = self._known(buyer, now)
        if account is None:
            return None
        self._accounts.change(account)
        return account.forgive(now)

    def block(self, buyer: PeerId, *, blocked: bool, now: float) -> None:
        """Nothing more is sold to a peer, whether or not it has bought; or again. Raises NodeFault."""
        account = self._known(buyer, now)
        if account is None:
            account = Account(Tab(buyer, self.seller, self.currency, bytes(SALT_BYTES)), self._policy, now)
            self._accounts.keep(account)
        account.is_blocked = blocked
        self._accounts.change(account)

    def find(self, buyer: PeerId) -> Account | None:
        """A buyer in memory; None: it is not there."""
        return self._accounts.peek(buyer.raw)

    @property
    def unpaid_bytes(self) -> int:
        """Of all buyers in memory."""
        return self._accounts.unpaid_bytes

    @property
    def credit_in_use(self) -> int:
        """Bytes of credit of those of them that have something unpaid."""
        return self._accounts.credit_in_use

    # --- the disk

    def poll_changes(self) -> list[SellerRow]:
        """Rows to be written, without anybody waiting for it; `on_written` or `on_write_failed` follows."""
        return self._accounts.poll_changes()

    def on_written(self, rows: Iterable[SellerRow]) -> None:
        """What `poll_changes` gave is on disk."""
        self._is_disk_full = False
        self._accounts.on_written(rows)

    def on_write_failed(self, rows: Iterable[SellerRow]) -> None:
        """It is not: nothing is served for money until something can be written again."""
        self._is_disk_full = True
        self._accounts.on_write_failed(rows)

    # --- time

    def next_timer(self) -> float | None:
        """When `handle_timer` has something to do."""
        return self._defaults[0][0] if self._defaults else None

    def handle_timer(self, now: float) -> None:
        """Counts as lost what was not paid in time; gives back shares of credit that nobody needs."""
        if self._shares is not None:
            self._shares.give_back(self._accounts.peek, now)
        while self._defaults and self._defaults[0][0] <= now:
            _, buyer = heappop(self._defaults)
            self._timed.discard(buyer)
            account = self._accounts.peek(buyer)
            if account is not None:  # of those on disk it is counted when they come again
                self._look_at(account, now)

    # --- within

    def _refuse(self, reason: Reason) -> Reason:
        self.refused[reason] += 1
        return reason

    def _wrong_party(self, tab: Tab) -> Reason | None:
        if tab.seller != self.seller:
            return Reason.SELLER
        return Reason.CURRENCY if tab.currency != self.currency else None

    def _judge(self, account: Account, receipt: Receipt, raw: bytes, now: float) -> CheckedReceipt | Reason:
        for seq, sums, known in self._latest(account):
            if seq == receipt.seq and sums != receipt.sums:
                return self._catch(account, known, raw)
        if account.is_blocked:
            return Reason.PEER
        if receipt.seq == account.seq and receipt.seq:
            return CheckedReceipt(account, None)
        if receipt.seq <= account.seq:
            return Reason.SEQ
        if account.checked is not None:
            return Reason.PENDING
        if receipt.valid_until <= now:
            return Reason.EXPIRED
        paid = receipt_bytes(account, receipt)
        amount = receipt.cumulative_amount - account.paid_amount
        if paid <= 0:
            return Reason.BYTES
        offer = self._offer_of(account, receipt.offer_hash)
        # Of an offer that is not known nothing is owed: a crash forgot it, and the receipt settles nothing.
        if amount < (0 if offer is None else offer.cost(paid)):
            return Reason.AMOUNT
        if (worthless := self.backings.judge(newest(receipt), now)) is not None:
            return worthless
        row = account.row_with(receipt, raw, is_covered=self.backings.covers(newest(receipt), now))
        account.checked, account.checked_raw = receipt, raw
        self._accounts.change(account)  # stays here until it is written, whoever else comes
        return CheckedReceipt(account, row)

    def _latest(self, account: Account) -> list[tuple[int, tuple[int, int], bytes]]:
        found = []
        if account.seq:
            found.append((account.seq, (account.paid_bytes, account.paid_amount), account.receipt))
        if account.checked is not None:
            found.append((account.checked.seq, account.checked.sums, account.checked_raw))
        return found

    def _catch(self, account: Account, known: bytes, raw: bytes) -> Reason:
        account.proof, account.is_blocked = (known, raw), True
        self._accounts.change(account)
        return Reason.FRAUD

    def _offer_of(self, account: Account, offer_hash: bytes) -> PricedOffer | None:
        owed = account.owed.get(offer_hash)
        if owed is not None:
            return PricedOffer(offer_hash, owed.price)
        return self._offers.peek(offer_hash)

    def _why_not(self, account: Account, offer: PricedOffer, count: int, now: float) -> Reason | None:
        if account.is_blocked:
            return Reason.PEER
        if self._is_disk_full:
            return Reason.DISK
        if account.unpaid + count > account.credit:
            return Reason.CREDIT
        if offer.hash not in account.owed and len(account.owed) >= self._policy.max_offers_owed:
            return Reason.CREDIT
        if account.is_stranger and self._strangers.left(account.block, now) < count:
            return Reason.HOUR
        return None if self._shares is None else self._shares.why_not(account, count, now)

    def _serve(self, account: Account, offer: PricedOffer, count: int, now: float) -> None:
        before = account.unpaid
        account.serve(offer, count, now)
        if account.is_stranger:
            self._strangers.add(account.block, account.unpaid - before, now)
        self._accounts.change(account)
        self._set_timer(account)

    def _set_timer(self, account: Account, not_before: float = 0.0) -> None:
        at, buyer = account.default_at(), account.buyer.raw
        if at is not None and buyer not in self._timed:
            self._timed.add(buyer)
            heappush(self._defaults, (max(at, not_before), buyer))

    def _look_at(self, account: Account, now: float) -> None:
        at = account.default_at()
        if at is None or at > now or account.checked is not None:
            self._set_timer(account, now + _WRITE_S)
            return
        self.totals.defaults += 1
        self.totals.lost_bytes += account.unpaid
        account.default(now)
        self._accounts.change(account)

    def _known(self, buyer: PeerId, now: float) -> Account | None:
        account = self._accounts.find(buyer.raw)
        if account is None and (account := self._accounts.fetch(buyer.raw)) is not None:
            account.is_covered = self.backings.covers_kept(account.receipt, now)
            self._look_at(account, now)
        return account

    def _account_for(self, tab: Tab, now: float) -> Account | None:
        """None: it is not known, and there is no room for more of them, here or on disk."""
        account = self._known(tab.buyer, now)
        if account is None and not (self._is_disk_full or self._accounts.is_full):
            account = Account(tab, self._policy, now)
            self._accounts.keep(account)
        return account

    def _begin_tab(self, account: Account, tab: Tab) -> Reason | None:
        """A buyer's next tab; else why not."""
        if len(account.earlier) + 1 >= self._policy.max_tabs_per_buyer or account.checked is not None:
            return Reason.TABS
        # The receipts of an earlier one would all count again.
        if account.was_on(tab):
            return Reason.TAB
        self._accounts.begin_tab(account, tab)
        return None
