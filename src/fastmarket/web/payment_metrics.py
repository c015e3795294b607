"""Metrics of a node with payments: what it was paid, what is unpaid, and who did not pay."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from fastmarket.errors import NodeFault
from fastmarket.payments.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastmarket.payments.buyer import BuyerTabs
    from fastmarket.payments.seller import SellerTabs
    from fastmarket.settlement.settler import SettlementReport


class PaymentState(Collector):
    """Both sides of the tabs, collected at each scrape."""

    def __init__(
        self,
        sold: SellerTabs,
        bought: BuyerTabs,
        now: Callable[[], float],
        settled: Callable[[], SettlementReport] | None = None,
    ) -> None:
        """`now`: Unix seconds. `settled`: None: receipts are debts."""
        self._sold = sold
        self._bought = bought
        self._now = now
        self._settled = settled

    def collect(self) -> Iterator[Metric]:
        """Gauges, then counters."""
        sold, totals = self._sold, self._sold.totals
        gauges = [
            ("unpaid_bytes", "Served to buyers in memory, and in no receipt yet.", sold.unpaid_bytes),
            ("credit_bytes", "Credit of those of them that have something unpaid.", sold.credit_in_use),
        ]
        try:
            spent = self._bought.spent_today(self._now())
        except NodeFault:
            pass  # the file cannot be read: no figure is better than a wrong one
        else:
            gauges.append(("spent_today", "Whole units that this node signed for on this day of UTC.", spent))
        for name, about, value in gauges:
            yield GaugeMetricFamily(f"fastmarket_payments_{name}", about, value)
        counters = (
            ("paid_bytes", "File bytes that receipts of buyers paid for.", totals.paid_bytes),
            ("earned", "Whole units of those receipts.", totals.paid_amount),
            ("receipts", "Receipts of buyers that counted.", totals.receipts),
            ("lost_bytes", "Served, and not paid for in time.", totals.lost_bytes),
        )
        for name, about, value in counters:
            yield CounterMetricFamily(f"fastmarket_payments_{name}", about, value)
        defaults = CounterMetricFamily(
            "fastmarket_payments_defaults", "Buyers that broke their word, by how.", labels=("reason",)
        )
        defaults.add_metric(("unpaid",), totals.defaults)
        defaults.add_metric(("fraud",), sold.refused[Reason.FRAUD])
        yield defaults
        refused = CounterMetricFamily(
            "fastmarket_payments_refused",
            "Receipts, openings, tickets and requests refused, by reason.",
            labels=("reason",),
        )
        for reason, count in sold.refused.items():
            refused.add_metric((reason.value,), count)
        yield refused
        if self._settled is not None:
            yield from _settlement(self._settled())


def _settlement(report: SettlementReport) -> Iterator[Metric]:
    about = "Tabs with a deposit, as it was last seen."
    yield GaugeMetricFamily("fastmarket_settlement_covered_tabs", about, report.covered)
    about = "Whole units that were claimed for receipts."
    yield CounterMetricFamily("fastmarket_settlement_claimed", about, report.claimed)
    unclaimed = CounterMetricFamily(
        "fastmarket_settlement_unclaimed", "Receipts not claimed in full, by reason.", labels=("reason",)
    )
    for reason, count in report.refused.items():
        unclaimed.add_metric((reason,), count)
    yield unclaimed
