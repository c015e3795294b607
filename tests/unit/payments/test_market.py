"""A market in which three of ten on either side cheat: losses are bounded, and who is honest is served."""

from __future__ import annotations

import pytest

from fastmarket.config.payments import PaymentConfig
from tests.virtual.cheats import BUYERS, SELLERS, VirtualSeller, run
from tests.virtual.payments import START, VirtualBuyer

CONFIG = PaymentConfig()


def test_losses_are_bounded_and_honest_pairs_finish() -> None:
    found = run(300, seed=7)
    assert found.honest > 100
    assert found.unfinished == []
    assert found.seller_bound_broken == []
    assert found.seller_loss <= CONFIG.credit.stranger_bytes
    assert found.buyer_loss <= CONFIG.window_bytes
    assert found.lost_by["VirtualBuyer"] == 0
    assert found.lost_by.total() > 0  # the cheats did cheat
    assert found.refused.total() > 0


@pytest.mark.parametrize("kind", BUYERS, ids=lambda kind: kind.__name__)
def test_each_way_to_cheat_as_a_buyer_ends(kind: type[VirtualBuyer]) -> None:
    """However long it goes on: no more than the credit is lost."""
    shop, buyer = VirtualSeller(), kind(5000)
    for number in range(8):
        buyer.fetch(shop, 40, START + number)
    lost = shop.served_bytes - shop.paid_bytes(buyer.peer_id)
    assert lost <= CONFIG.credit.stranger_bytes + shop.paid_bytes(buyer.peer_id)


@pytest.mark.parametrize("kind", SELLERS, ids=lambda kind: kind.__name__)
def test_each_way_to_cheat_as_a_seller_ends(kind: type[VirtualSeller]) -> None:
    """However long it goes on: no more than one window is paid for without having been verified."""
    shop, buyer = kind(1), VirtualBuyer(5000)
    for number in range(8):
        buyer.fetch(shop, 40, START + number)
    assert buyer.purse(shop).unverified <= CONFIG.window_bytes
