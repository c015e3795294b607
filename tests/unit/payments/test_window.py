"""How much a buyer pays at once, and at most for what it did not verify."""

from __future__ import annotations

import pytest

from fastmarket.config import PaymentConfig
from fastmarket.payments.receipt import open_receipt
from tests.virtual.payments import BLOCK_BYTES, START, VirtualBuyer, VirtualSeller

MIB = 1 << 20
CONFIG = PaymentConfig()


@pytest.mark.parametrize(("bought", "window"), [(0, 4), (64, 4), (160, 10), (1024, 64), (1 << 20, 64)])
def test_the_window_is_a_part_of_what_was_bought(bought: int, window: int) -> None:
    assert CONFIG.window(bought * MIB) == window * MIB


def test_a_receipt_comes_before_the_highest_credit_is_used_up() -> None:
    assert CONFIG.max_window_bytes <= CONFIG.credit.max_bytes * CONFIG.pay_fraction


def test_receipts_are_fewer_and_larger_as_more_is_bought() -> None:
    buyer, seller = VirtualBuyer(), VirtualSeller()
    purse, counts = buyer.purse(seller), []
    for _ in range(4):
        before = purse.seq
        done = buyer.fetch(seller, 128 * MIB // BLOCK_BYTES, START)
        assert done.verified == 128 * MIB
        counts.append(purse.seq - before)
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > 2 * counts[-1]
    assert open_receipt(purse.receipt).cumulative_bytes == 512 * MIB
    assert purse.unverified_left == CONFIG.window(512 * MIB)
