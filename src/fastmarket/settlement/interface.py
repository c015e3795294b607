"""What a settlement is: three calls of the seller's side, and vouchers, which buyers put into receipts.

A plug-in is a function of the entry point group `fastmarket.settlement`: it takes `SettlementContext`, and
returns a `SettlementPlugin`. Its calls may wait for a network: they are made in a thread of their own, one at
a time (`patient_calls`), with at most `SettlementPolicy.max_tabs_per_call` tabs each. Whatever they raise,
and if they never return, receipts are taken as before (`payments.backing`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol

from fastmarket.formats.identity import PeerId
from fastmarket.payments.backing import Backing, NewestReceipt, VoucherScheme

GROUP = "fastmarket.settlement"
"""Of entry points."""


@dataclass(frozen=True, slots=True)
class SettlementContext:
    """What a plug-in is made with. `file`: its settings, as the operator named them; None: none were named.
    `secrets_mode`: the widest mode of files with keys."""

    peer_id: PeerId
    currency: str
    file: Path | None = None
    secrets_mode: str = "0600"


class ClaimResult(Enum):
    """What became of a receipt that was to be claimed."""

    CLAIMED = "claimed"  # paid out
    CURRENT = "current"  # nothing is left of it to claim
    REFUSED = "refused"  # it is worth nothing: see the reason
    LATER = "later"  # not now: it is to be claimed again


@dataclass(frozen=True, slots=True)
class ClaimOutcome:
    """`amount`: what was paid out, in units of the currency. `reason`: why not all of it, as a word or two;
    "" if it was all."""

    tab_id: bytes
    result: ClaimResult
    amount: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class SettlementStatus:
    """What a settlement is, for people: what it settles by, and what keeps it from doing so, or ""."""

    name: str
    place: str
    trouble: str = ""


class SettlementPlugin(Protocol):
    """A plug-in, made for one node."""

    @property
    def vouchers(self) -> VoucherScheme | None:
        """None: receipts carry none, and `backed` and `claim` are never called."""

    def backed(self, receipts: Sequence[NewestReceipt], now: float) -> Sequence[Backing | None]:
        """The deposit of each receipt's tab, in their order; None: it could not be seen. May wait, may raise.
        `now`: Unix seconds."""

    def claim(self, receipts: Sequence[NewestReceipt], now: float) -> Sequence[ClaimOutcome]:
        """Claims them, all together. May wait, may raise; a receipt may be given again at any time."""

    def status(self) -> SettlementStatus:
        """What is known without asking anybody; does not wait."""
