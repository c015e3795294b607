"""Looks at deposits and claims receipts, beside the sale: what fails is tried again, and stops nothing."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from fastmarket.config.payments import SettlementPolicy
from fastmarket.errors import FastmarketError, NetworkFault
from fastmarket.log_throttle import LogThrottle
from fastmarket.patient_calls import PatientCalls
from fastmarket.payments.backing import Backings, NewestReceipt
from fastmarket.settlement.interface import ClaimOutcome, ClaimResult, SettlementPlugin, SettlementStatus
from fastmarket.wording import counted, suppressed_note

log = logging.getLogger(__name__)

FAULT_LOG_INTERVAL_S = 600.0


@dataclass(frozen=True, slots=True)
class SettlementReport:
    """For people. `claimed`: since the start, in units of the currency; `refused`: receipts, by reason;
    `covered`: tabs with a known deposit; `claimed_at`: the end of the last round of claims, Unix seconds."""

    status: SettlementStatus
    covered: int
    claimed: int
    refused: dict[str, int]
    claimed_at: float | None


class Settler:
    """Ties a settlement to what a seller knows of deposits."""

    def __init__(
        self,
        settlement: SettlementPlugin,
        backings: Backings,
        receipts: Callable[[float], Iterable[NewestReceipt]],
        policy: SettlementPolicy,
        now: Callable[[], float],
    ) -> None:
        """`receipts`: the newest one of each tab that was active since a time; its items are taken in a
        thread."""
        self._settlement = settlement
        self._backings = backings
        self._receipts = receipts
        self._policy = policy
        self._now = now
        self._calls = PatientCalls(f"settlement {settlement.status().name}", policy.call_timeout_s)
        self._faults = LogThrottle(FAULT_LOG_INTERVAL_S, 1)
        self._claim_at = now() + policy.first_claim_s
        self._claimed_since = 0.0  # tabs that were active before it have nothing left
        self._claimed_at: float | None = None
        self._claimed = 0
        self._refused: Counter[str] = Counter()
        self._trouble = ""

    @property
    def is_needed(self) -> bool:
        """Whether there is anything to look at."""
        return self._settlement.vouchers is not None

    async def look(self) -> None:
        """Looks at the deposits that sellers want to know of, and claims when it is time."""
        wanted = self._backings.poll_wanted()
        if wanted:
            await self._look_at(wanted)
        if self._now() >= self._claim_at:
            await self.claim()

    async def claim(self) -> Sequence[ClaimOutcome]:
        """Claims what has come since the last time, now. Returns what became of the receipts; of those that
        were not reached, nothing."""
        began = self._now()
        self._claim_at = began + self._policy.claim_every_s
        receipts = (one for one in self._receipts(self._claimed_since) if one.voucher)
        outcomes: list[ClaimOutcome] = []
        is_done = True
        try:
            while batch := await self._calls.make(lambda: self._claim_some(receipts)):
                outcomes.extend(batch)
        except NetworkFault as fault:
            self._tell("claim receipts", fault)
            is_done = False
        is_done = is_done and all(one.result is not ClaimResult.LATER for one in outcomes)
        self._count(outcomes)
        if is_done:
            # What counted at that moment may have been written a little earlier.
            self._claimed_since, self._claimed_at, self._trouble = began - 60.0, self._now(), ""
        else:
            self._claim_at = self._now() + self._policy.claim_again_s
            later = [one.reason for one in outcomes if one.result is ClaimResult.LATER]
            self._trouble = f"{counted(len(later), 'receipt')} later: {later[0]}" if later else self._trouble
        return outcomes

    def report(self) -> SettlementReport:
        """What is known; asks nobody."""
        status = self._settlement.status()
        if self._trouble and not status.trouble:
            status = SettlementStatus(status.name, status.place, self._trouble)
        covered = self._backings.covered_count
        return SettlementReport(status, covered, self._claimed, dict(self._refused), self._claimed_at)

    async def _look_at(self, wanted: Sequence[NewestReceipt]) -> None:
        now = self._now()
        try:
            found = await self._calls.make(lambda: list(self._settlement.backed(wanted, now)))
        except NetworkFault as fault:
            self._tell("look at deposits", fault)
            found = []
        else:
            self._trouble = ""
        for at, one in enumerate(wanted):
            backing = found[at] if at < len(found) else None
            self._backings.on_looked(one.tab, backing, now)
            if backing is not None and backing.is_leaving:
                self._claim_at = min(self._claim_at, now)  # while it is there

    def _claim_some(self, receipts: Iterable[NewestReceipt]) -> Sequence[ClaimOutcome]:
        """In a thread."""
        batch = list(islice(receipts, self._policy.max_tabs_per_call))
        return list(self._settlement.claim(batch, self._now())) if batch else ()

    def _count(self, outcomes: Iterable[ClaimOutcome]) -> None:
        paid, refused = 0, 0
        for one in outcomes:
            paid += one.amount
            if one.reason and one.result is not ClaimResult.LATER:
                self._refused[one.reason] += 1
                refused += 1
        self._claimed += paid
        if paid or refused:
            log.info("claimed %d for receipts; %s not in full", paid, counted(refused, "receipt"))

    def _tell(self, doing: str, fault: FastmarketError) -> None:
        self._trouble = f"cannot {doing}: {fault}"
        suppressed = self._faults.due("settlement", self._now())
        if suppressed is not None:
            log.warning("cannot settle: %s; sales go on%s", self._trouble, suppressed_note(suppressed))
