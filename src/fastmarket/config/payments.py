"""Buying and selling by the megabyte: credit, receipts, and what bounds the loss of either side."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class CreditPolicy:
    """What a seller serves before it is paid."""

    # Unpaid bytes of a buyer that has paid nothing yet: 16 blocks of 256 KiB, enough to see what it gets
    stranger_bytes: int = 4 * 1024 * 1024
    # Unpaid bytes of any buyer: 1 Gbit/s over two seconds, between a receipt and the next
    max_bytes: int = 256 * 1024 * 1024
    # With less, a default has ended the credit: no block may be larger
    min_bytes: int = 2 * 1024 * 1024
    # Unpaid bytes of all strangers of one address block (IPv4 /16, IPv6 /32) in one hour; what they pay for
    # within it is free again
    block_hour_bytes: int = 64 * 1024 * 1024
    # The same of all strangers together, wherever they are
    all_hour_bytes: int = 1024 * 1024 * 1024
    # What is owed for longer, with nothing served and nothing paid, counts as a default: the credit is halved
    default_after_s: float = 3600.0
    max_blocks: int = 4096  # address blocks whose hour is remembered, 200 bytes each
    # Buyers in memory, some 2 KiB each; others are on disk
    max_accounts: int = 8192
    # Offers of one buyer with unpaid bytes, each settled by a receipt of its own
    max_offers_owed: int = 64
    max_tabs_per_buyer: int = 8  # opened by one peer id, as one that lost its data directory does
    max_known_offers: int = 16_384  # whose price is remembered for receipts that come later, 200 bytes each


@dataclass(frozen=True, slots=True)
class SettlementPolicy:
    """How often a settlement is asked, and how long it may take."""

    # Tabs whose deposit is remembered, 300 bytes each; others are looked at again when a receipt comes
    max_tabs: int = 16_384
    max_tabs_per_call: int = 256  # in one call of a settlement: what a node of a chain answers in a second
    # For one call, which may send a transaction and wait for it. Beyond, it is left to itself in its thread,
    # and no other call is made before it returns
    call_timeout_s: float = 120.0
    refresh_s: float = 60.0  # between looks at the deposit of a tab whose receipts are covered
    look_again_s: float = 5.0  # if they are not, or it could not be seen
    # Between claims. A deposit may be taken back after a notice, a day at the least: so a chain may be away
    # for three quarters of that
    claim_every_s: float = 6 * 3600.0
    claim_again_s: float = 300.0  # after a claim that failed
    first_claim_s: float = 30.0  # after the start


@dataclass(frozen=True, slots=True)
class PaymentConfig:
    """Payments of a node, as seller and as buyer."""

    # Whether what has a price is sold for receipts, and receipts are signed for what has one; otherwise
    # prices are told, and everything is given to all. Off: nodes without it cannot buy from who sells so
    required: bool = False
    # Label of what prices are counted in, part of each tab: a buyer pays no seller that names another one
    currency: str = "unit"
    # What receipts are settled by: NAME, or NAME=FILE with its settings. "none": they are debts, and no more
    settlement: str = "none"
    settling: SettlementPolicy = field(default_factory=SettlementPolicy)
    credit: CreditPolicy = field(default_factory=CreditPolicy)
    # How long a seller may wait before it claims a receipt
    receipt_valid_s: float = 30 * 24 * 3600.0
    # Bytes that a buyer pays for at most in one run without having verified them: of requests that it gave
    # up, or that were under way when it crashed. Its greatest loss to one seller, of which it bought little
    window_bytes: int = 4 * 1024 * 1024
    # Of a seller of which it bought more, this part of that: receipts are fewer and larger then
    window_divisor: int = 16
    # But no more: a quarter of the highest credit, so that a receipt comes before the seller has to stop
    max_window_bytes: int = 64 * 1024 * 1024
    # A receipt is due when this part of the credit is unpaid, or a window: so the seller need not stop for it
    pay_fraction: float = 0.25
    budget_per_day: int | None = None  # whole units in a day of UTC, to all sellers together; None: no bound
    max_sellers: int = 8192  # tabs of a buyer in memory, 1 KiB each; others are on disk

    def window(self, bought: int) -> int:
        """Of a buyer that paid a seller for so many bytes."""
        return min(max(self.window_bytes, bought // self.window_divisor), self.max_window_bytes)
