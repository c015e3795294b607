"""What each side keeps of a tab on disk: one row. The shell writes it; nothing here does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class OwedRow:
    """Unpaid bytes of one offer: `served` lately, and `lost` by defaults."""

    offer_hash: bytes
    price: int
    served: int
    lost: int


@dataclass(frozen=True, slots=True)
class SellerRow:
    """A buyer, as its seller knows it; one row for each buyer and currency.

    `salt`: of its newest tab; `receipt`: the newest one of that, an envelope, b"" before the first, with its
    `seq`, `paid_bytes` and `paid_amount`. `opened`: the number of the last session. `grown_from`: bytes paid
    since the credit was last doubled. `settled_bytes`: paid of what was served, on all tabs. `total_bytes`,
    `total_amount`: paid on earlier tabs; `earlier`: the last receipts of those. `active_at`: Unix seconds of
    the last service or payment. `proof`: two receipts of one seq with different sums, or nothing.
    """

    buyer: bytes
    currency: str
    salt: bytes
    opened: int
    seq: int
    paid_bytes: int
    paid_amount: int
    receipt: bytes
    credit: int
    grown_from: int
    owed: tuple[OwedRow, ...]
    settled_bytes: int
    total_bytes: int
    total_amount: int
    earlier: tuple[bytes, ...]
    defaults: int
    active_at: float
    is_blocked: bool
    proof: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class DueRow:
    """Bytes of one offer that have to be paid for."""

    offer_hash: bytes
    price: int
    verified: int


@dataclass(frozen=True, slots=True)
class BuyerRow:
    """A seller, as its buyer knows it; one row for each seller and currency.

    `receipt`: the newest one that was signed, an envelope, b"" before the first, with its `seq`, `paid_bytes`
    and `paid_amount`; `is_accepted`: whether the seller said that it has it. `opened`: the number of the last
    session. `unverified`: bytes paid for without having been verified. `due`: bytes verified, and not yet in
    a receipt. `is_open`: not closed in order: bytes may have come that are not in `due`. `credit`: as the
    seller told it. `day`: of UTC since 1970, on which `day_amount` was spent on it. `total_bytes`,
    `total_amount`: signed for on earlier tabs.
    """

    seller: bytes
    currency: str
    salt: bytes
    opened: int
    seq: int
    paid_bytes: int
    paid_amount: int
    receipt: bytes
    is_accepted: bool
    unverified: int
    due: tuple[DueRow, ...]
    is_open: bool
    credit: int
    day: int
    day_amount: int
    total_bytes: int = 0
    total_amount: int = 0


class SellerRows(Protocol):
    """The rows of a seller that are on disk."""

    def find(self, buyer: bytes, currency: str) -> SellerRow | None:
        """The row of that buyer. Raises NodeFault."""

    def takes_new(self) -> bool:
        """Whether there is room for buyers that have no row yet. Raises NodeFault."""


class BuyerRows(Protocol):
    """The rows of a buyer that are on disk."""

    def find(self, seller: bytes, currency: str) -> BuyerRow | None:
        """The row of that seller. Raises NodeFault."""

    def spent(self, day: int) -> int:
        """The sum of the `day_amount` of that day. Raises NodeFault."""
