"""No settlement: receipts say who owes what to whom. Nothing backs them, nothing is claimed."""

from __future__ import annotations

from collections.abc import Sequence

from fastmarket.payments.backing import Backing, NewestReceipt
from fastmarket.settlement.interface import (
    ClaimOutcome,
    ClaimResult,
    SettlementContext,
    SettlementStatus,
)

_NOTHING = "nothing settles receipts"


class AccountingOnly:
    """The plug-in `none`."""

    vouchers = None

    def backed(self, receipts: Sequence[NewestReceipt], now: float) -> Sequence[Backing | None]:
        """See `SettlementPlugin`."""
        return [Backing(0, now) for _ in receipts]

    def claim(self, receipts: Sequence[NewestReceipt], now: float) -> Sequence[ClaimOutcome]:
        """See `SettlementPlugin`."""
        return [ClaimOutcome(one.tab.id, ClaimResult.REFUSED, 0, _NOTHING) for one in receipts]

    def status(self) -> SettlementStatus:
        """See `SettlementPlugin`."""
        return SettlementStatus("none", "accounting only", _NOTHING)


def open_settlement(context: SettlementContext) -> AccountingOnly:
    """The entry point."""
    return AccountingOnly()
