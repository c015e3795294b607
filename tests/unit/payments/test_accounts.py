"""Accounts and purses that leave the memory while somebody holds them, or while the disk writes them."""

from __future__ import annotations

import gc

from fastmarket.config.payments import CreditPolicy, PaymentConfig
from fastmarket.payments.rows import SellerRow
from fastmarket.payments.seller import CheckedReceipt
from tests.virtual.payments import BLOCK_BYTES, CONTENT, START, Purchase, VirtualBuyer, VirtualSeller

SMALL = PaymentConfig(credit=CreditPolicy(max_accounts=4), max_sellers=4)


def served(buyer: VirtualBuyer, seller: VirtualSeller, blocks: int) -> None:
    offer = buyer.tabs.offer(CONTENT, seller.peer_id, 3)
    for number in range(blocks):
        assert buyer.fetch_block(seller, number, offer, START, Purchase())


def crowd(seller: VirtualSeller) -> None:
    """Others come until nobody from before is in memory."""
    for number in range(2000, 2008):
        served(VirtualBuyer(number), seller, 1)
        seller.flush()


def unpaid(rows: list[SellerRow]) -> list[int]:
    return [sum(owed.served for owed in row.owed) for row in rows]


def test_an_account_that_leaves_while_it_is_written_forgets_nothing() -> None:
    seller, buyer = VirtualSeller(config=SMALL), VirtualBuyer()
    served(buyer, seller, 4)
    rows = seller.tabs.poll_changes()  # on their way to a slow disk
    assert unpaid(rows) == [4 * BLOCK_BYTES]
    crowd(seller)
    assert seller.tabs.find(buyer.peer_id) is None
    served(buyer, seller, 4)
    assert unpaid(seller.tabs.poll_changes()) == [8 * BLOCK_BYTES]


def test_one_that_could_not_be_written_is_written_as_it_is_now() -> None:
    seller, buyer = VirtualSeller(config=SMALL), VirtualBuyer()
    served(buyer, seller, 4)
    first = seller.tabs.poll_changes()
    crowd(seller)
    served(buyer, seller, 4)
    second = seller.tabs.poll_changes()
    seller.tabs.on_write_failed(first)
    seller.tabs.on_write_failed(second)
    assert unpaid(seller.tabs.poll_changes()) == [8 * BLOCK_BYTES]


def test_an_account_that_leaves_while_its_receipt_is_written_is_the_one_that_comes_back() -> None:
    seller, buyer = VirtualSeller(config=SMALL), VirtualBuyer()
    served(buyer, seller, 8)
    purse = buyer.purse(seller)
    buyer.sign(purse, START, final=True)
    checked = seller.tabs.check_receipt(purse.receipt, START)
    assert isinstance(checked, CheckedReceipt)
    crowd(seller)
    seller.flush()  # what it was before the receipt is not written after it
    buyer.receipt = lambda purse: b""  # type: ignore[method-assign]
    served(buyer, seller, 2)
    assert checked.row is not None
    seller.disk.put(checked.row)
    seller.tabs.confirm_receipt(checked.account, START)
    seller.flush()
    row = seller.disk.rows[buyer.peer_id.raw, "unit"]
    assert (row.seq, row.paid_bytes, unpaid([row])) == (1, 8 * BLOCK_BYTES, [2 * BLOCK_BYTES])


def test_what_is_taken_back_of_an_account_that_left_is_its_own() -> None:
    seller, buyer = VirtualSeller(config=SMALL), VirtualBuyer()
    served(buyer, seller, 4)
    seller.flush()
    account = seller.tabs.find(buyer.peer_id)
    assert account is not None
    crowd(seller)
    served(buyer, seller, 1)
    offer = buyer.tabs.offer(CONTENT, seller.peer_id, 3)
    seller.tabs.on_unsent(account, offer, BLOCK_BYTES, START)  # of an answer that was under way all the time
    seller.flush()
    assert unpaid([seller.disk.rows[buyer.peer_id.raw, "unit"]]) == [4 * BLOCK_BYTES]


def test_nothing_is_kept_of_who_left_and_is_written() -> None:
    seller = VirtualSeller(config=SMALL)
    crowd(seller)
    gc.collect()
    assert len(seller.tabs._accounts._held) == SMALL.credit.max_accounts
    assert len(seller.tabs._accounts._written) == 0


def test_two_purchases_of_one_seller_sign_out_of_one_purse() -> None:
    """Otherwise both sign a receipt of the same number: a proof of fraud."""
    buyer = VirtualBuyer(config=SMALL)
    sellers = [VirtualSeller(number) for number in range(1, 10)]
    purse = buyer.purse(sellers[0])
    for seller in sellers[1:]:
        served(buyer, seller, 1)
        buyer.flush()
    assert buyer.purse(sellers[0]) is purse
    served(buyer, sellers[0], 2)
    buyer.tabs.poll_changes()  # on their way to a slow disk
    del purse
    for seller in sellers[1:]:
        buyer.purse(seller)
    gc.collect()
    assert buyer.purse(sellers[0]).due


def test_what_a_buyer_could_not_write_is_written_later() -> None:
    buyer, seller = VirtualBuyer(), VirtualSeller()
    served(buyer, seller, 2)
    rows = buyer.tabs.poll_changes()
    assert [one.verified for row in rows for one in row.due] == [2 * BLOCK_BYTES]
    buyer.tabs.on_write_failed(rows)
    assert [row.due for row in buyer.tabs.poll_changes()] == [row.due for row in rows]
    assert buyer.tabs.poll_changes() == []
