"""A buyer and a seller who are honest: all is paid for, both count the same, whatever happens between."""

from __future__ import annotations

from fastmarket.config.payments import CreditPolicy, PaymentConfig
from fastmarket.formats.price import cost_of
from fastmarket.payments.ledger import Debt
from fastmarket.payments.reasons import Reason
from fastmarket.payments.receipt import open_receipt
from tests.virtual.payments import BLOCK_BYTES, CONTENT, START, Purchase, VirtualBuyer, VirtualSeller

MIB = 1 << 20


def agree(buyer: VirtualBuyer, seller: VirtualSeller) -> tuple[int, int]:
    """Bytes and amount, as both have them."""
    theirs = seller.disk.rows[buyer.peer_id.raw, "unit"]
    ours = buyer.purse(seller)
    assert (theirs.seq, theirs.paid_bytes, theirs.paid_amount) == (
        ours.seq,
        ours.paid_bytes,
        ours.paid_amount,
    )
    return theirs.paid_bytes, theirs.paid_amount


def test_all_is_paid_for_and_both_count_the_same() -> None:
    buyer, seller = VirtualBuyer(), VirtualSeller()
    done = buyer.fetch(seller, 100, START)
    assert (done.why, done.verified) == ("", 100 * BLOCK_BYTES)
    assert seller.served_bytes == 100 * BLOCK_BYTES
    paid_bytes, amount = agree(buyer, seller)
    assert paid_bytes == 100 * BLOCK_BYTES
    row = seller.disk.rows[buyer.peer_id.raw, "unit"]
    assert cost_of(paid_bytes, 3) <= amount < cost_of(paid_bytes, 3) + row.seq  # rounded up once a receipt
    assert open_receipt(row.receipt).sums == (paid_bytes, amount)
    assert seller.tabs.totals.paid_bytes == paid_bytes
    assert done.refusals == [Reason.SESSION]  # the first request, and never because of the credit


def test_a_second_fetch_goes_on_with_the_same_tab() -> None:
    buyer, seller = VirtualBuyer(), VirtualSeller()
    for _ in range(3):
        assert buyer.fetch(seller, 10, START).why == ""
    assert agree(buyer, seller)[0] == 30 * BLOCK_BYTES


def test_credit_grows_with_what_was_paid_and_not_faster() -> None:
    buyer, seller = VirtualBuyer(), VirtualSeller()
    given = []
    for _ in range(12):
        buyer.fetch(seller, 16, START)
        row = seller.disk.rows[buyer.peer_id.raw, "unit"]
        assert row.credit <= row.paid_bytes + 4 * MIB
        given.append(row.credit // MIB)
    assert given[0] == 8
    assert given[-1] == 32
    many = VirtualSeller(2, PaymentConfig(credit=CreditPolicy(max_bytes=16 * MIB)))
    for _ in range(12):
        buyer.fetch(many, 16, START)
    assert many.disk.rows[buyer.peer_id.raw, "unit"].credit == 16 * MIB


def test_a_buyer_that_lost_everything_begins_another_tab_and_owes_what_it_owed() -> None:
    buyer, seller = VirtualBuyer(), VirtualSeller()
    buyer.fetch(seller, 10, START)
    offer = buyer.tabs.offer(CONTENT, seller.peer_id, 3)
    again = VirtualBuyer()
    again.entropy.random()  # another salt
    done = again.fetch(seller, 10, START + 1)
    assert done.why == ""
    seller.flush()
    row = seller.disk.rows[buyer.peer_id.raw, "unit"]
    assert (len(row.earlier), row.total_bytes, row.paid_bytes) == (1, 10 * BLOCK_BYTES, 10 * BLOCK_BYTES)
    assert offer.hash == again.tabs.offer(CONTENT, seller.peer_id, 3).hash


def test_tabs_of_one_buyer_have_a_bound() -> None:
    seller = VirtualSeller(config=PaymentConfig(credit=CreditPolicy(max_tabs_per_buyer=2)))
    ends = []
    for number in range(3):
        buyer = VirtualBuyer()
        for _ in range(number):
            buyer.entropy.random()
        ends.append(buyer.fetch(seller, 5, START + number).why)
    assert ends == ["", "", "tabs"]


def test_a_crash_of_either_side_loses_no_receipt() -> None:
    buyer, seller = VirtualBuyer(), VirtualSeller()
    for number in range(20):
        assert buyer.fetch(seller, 9, START + number).why == ""
        (buyer if number % 2 else seller).crash()
    assert agree(buyer, seller)[0] == 180 * BLOCK_BYTES


def test_bytes_that_came_before_a_crash_of_the_buyer_are_paid_for_afterwards() -> None:
    buyer, seller = VirtualBuyer(), VirtualSeller()
    buyer.fetch(seller, 4, START)
    offer = buyer.tabs.offer(CONTENT, seller.peer_id, 3)
    done = Purchase()
    for number in range(12):  # 3 MiB, of which no receipt says anything
        assert buyer.fetch_block(seller, number, offer, START, done)
    buyer.crash()
    assert buyer.fetch(seller, 20, START + 1).why == ""
    assert agree(buyer, seller)[0] == (4 + 12 + 20) * BLOCK_BYTES
    assert buyer.purse(seller).unverified == 12 * BLOCK_BYTES


def test_a_default_halves_the_credit_and_what_is_paid_later_counts() -> None:
    buyer, seller = VirtualBuyer(), VirtualSeller()
    offer = buyer.tabs.offer(CONTENT, seller.peer_id, 3)
    done = Purchase()
    for number in range(15):
        buyer.fetch_block(seller, number, offer, START, done)
    at = seller.tabs.next_timer()
    assert at == START + 3600
    seller.tabs.handle_timer(at)
    assert (seller.tabs.totals.defaults, seller.tabs.totals.lost_bytes) == (1, 15 * BLOCK_BYTES)
    seller.flush()
    row = seller.disk.rows[buyer.peer_id.raw, "unit"]
    assert (row.credit, row.defaults, row.owed[0].lost) == (2 * MIB, 1, 15 * BLOCK_BYTES)
    assert buyer.fetch(seller, 5, at + 1).why == ""  # it comes back, and pays all
    seller.flush()
    row = seller.disk.rows[buyer.peer_id.raw, "unit"]
    assert (row.owed, row.paid_bytes) == ((), 20 * BLOCK_BYTES)


def test_who_never_pays_gets_six_mebibytes_and_then_nothing() -> None:
    buyer, seller = VirtualBuyer(), VirtualSeller()
    buyer.receipt = lambda purse: b""  # type: ignore[method-assign]
    now, got = START, 0
    for _ in range(6):
        got += buyer.fetch(seller, 1000, now).verified
        now += 3601
        seller.tabs.handle_timer(now)
    assert got <= 6 * MIB
    assert seller.served_bytes <= 6 * MIB


def test_forgiven_and_blocked() -> None:
    buyer, seller = VirtualBuyer(), VirtualSeller()
    assert seller.tabs.forgive(buyer.peer_id, START) is None
    offer = buyer.tabs.offer(CONTENT, seller.peer_id, 3)
    buyer.fetch_block(seller, 0, offer, START, Purchase())
    assert seller.tabs.forgive(buyer.peer_id, START) == Debt(BLOCK_BYTES, 1)
    assert seller.tabs.unpaid_bytes == 0
    seller.tabs.block(buyer.peer_id, blocked=True, now=START)
    assert buyer.fetch(seller, 1, START).why == "peer"
    seller.tabs.block(buyer.peer_id, blocked=False, now=START)
    assert buyer.fetch(seller, 1, START).why == ""


def test_a_budget_of_a_day_is_never_exceeded() -> None:
    buyer, seller = VirtualBuyer(config=PaymentConfig(budget_per_day=10)), VirtualSeller()
    done = buyer.fetch(seller, 100, START)
    assert done.why == "budget"
    purse = buyer.purse(seller)
    assert purse.paid_amount + purse.pending_cost <= 10
    buyer.crash()  # the day is not forgotten
    assert buyer.fetch(seller, 100, START).why == "budget"
    assert buyer.fetch(seller, 5, START + 86_400).why == ""
