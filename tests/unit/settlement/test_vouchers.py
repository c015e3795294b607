"""Vouchers travel in receipts: made by what the seller signed, and asked for by it alone."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from fastmarket.errors import PeerFault
from fastmarket.payments.backing import Backing, open_terms, sign_terms
from fastmarket.payments.reasons import Reason
from fastmarket.payments.receipt import open_receipt
from fastmarket.payments.tab import Tab
from fastmarket.payments.x402 import decode_terms, encode_terms
from tests.virtual.payments import BLOCK_BYTES, START, VirtualBuyer, VirtualSeller, identity

MIB = 1 << 20


class Hashed:
    """A voucher is a hash of what it is for: enough to see which ones are made, and which are refused."""

    def __init__(self, terms: bytes = b"gold") -> None:
        self.terms = terms

    def sign(self, tab: Tab, amount: int, terms: bytes) -> bytes:
        if terms not in (b"gold", b""):
            raise PeerFault("another metal")
        return hashlib.sha256(tab.id + b"%d" % amount + terms).digest() if terms else b""

    def check(self, tab: Tab, amount: int, voucher: bytes) -> Reason | None:
        return None if voucher == self.sign(tab, amount, b"gold") else Reason.VOUCHER_SIGNATURE


def test_each_receipt_has_a_voucher_for_all_of_it() -> None:
    seller, buyer = VirtualSeller(vouchers=Hashed()), VirtualBuyer(vouchers=Hashed())
    done = buyer.fetch(seller, 20, START)
    assert done.why == ""
    receipt = open_receipt(seller.disk.rows[buyer.peer_id.raw, "unit"].receipt)
    assert receipt.voucher == Hashed().sign(receipt.tab, receipt.cumulative_amount, b"gold")
    again = buyer.fetch(seller, 20, START + 1)
    assert (again.why, again.refusals) == ("", [])


def test_who_makes_none_is_sold_what_any_stranger_gets() -> None:
    seller, buyer = VirtualSeller(vouchers=Hashed()), VirtualBuyer()
    done = buyer.fetch(seller, 100, START)
    assert done.why == Reason.VOUCHER.value
    assert seller.served_bytes <= 4 * MIB
    assert seller.tabs.refused[Reason.VOUCHER]


def test_a_seller_without_a_settlement_gets_none() -> None:
    seller, buyer = VirtualSeller(), VirtualBuyer(vouchers=Hashed())
    assert buyer.fetch(seller, 20, START).why == ""
    assert open_receipt(seller.disk.rows[buyer.peer_id.raw, "unit"].receipt).voucher == b""


def test_a_forged_voucher_is_refused_by_name() -> None:
    class Forger(Hashed):
        def sign(self, tab: Tab, amount: int, terms: bytes) -> bytes:
            return bytes(32)

    seller, buyer = VirtualSeller(vouchers=Hashed()), VirtualBuyer(vouchers=Forger())
    assert buyer.fetch(seller, 100, START).why == "voucher_signature"
    assert seller.served_bytes <= 4 * MIB


def test_terms_of_another_are_no_reason_to_sign() -> None:
    seller, buyer = VirtualSeller(vouchers=Hashed()), VirtualBuyer(vouchers=Hashed())
    buyer.fetch(seller, 1, START)
    purse = buyer.purse(seller)
    with pytest.raises(PeerFault, match="another than the seller"):
        buyer.tabs.on_terms(purse, sign_terms(identity(7), b"gold"))
    with pytest.raises(PeerFault, match="another metal"):
        buyer.tabs.on_terms(purse, sign_terms(seller.identity, b"lead"))
    with pytest.raises(PeerFault):
        buyer.tabs.on_terms(purse, b"damaged")
    assert purse.settlement is not None
    assert open_terms(purse.settlement, seller.peer_id) == b"gold"


def test_nothing_is_signed_before_the_seller_said_how_it_settles() -> None:
    seller, buyer = VirtualSeller(vouchers=Hashed()), VirtualBuyer(vouchers=Hashed())
    purse = buyer.purse(seller)
    offer = buyer.tabs.offer(b"x", seller.peer_id, 3)
    buyer.tabs.on_asked(purse, offer, BLOCK_BYTES)
    buyer.tabs.on_verified(purse, offer, BLOCK_BYTES, BLOCK_BYTES)
    assert buyer.tabs.next_receipt(purse, START, final=True) is None
    buyer.tabs.on_terms(purse, sign_terms(seller.identity, b"gold"))
    assert buyer.tabs.next_receipt(purse, START, final=True) is not None


def test_credit_grows_by_what_is_covered() -> None:
    seller, buyer = VirtualSeller(vouchers=Hashed()), VirtualBuyer(vouchers=Hashed())
    for _ in range(4):
        assert buyer.fetch(seller, 16, START).why == ""
    account = seller.tabs.find(buyer.peer_id)
    assert account is not None
    assert (account.credit, account.is_stranger) == (4 * MIB, True)
    backings = seller.tabs.backings
    for receipt in backings.poll_wanted():
        backings.on_looked(receipt.tab, Backing(1000, START + 100), START)
    for _ in range(4):
        assert buyer.fetch(seller, 16, START + 1).why == ""
    assert account.credit > 4 * MIB
    assert not account.is_stranger
    assert buyer.fetch(seller, 16, START + 101).why == ""  # what was seen is old
    assert account.is_stranger


def test_after_a_restart_a_deposit_has_to_be_seen_again() -> None:
    seller, buyer = VirtualSeller(vouchers=Hashed()), VirtualBuyer(vouchers=Hashed())
    assert buyer.fetch(seller, 16, START).why == ""
    for is_restarted in (False, True, False):
        if is_restarted:
            seller.flush()
            seller.crash()
        backings = seller.tabs.backings
        for receipt in () if is_restarted else backings.poll_wanted():
            backings.on_looked(receipt.tab, Backing(1000, START + 100), START)
        assert buyer.fetch(seller, 32, START + 1).why == ""
        account = seller.tabs.find(buyer.peer_id)
        assert account is not None
        assert account.is_stranger == is_restarted
    seller.flush()
    seller.crash()
    seller.tabs.block(buyer.peer_id, blocked=False, now=START + 2)  # it comes from the disk
    account = seller.tabs.find(buyer.peer_id)
    assert account is not None
    assert account.is_stranger, "before any receipt"
    assert seller.tabs.backings.poll_wanted(), "and its deposit is looked at"


def test_what_is_not_covered_costs_no_more_than_strangers_do() -> None:
    seller = VirtualSeller(vouchers=Hashed())
    hour = seller.config.credit.block_hour_bytes
    served = 0
    for number in range(20):
        buyer = VirtualBuyer(5000 + number, host="192.0.2.7", vouchers=Hashed())
        done = buyer.fetch(seller, 100, START)
        served += done.verified
    assert done.why == Reason.HOUR.value
    assert served <= hour


def test_more_than_the_deposit_is_refused_until_there_is_more() -> None:
    seller, buyer = VirtualSeller(vouchers=Hashed()), VirtualBuyer(vouchers=Hashed())
    buyer.fetch(seller, 16, START)
    backings = seller.tabs.backings
    (receipt,) = backings.poll_wanted()
    backings.on_looked(receipt.tab, Backing(receipt.amount + 2, START + 1000), START)
    done = buyer.fetch(seller, 200, START + 1)
    assert done.why == Reason.DEPOSIT.value
    backings.on_looked(receipt.tab, Backing(1000, START + 1000), START + 10)
    assert buyer.fetch(seller, 200, START + 11).why == ""


def test_the_header_carries_the_terms() -> None:
    seller = VirtualSeller(vouchers=Hashed())
    _, required = seller.request(
        "eyJhY2NlcHRlZCI6eyJzY2hlbWUiOiJiYXRjaC1zZXR0bGVtZW50IiwibmV0d29yayI6ImZhc3RtYXJrZXQ6dGFiIn0sInBheWxvYWQiOnt9fQ==",
        b"block",
        1,
        START,
    )
    terms = decode_terms(required)
    assert open_terms(terms.settlement, seller.peer_id) == b"gold"
    without = replace(terms, settlement=b"")
    assert decode_terms(encode_terms(without, "/ipfs/x", 1)) == without
