"""What backs a receipt: vouchers in it, and deposits as a settlement last saw them. Sans-IO.

Without a settlement (`none`) a receipt is a debt, and counts as it is. With one, a receipt carries a
voucher, which is checked here without I/O. A deposit is looked at elsewhere, from time to time; what was seen
counts until `Backing.until`. Then:

- a receipt for more than the deposit that is known is refused;
- one that the deposit covers counts in full;
- one whose deposit is not known pays for what it says, but its buyer stays a stranger: its credit does not
  grow, and what it was served counts on against the hour of its address block (`credit.StrangerCredit`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from fastmarket.bounded_map import BoundedMap, Eviction
from fastmarket.config.payments import SettlementPolicy
from fastmarket.formats.envelope import seal
from fastmarket.formats.identity import Identity, PeerId
from fastmarket.payments.reasons import Reason
from fastmarket.payments.receipt import Receipt, ReceiptFault, open_receipt, open_signed
from fastmarket.payments.tab import Tab

TERMS_DOMAIN = "fastmarket-settlement"
TERMS_PAYLOAD_TYPE = b"/fastmarket/settlement"


@dataclass(frozen=True, slots=True)
class NewestReceipt:
    """The newest receipt of a tab, as a settlement needs it. `amount`: all that was bought on the tab so far,
    in units of the currency; `valid_until`: Unix seconds; `voucher`: b"" for none."""

    tab: Tab
    seq: int
    amount: int
    valid_until: int
    voucher: bytes


def newest(receipt: Receipt) -> NewestReceipt:
    """A receipt that is the newest one of its tab."""
    return NewestReceipt(
        receipt.tab, receipt.seq, receipt.cumulative_amount, receipt.valid_until, receipt.voucher
    )


@dataclass(frozen=True, slots=True)
class Backing:
    """The deposit of a tab: receipts for up to `amount` in all are covered, what was claimed included.

    `until`: Unix seconds from when on the deposit may be gone without our having seen it. `is_leaving`: its
    owner has begun to take it back."""

    amount: int
    until: float
    is_leaving: bool = False


def sign_terms(identity: Identity, terms: bytes) -> bytes:
    """What a seller tells its buyers, signed: else who stands between could be paid in its place."""
    return seal(identity, TERMS_DOMAIN, TERMS_PAYLOAD_TYPE, terms) if terms else b""


def open_terms(raw: bytes, seller: PeerId) -> bytes:
    """The terms of that seller; b"" for b"". Raises PeerFault."""
    if not raw:
        return b""
    signer, terms = open_signed("settlement", raw, TERMS_DOMAIN, TERMS_PAYLOAD_TYPE)
    if signer != seller:
        raise ReceiptFault("settlement", "is signed by another than the seller")
    return terms


class VoucherScheme(Protocol):
    """How vouchers are made and read: by computing alone, since the event loop waits for it."""

    @property
    def terms(self) -> bytes:
        """What a buyer has to know of this seller to make vouchers for it; b"": nothing is settled."""

    def sign(self, tab: Tab, amount: int, terms: bytes) -> bytes:
        """The voucher of a buyer for that much in all; b"": the seller's terms ask for none. Raises
        PeerFault: not terms of ours."""

    def check(self, tab: Tab, amount: int, voucher: bytes) -> Reason | None:
        """Why a voucher is not worth that much in all, if there is a deposit; None: it is."""


@dataclass(slots=True)
class _Seen:
    backing: Backing | None
    at: float


class Backings:
    """What a seller knows of the deposits of its buyers."""

    def __init__(
        self, policy: SettlementPolicy, scheme: VoucherScheme | None = None, signed_terms: bytes = b""
    ) -> None:
        """`scheme`: None: receipts are debts, and all of them count. `signed_terms`: see `sign_terms`."""
        self.terms = signed_terms
        """What buyers are told."""
        self._policy = policy
        self._scheme = scheme
        self._seen: BoundedMap[bytes, _Seen] = BoundedMap(
            policy.max_tabs, eviction=Eviction.LEAST_RECENTLY_USED
        )
        self._wanted: dict[bytes, NewestReceipt] = {}

    def judge(self, receipt: NewestReceipt, now: float) -> Reason | None:
        """Why a receipt does not count; None: it does."""
        if self._scheme is None:
            return None
        if not receipt.voucher:
            return Reason.VOUCHER
        known = self._known(receipt.tab, now)
        if known is not None and receipt.amount > known.amount:
            self._want(receipt, now, self._policy.look_again_s)  # it may have grown
            return Reason.DEPOSIT
        return self._scheme.check(receipt.tab, receipt.amount, receipt.voucher)

    def covers(self, receipt: NewestReceipt, now: float) -> bool:
        """Whether a receipt that counts is worth what it says. It is looked at again if that is not known."""
        if self._scheme is None:
            return True
        known = self._known(receipt.tab, now)
        is_covered = known is not None and receipt.amount <= known.amount
        self._want(receipt, now, self._policy.refresh_s if is_covered else self._policy.look_again_s)
        return is_covered

    def covers_kept(self, raw: bytes, now: float) -> bool:
        """Likewise of the last receipt of an account that comes from the disk; b"": there is none."""
        if self._scheme is None or not raw:
            return True
        try:
            return self.covers(newest(open_receipt(raw)), now)
        except ReceiptFault:  # the file was damaged
            return False

    def poll_wanted(self) -> Sequence[NewestReceipt]:
        """Tabs whose deposit is to be looked at now, `max_tabs_per_call` at most."""
        first = list(self._wanted)[: self._policy.max_tabs_per_call]
        return [self._wanted.pop(tab_id) for tab_id in first]

    def on_looked(self, tab: Tab, backing: Backing | None, now: float) -> None:
        """A deposit was looked at; None: it could not be seen. What was known before holds as long as it was
        said to."""
        seen = self._seen.peek(tab.id)
        if backing is None and seen is not None:
            backing = seen.backing
        self._seen.put(tab.id, _Seen(backing, now))

    @property
    def covered_count(self) -> int:
        """Tabs of which a deposit is known, whether or not it is still certain."""
        return sum(one.backing is not None and one.backing.amount > 0 for one in self._seen.values())

    def _known(self, tab: Tab, now: float) -> Backing | None:
        seen = self._seen.get(tab.id)
        if seen is None or seen.backing is None or seen.backing.until <= now:
            return None
        return seen.backing

    def _want(self, receipt: NewestReceipt, now: float, interval_s: float) -> None:
        seen = self._seen.peek(receipt.tab.id)
        is_due = seen is None or not 0 <= now - seen.at < interval_s
        if is_due and (len(self._wanted) < self._policy.max_tabs or receipt.tab.id in self._wanted):
            self._wanted[receipt.tab.id] = receipt
