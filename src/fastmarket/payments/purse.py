"""One seller, as its buyer knows it: what came, what is paid, and what may be asked for."""

from __future__ import annotations

from dataclasses import dataclass

from fastmarket.config.payments import PaymentConfig
from fastmarket.errors import CallerFault
from fastmarket.formats.identity import PeerId
from fastmarket.payments.receipt import Receipt
from fastmarket.payments.rows import BuyerRow, DueRow
from fastmarket.payments.tab import PricedOffer, Tab


@dataclass(slots=True)
class Due:
    """Bytes of one offer since the last receipt for it: `verified` ones, those `asked` for and under way, and
    those `given_up`, of which the seller may have sent some."""

    price: int
    verified: int = 0
    asked: int = 0
    given_up: int = 0

    @property
    def outstanding(self) -> int:
        """What the seller may count as unpaid."""
        return self.verified + self.asked + self.given_up


class Purse:
    """The buyer's state of one tab in memory. What may be spent is decided in `buyer`."""

    __slots__ = (
        "__weakref__",
        "_config",
        "credit",
        "day",
        "day_amount",
        "due",
        "is_accepted",
        "is_written",
        "lost_track",
        "new_tabs",
        "number",
        "opened",
        "opening",
        "outstanding",
        "paid_amount",
        "paid_bytes",
        "receipt",
        "secret",
        "seller_key",
        "seq",
        "settlement",
        "tab",
        "total_amount",
        "total_bytes",
        "unaccepted",
        "unverified",
        "unverified_before",
    )

    def __init__(self, tab: Tab, config: PaymentConfig) -> None:
        self._config = config
        self.tab = tab
        self.opened = 0
        self.seq = self.paid_bytes = self.paid_amount = 0
        self.receipt = b""
        self.is_accepted = True  # there is none that the seller lacks
        self.is_written = True
        self.total_bytes = self.total_amount = 0  # on earlier tabs
        self.unverified = 0
        self.unaccepted = 0  # that the newest receipt pays for: unpaid to the seller until it has it
        self.unverified_before = 0  # this run of the program
        self.lost_track = 0
        """Bytes that may have come before a crash, and are forgotten."""
        self.due: dict[bytes, Due] = {}
        self.outstanding = 0
        """What the seller may count as unpaid, over all offers."""
        self.credit = config.credit.stranger_bytes
        self.day = self.day_amount = 0
        self.secret: bytes | None = None  # of the session with a seller of `seller_key`
        self.seller_key = b""
        self.settlement: bytes | None = None
        """How the seller settles, as it signed it; None: it has not said so in this run."""
        self.opening = b""
        """Of that session, until the seller has taken it: an envelope."""
        self.number = 0  # of the last ticket
        self.new_tabs = 0
        """Begun in this run, because the seller refused the one before."""

    @classmethod
    def of(cls, row: BuyerRow, buyer: PeerId, config: PaymentConfig) -> Purse:
        """As it was written."""
        purse = cls(Tab(buyer, PeerId.from_bytes(row.seller), row.currency, row.salt), config)
        for name in _KEPT:
            setattr(purse, name, getattr(row, name))
        purse.unverified_before = purse.unverified
        for one in row.due:
            purse.due[one.offer_hash] = Due(one.price, one.verified)
            purse.outstanding += one.verified
        if row.is_open:
            purse.lost_track = purse.window
        return purse

    def row(self, *, is_open: bool = True) -> BuyerRow:
        """To be written."""
        due = tuple(DueRow(key, one.price, one.verified) for key, one in self.due.items() if one.verified)
        kept = {name: getattr(self, name) for name in _KEPT}
        tab = self.tab
        return BuyerRow(
            seller=tab.seller.raw, currency=tab.currency, salt=tab.salt, due=due, is_open=is_open, **kept
        )

    @property
    def window(self) -> int:
        """Bytes between two receipts at most, and what may be paid for in one run without having been
        verified."""
        return self._config.window(self.total_bytes + self.paid_bytes)

    @property
    def unverified_left(self) -> int:
        """What may still be paid for without having been verified, in this run."""
        return max(self.window - (self.unverified - self.unverified_before), 0)

    # --- what changes it

    def ask(self, offer: PricedOffer, count: int) -> None:
        """So many bytes are asked for."""
        due = self.due.get(offer.hash)
        if due is None:
            due = self.due[offer.hash] = Due(offer.price)
        due.asked += count
        self.outstanding += count

    def end_ask(self, offer: PricedOffer, count: int, *, verified: int, given_up: int) -> None:
        """The outcome of an `ask` for `count` bytes: so many came and were verified, so many may have been
        sent for nothing."""
        due = self.due.setdefault(offer.hash, Due(offer.price))
        due.asked -= count
        due.verified += verified
        due.given_up += given_up
        self.outstanding += verified + given_up - count
        self._drop_settled(offer.hash, due)

    def claim(self, offer: PricedOffer, unpaid: int) -> int:
        """The seller says that so many bytes of an offer are unpaid. What may be right is paid for, within
        the window: bytes that were given up, or came before a crash. Returns how many more are due now."""
        due = self.due.get(offer.hash) or Due(offer.price)
        missing = max(unpaid - due.verified - due.asked, 0)
        from_given_up = min(missing, due.given_up, self.unverified_left)
        from_crash = min(missing - from_given_up, self.lost_track, self.unverified_left - from_given_up)
        taken = from_given_up + from_crash
        # What the seller does not ask for was not sent. (It does not know yet of what is under way.)
        kept = due.given_up - from_given_up
        if not due.asked:
            kept = min(kept, missing - taken)
        self.outstanding += from_crash - (due.given_up - from_given_up - kept)
        self.due[offer.hash] = due
        due.verified += taken
        due.given_up = kept
        self.lost_track -= from_crash
        self.unverified += taken
        self._drop_settled(offer.hash, due)
        return taken

    def payable(self) -> tuple[bytes, Due] | None:
        """The offer with the most bytes to pay for; None: nothing, or a receipt is under way."""
        if not self.is_accepted or not self.due:
            return None
        best = max(self.due.items(), key=lambda item: item[1].verified)
        return best if best[1].verified else None

    def next_receipt(self, offer: PricedOffer, count: int, valid_until: int) -> Receipt:
        """For `count` bytes more. Raises CallerFault if a sum outgrows its field."""
        return Receipt(
            self.tab,
            self.seq + 1,
            self.paid_bytes + count,
            self.paid_amount + offer.cost(count),
            offer.hash,
            valid_until,
        )

    def take_receipt(self, receipt: Receipt, raw: bytes, day: int) -> None:
        """It is signed: written next, and sent then."""
        if receipt.seq != self.seq + 1:
            raise CallerFault("seq", "is not the next one")
        count = receipt.cumulative_bytes - self.paid_bytes
        amount = receipt.cumulative_amount - self.paid_amount
        self.seq, (self.paid_bytes, self.paid_amount) = receipt.seq, receipt.sums
        self.receipt, self.is_accepted, self.is_written = raw, False, False
        self.unaccepted = count
        if day != self.day:
            self.day, self.day_amount = day, 0
        self.day_amount += amount
        due = self.due[receipt.offer_hash]
        due.verified -= count
        self.outstanding -= count
        self._drop_settled(receipt.offer_hash, due)

    def renew_receipt(self, raw: bytes) -> None:
        """The same receipt, valid for longer: written next, and sent then."""
        self.receipt, self.is_accepted, self.is_written = raw, False, False

    def begin_tab(self, salt: bytes) -> None:
        """Goes on with another tab, whose receipts count from 0. What the last receipt of the one before paid
        for, the seller may still count as unpaid: it is paid for as what came before a crash."""
        self.tab = Tab(self.tab.buyer, self.tab.seller, self.tab.currency, salt)
        self.total_bytes += self.paid_bytes
        self.total_amount += self.paid_amount
        self.seq = self.paid_bytes = self.paid_amount = 0
        self.receipt, self.is_accepted, self.is_written = b"", True, True
        self.secret, self.seller_key, self.opening, self.number = None, b"", b"", 0
        self.lost_track = self.window
        self.new_tabs += 1

    @property
    def unpaid(self) -> int:
        """What the seller may count as unpaid, until it has the newest receipt."""
        return self.outstanding + (0 if self.is_accepted else self.unaccepted)

    @property
    def is_agreed(self) -> bool:
        """Whether the seller has said that it knows the session and the newest receipt: nothing else that it
        says with a block changes what is done next."""
        return self.is_accepted and not self.opening and self.secret is not None

    @property
    def is_asked(self) -> bool:
        """Whether bytes are under way."""
        return any(one.asked for one in self.due.values())

    @property
    def is_owing(self) -> bool:
        """Whether something is due to the seller, and nothing is under way: no purchase will pay for it."""
        if self.is_asked:
            return False
        return not self.is_accepted or any(one.verified for one in self.due.values())

    @property
    def pending_cost(self) -> int:
        """What all that is outstanding would cost."""
        return sum(PricedOffer(b"", one.price).cost(one.outstanding) for one in self.due.values())

    def _drop_settled(self, offer_hash: bytes, due: Due) -> None:
        if not due.outstanding:
            del self.due[offer_hash]


_KEPT = (
    *("opened", "seq", "paid_bytes", "paid_amount", "receipt", "is_accepted", "unverified", "credit"),
    *("day", "day_amount", "total_bytes", "total_amount"),
)
