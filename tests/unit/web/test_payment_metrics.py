"""Metrics of payments: what they say is what happened."""

from __future__ import annotations

from prometheus_client.registry import CollectorRegistry

from fastmarket.settlement.interface import SettlementStatus
from fastmarket.settlement.settler import SettlementReport
from fastmarket.web.payment_metrics import PaymentState
from tests.virtual.payments import BLOCK_BYTES, CONTENT, START, Purchase, VirtualBuyer, VirtualSeller

HOUR_S = 3600.0


def test_what_is_settled_is_told() -> None:
    seller, buyer, registry = VirtualSeller(), VirtualBuyer(), CollectorRegistry()
    report = SettlementReport(SettlementStatus("bank", ""), 4, 30, {"expired": 2}, None)
    registry.register(PaymentState(seller.tabs, buyer.tabs, lambda: START, lambda: report))
    told = {
        name: registry.get_sample_value(f"fastmarket_settlement_{name}")
        for name in ("covered_tabs", "claimed_total")
    }
    assert told == {"covered_tabs": 4, "claimed_total": 30}
    unclaimed = {"reason": "expired"}
    assert registry.get_sample_value("fastmarket_settlement_unclaimed_total", unclaimed) == 2


def test_what_is_paid_unpaid_and_lost_is_told() -> None:
    seller, buyer, other = VirtualSeller(), VirtualBuyer(), VirtualBuyer(1001)
    registry = CollectorRegistry()
    registry.register(PaymentState(seller.tabs, buyer.tabs, lambda: START))

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"fastmarket_payments_{name}", labels)

    buyer.fetch(seller, 10, START)
    paid = seller.tabs.totals.paid_amount
    offer = other.tabs.offer(CONTENT, seller.peer_id, 3)
    other.fetch_block(seller, 0, offer, START, Purchase())
    assert value("paid_bytes_total") == 10 * BLOCK_BYTES
    assert value("earned_total") == value("spent_today") == paid > 0
    assert value("receipts_total") == seller.tabs.totals.receipts
    assert value("unpaid_bytes") == BLOCK_BYTES
    assert value("credit_bytes") == seller.config.credit.stranger_bytes
    assert value("refused_total", reason="session") == 2
    assert value("defaults_total", reason="unpaid") == 0
    seller.tabs.handle_timer(START + HOUR_S + 1)
    assert value("defaults_total", reason="unpaid") == 1
    assert value("defaults_total", reason="fraud") == 0
    assert value("lost_bytes_total") == BLOCK_BYTES
    assert value("unpaid_bytes") == value("credit_bytes") == 0
