"""One buyer, as its seller knows it: what it was served, what it paid, and how much more it gets."""

from __future__ import annotations

from dataclasses import dataclass

from fastmarket.config.payments import CreditPolicy
from fastmarket.formats.identity import PeerId
from fastmarket.native.sha256 import DIGEST_SIZE
from fastmarket.payments.credit import grown, halved
from fastmarket.payments.ledger import Debt
from fastmarket.payments.receipt import Receipt, open_receipt
from fastmarket.payments.rows import OwedRow, SellerRow
from fastmarket.payments.session import TicketWindow
from fastmarket.payments.tab import PricedOffer, Tab

NO_OFFER = bytes(DIGEST_SIZE)
"""Names no offer: what is owed for many of them, of which each is forgotten."""


@dataclass(slots=True)
class Owed:
    """Unpaid bytes of one offer: `served` lately, and `lost` by defaults."""

    price: int
    served: int = 0
    lost: int = 0


class Account:
    """The state of one buyer in memory. What it is allowed is decided in `seller`."""

    __slots__ = (
        "__weakref__",
        "active_at",
        "block",
        "buyer",
        "checked",
        "checked_raw",
        "credit",
        "defaults",
        "earlier",
        "grown_from",
        "is_blocked",
        "is_covered",
        "opened",
        "owed",
        "paid_amount",
        "paid_bytes",
        "policy",
        "proof",
        "receipt",
        "secret",
        "seq",
        "settled_bytes",
        "tab",
        "total_amount",
        "total_bytes",
        "unpaid",
        "window",
    )

    def __init__(self, tab: Tab, policy: CreditPolicy, now: float) -> None:
        self.buyer: PeerId = tab.buyer
        self.tab = tab
        self.policy = policy
        self.opened = 0
        self.seq = self.paid_bytes = self.paid_amount = 0
        self.receipt = b""
        self.credit = policy.stranger_bytes
        self.grown_from = 0
        self.owed: dict[bytes, Owed] = {}
        self.unpaid = 0
        """Bytes served lately, over all offers: what the credit bounds."""
        self.total_bytes = self.total_amount = 0
        self.settled_bytes = 0
        """Paid for of what was served, over all tabs."""
        self.is_covered = True
        """Whether a deposit was known to cover its last receipt (`backing.Backings`)."""
        self.earlier: tuple[bytes, ...] = ()
        self.defaults = 0
        self.active_at = now
        self.is_blocked = False
        self.proof: tuple[bytes, ...] = ()
        self.block = ""
        """Whose address block its session was opened from, as of strangers."""
        self.secret: bytes | None = None  # of its session
        self.window = TicketWindow()
        self.checked: Receipt | None = None
        """A receipt that was found right, and is being written."""
        self.checked_raw = b""

    @classmethod
    def of(cls, row: SellerRow, seller: PeerId, policy: CreditPolicy) -> Account:
        """As it was written."""
        tab = Tab(PeerId.from_bytes(row.buyer), seller, row.currency, row.salt)
        account = cls(tab, policy, row.active_at)
        for name in _KEPT:
            setattr(account, name, getattr(row, name))
        for one in row.owed:
            account.owed[one.offer_hash] = Owed(one.price, one.served, one.lost)
            account.unpaid += one.served
        return account

    def row(self) -> SellerRow:
        """To be written."""
        owed = tuple(OwedRow(key, one.price, one.served, one.lost) for key, one in self.owed.items())
        kept = {name: getattr(self, name) for name in _KEPT}
        return SellerRow(
            buyer=self.buyer.raw, currency=self.tab.currency, salt=self.tab.salt, owed=owed, **kept
        )

    def row_with(self, receipt: Receipt, raw: bytes, *, is_covered: bool) -> SellerRow:
        """As it will be when the receipt counts."""
        after = Account.__new__(Account)
        for name in _COPIED:
            setattr(after, name, getattr(self, name))
        after.owed = {key: Owed(one.price, one.served, one.lost) for key, one in self.owed.items()}
        after.settle(receipt, raw, receipt_bytes(self, receipt), is_covered=is_covered)
        return after.row()

    # --- what changes it

    @property
    def is_stranger(self) -> bool:
        """Whether it has not yet paid for as much as any stranger gets, or pays with what may be nothing."""
        return self.settled_bytes < self.policy.stranger_bytes or not self.is_covered

    def was_on(self, tab: Tab) -> bool:
        """Whether it paid on that tab before the one that it is on."""
        return any(open_receipt(raw).tab.id == tab.id for raw in self.earlier)

    @property
    def lost(self) -> int:
        """Bytes that it never paid for."""
        return sum(one.lost for one in self.owed.values())

    def serve(self, offer: PricedOffer, count: int, now: float) -> None:
        """So many bytes more were served; negative: some were not sent after all."""
        owed = self.owed.get(offer.hash)
        if owed is None:
            owed = self.owed[offer.hash] = Owed(offer.price)
        count = max(count, -owed.served)
        owed.served += count
        self.unpaid += count
        self.active_at = now
        self._drop_settled(offer.hash, owed)

    def settle(self, receipt: Receipt, raw: bytes, paid: int, *, is_covered: bool) -> int:
        """A receipt counts: `paid` bytes more. Returns how many of them had been served lately. The credit
        grows by it only if it `is_covered`."""
        self.seq, (self.paid_bytes, self.paid_amount) = receipt.seq, receipt.sums
        self.receipt, self.is_covered = raw, is_covered
        owed = self.owed.get(receipt.offer_hash)
        if owed is None:
            return 0
        served = min(paid, owed.served)
        lost = min(paid - served, owed.lost)
        owed.served -= served
        owed.lost -= lost
        self.unpaid -= served
        self._drop_settled(receipt.offer_hash, owed)
        if not is_covered:
            return served
        self.settled_bytes += served + lost
        self.grown_from += served + lost
        if self.grown_from >= max(self.credit, self.policy.min_bytes):
            self.credit, self.grown_from = grown(self.credit, self.policy), 0
        return served

    def _drop_settled(self, offer_hash: bytes, owed: Owed) -> None:
        if not owed.served and not owed.lost:
            del self.owed[offer_hash]

    def default_at(self) -> float | None:
        """When what is unpaid counts as lost."""
        return self.active_at + self.policy.default_after_s if self.unpaid else None

    def default(self, now: float) -> None:
        """It did not pay in time: the credit is halved, what it owes stays known."""
        for owed in self.owed.values():
            owed.lost += owed.served
            owed.served = 0
        self.unpaid = 0
        if len(self.owed) > self.policy.max_offers_owed // 2:  # room for new ones; the sum stays known
            self.owed = {NO_OFFER: Owed(0, 0, self.lost)}
        self.defaults += 1
        self.credit, self.grown_from = halved(self.credit, self.policy), 0
        self.active_at = now

    def forgive(self, now: float) -> Debt:
        """Owes nothing more, and gets at least what a stranger gets. Returns what it owed."""
        debt = Debt.of((one.served + one.lost, one.price) for one in self.owed.values())
        self.owed.clear()
        self.unpaid = 0
        self.credit = max(self.credit, self.policy.stranger_bytes)
        self.active_at = now
        return debt

    def begin_tab(self, tab: Tab) -> None:
        """The buyer goes on with another tab, whose receipts count from 0. What it owes, it still owes."""
        self.tab = tab
        if self.receipt:
            self.earlier = (*self.earlier, self.receipt)
        self.total_bytes += self.paid_bytes
        self.total_amount += self.paid_amount
        self.seq = self.paid_bytes = self.paid_amount = 0
        self.receipt = b""


def receipt_bytes(account: Account, receipt: Receipt) -> int:
    """Bytes that a receipt pays for beyond the one before."""
    return receipt.cumulative_bytes - account.paid_bytes


_KEPT = (
    *("opened", "seq", "paid_bytes", "paid_amount", "receipt", "credit", "grown_from"),
    *(
        "settled_bytes",
        "total_bytes",
        "total_amount",
        "earlier",
        "defaults",
        "active_at",
        "is_blocked",
        "proof",
    ),
)

_COPIED = tuple(name for name in Account.__slots__ if name != "__weakref__")
