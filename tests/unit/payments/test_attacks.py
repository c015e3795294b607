"""The ways to cheat that are known: each is refused with a reason that names the field, and costs the other
side no more than what is promised."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from fastmarket.config.payments import CreditPolicy, PaymentConfig
from fastmarket.errors import CallerFault
from fastmarket.formats.cid import sha256_multihash
from fastmarket.payments.purse import Purse
from fastmarket.payments.reasons import Reason
from fastmarket.payments.receipt import Receipt, open_receipt
from fastmarket.payments.rows import SellerRow
from fastmarket.payments.seller import CheckedReceipt
from fastmarket.payments.session import TabOpening, Ticket
from fastmarket.payments.tab import MAX_SUM, PricedOffer, Tab
from fastmarket.payments.x402 import Payment, TabState, decode_terms, encode_payment, encode_state
from tests.virtual.payments import (
    BLOCK_BYTES,
    CONTENT,
    START,
    Purchase,
    VirtualBuyer,
    VirtualSeller,
    identity,
)

MIB = 1 << 20


def served(buyer: VirtualBuyer, seller: VirtualSeller, blocks: int, now: float = START) -> PricedOffer:
    """So many blocks came, and none is paid for."""
    offer = buyer.tabs.offer(CONTENT, seller.peer_id, seller.prices[CONTENT])
    for number in range(blocks):
        assert buyer.fetch_block(seller, number, offer, now, Purchase())
    return offer


def signed(buyer: VirtualBuyer, seller: VirtualSeller, **changes: object) -> bytes:
    """A receipt for what came, but for these fields."""
    purse = buyer.purse(seller)
    (offer_hash, due), *_ = purse.due.items()
    offer = PricedOffer(offer_hash, due.price)
    until = int(START + buyer.config.receipt_valid_s)
    receipt = replace(purse.next_receipt(offer, due.verified, until), **changes)
    return receipt.sign(identity_of(buyer, receipt))


def identity_of(buyer: VirtualBuyer, receipt: Receipt) -> object:
    assert receipt.tab.buyer == buyer.peer_id
    return buyer.identity


def verdict(seller: VirtualSeller, raw: bytes, now: float = START) -> Reason | None:
    """None: it counts."""
    found = seller.tabs.check_receipt(raw, now)
    if isinstance(found, Reason):
        assert seller.tabs.refused[found] > 0
        return found
    assert isinstance(found, CheckedReceipt)
    if found.row is not None:
        seller.disk.put(found.row)
        seller.tabs.confirm_receipt(found.account, now)
    return None


def row_of(buyer: VirtualBuyer, seller: VirtualSeller) -> SellerRow:
    seller.flush()
    return seller.disk.rows[buyer.peer_id.raw, "unit"]


# --- 1. an old receipt again


def test_a_receipt_that_is_replayed_pays_for_nothing() -> None:
    buyer, seller = VirtualBuyer(), VirtualSeller()
    served(buyer, seller, 4)
    old = signed(buyer, seller)
    buyer.finish(seller, buyer.tabs.offer(CONTENT, seller.peer_id, 3), START, Purchase())
    buyer.fetch(seller, 4, START)
    served(buyer, seller, 8)
    before = row_of(buyer, seller)
    assert verdict(seller, old) is Reason.SEQ
    assert verdict(seller, before.receipt) is None  # the newest again: it counts once
    assert row_of(buyer, seller) == before


def test_nor_on_a_tab_that_was_left_and_is_opened_again() -> None:
    buyer, seller = VirtualBuyer(), VirtualSeller()
    buyer.fetch(seller, 16, START)
    old = buyer.purse(seller)
    receipt = row_of(buyer, seller).receipt
    for tab in (replace(old.tab, salt=bytes(16)), old.tab):
        old.tab = tab
        opened = open_with(buyer, seller)
        if tab.salt == bytes(16):
            assert opened is None
            served(buyer, seller, 8)
    assert opened is Reason.TAB
    assert verdict(seller, receipt) is Reason.TAB
    assert sum(one.served for one in row_of(buyer, seller).owed) == 8 * BLOCK_BYTES


def open_with(buyer: VirtualBuyer, seller: VirtualSeller) -> Reason | None:
    """What the seller says to the opening of a session on the tab in the purse."""
    raw = buyer.tabs.open_session(buyer.purse(seller), seller.tabs.session_key, bytes(range(32)), START)
    assert raw is not None
    return seller.tabs.open_session(raw, buyer.host, START)


# --- 2. two receipts of one number


@pytest.mark.parametrize("field", ["cumulative_bytes", "cumulative_amount"])
def test_two_receipts_of_one_number_are_a_proof_that_is_kept(field: str) -> None:
    buyer, seller = VirtualBuyer(), VirtualSeller()
    served(buyer, seller, 4)
    first, second = signed(buyer, seller), signed(buyer, seller, **{field: 9 * MIB})
    assert verdict(seller, first) is None
    assert verdict(seller, second) is Reason.FRAUD
    assert row_of(buyer, seller).proof == (first, second)
    assert row_of(buyer, seller).is_blocked
    assert {open_receipt(one).seq for one in row_of(buyer, seller).proof} == {1}
    seller.crash()  # it stays known
    assert buyer.fetch(seller, 1, START).why == "peer"
    assert verdict(seller, first) is Reason.PEER


def test_the_second_one_comes_while_the_first_is_being_written() -> None:
    buyer, seller = VirtualBuyer(), VirtualSeller()
    served(buyer, seller, 4)
    first, second = signed(buyer, seller), signed(buyer, seller, cumulative_amount=5)
    assert isinstance(seller.tabs.check_receipt(first, START), CheckedReceipt)
    assert seller.tabs.check_receipt(second, START) is Reason.FRAUD
    assert seller.tabs.check_receipt(first, START) is Reason.PEER


# --- 3. a receipt for somebody else


def test_a_receipt_for_another_seller_does_not_count() -> None:
    buyer, seller, other = VirtualBuyer(), VirtualSeller(), VirtualSeller(2)
    served(buyer, seller, 4)
    served(buyer, other, 4)
    assert verdict(other, signed(buyer, seller)) is Reason.SELLER


def test_nor_one_of_another_currency_or_tab() -> None:
    buyer, seller = VirtualBuyer(), VirtualSeller()
    served(buyer, seller, 4)
    tab = buyer.purse(seller).tab
    assert verdict(seller, signed(buyer, seller, tab=replace(tab, currency="shells"))) is Reason.CURRENCY
    assert verdict(seller, signed(buyer, seller, tab=replace(tab, salt=bytes(16)))) is Reason.SESSION
    stranger = VirtualBuyer(1001)
    served(stranger, VirtualSeller(3), 4)
    unknown = Receipt(Tab(stranger.peer_id, seller.peer_id, "unit", bytes(16)), 1, 5, 5, bytes(32), 1 << 40)
    assert verdict(seller, unknown.sign(stranger.identity)) is Reason.SESSION


def test_a_forged_receipt_does_not_count() -> None:
    buyer, seller = VirtualBuyer(), VirtualSeller()
    served(buyer, seller, 4)
    raw = signed(buyer, seller)
    assert verdict(seller, raw[:-1] + bytes((raw[-1] ^ 1,))) is Reason.SIGNATURE
    assert verdict(seller, raw[:40]) in (Reason.RECEIPT, Reason.SIGNATURE)
    assert verdict(seller, raw + bytes(5000)) is Reason.RECEIPT
    with pytest.raises(CallerFault, match="tab"):
        open_receipt(raw).sign(identity(77))


def test_a_ticket_cannot_be_borrowed() -> None:
    """Who overhears all requests of a buyer gets nothing on its tab: not by sending one again, not for
    another block, not with its opening, and not with a key of its own."""
    buyer, seller = VirtualBuyer(), VirtualSeller()
    purse, sent = buyer.purse(seller), list[str]()
    real = seller.request

    def overheard(header: str, *rest: object) -> tuple[str, str]:
        sent.append(header)
        return real(header, *rest)  # type: ignore[arg-type]

    seller.request = overheard  # type: ignore[method-assign]
    served(buyer, seller, 3)
    before = seller.served_bytes
    block = sha256_multihash((2).to_bytes(4, "big"))
    for header in sent:
        for wanted in (block, sha256_multihash(b"another")):
            told, _ = real(header, wanted, BLOCK_BYTES, START)
            assert not told
    assert seller.served_bytes == before
    thief = identity(666)
    opening = TabOpening(purse.tab, seller.tabs.session_key, bytes(range(32)), 1 << 50)
    with pytest.raises(CallerFault, match="tab"):
        opening.sign(thief)
    assert seller.tabs.open_session(b"", "", START) is Reason.OPENING
    made = Ticket.made(bytes(32), purse.tab.id, 9, 3, CONTENT, block).encode()
    _, required = real(encode_payment(Payment(made)), block, BLOCK_BYTES, START)
    assert decode_terms(required).reason is Reason.TICKET
    buyer.fetch(seller, 3, START)  # the buyer itself goes on
    seller.crash()  # another key: nothing of the run before opens anything
    for header in sent:
        told, _ = real(header, block, BLOCK_BYTES, START)
        assert not told


# --- 4. sums that do not fit


def test_sums_have_a_bound() -> None:
    buyer, seller = VirtualBuyer(), VirtualSeller(price=2_000_000)
    served(buyer, seller, 4)
    raw = signed(buyer, seller, cumulative_bytes=MAX_SUM, cumulative_amount=MAX_SUM)
    assert verdict(seller, raw) is Reason.AMOUNT  # the bytes cost more than any sum
    with pytest.raises(CallerFault, match="cumulative_amount"):
        signed(buyer, seller, cumulative_amount=MAX_SUM + 1)
    purse = buyer.purse(seller)
    purse.paid_amount = MAX_SUM
    with pytest.raises(CallerFault, match="cumulative_amount"):
        buyer.tabs.next_receipt(purse, START, final=True)
    assert purse.seq == 0  # nothing was signed


@pytest.mark.parametrize("field", ["seq", "cumulative_bytes", "cumulative_amount", "valid_until"])
def test_a_number_of_64_bits_is_refused_by_its_name(field: str) -> None:
    from fastmarket.formats.envelope import seal
    from fastmarket.payments.receipt import RECEIPT_DOMAIN, RECEIPT_PAYLOAD_TYPE
    from fastmarket.pb.fastmarket.v1 import receipt_pb2

    buyer, seller = VirtualBuyer(), VirtualSeller()
    tab = buyer.purse(seller).tab
    message = receipt_pb2.Receipt(
        tab=tab.id,
        seller=tab.seller.raw,
        currency=tab.currency,
        salt=tab.salt,
        seq=1,
        cumulative_bytes=1,
        cumulative_amount=1,
        offer_hash=bytes(32),
        valid_until=1 << 40,
    )
    setattr(message, field, MAX_SUM + 1)
    raw = seal(buyer.identity, RECEIPT_DOMAIN, RECEIPT_PAYLOAD_TYPE, message.SerializeToString())
    assert verdict(seller, raw) is Reason(field)


def test_less_than_the_bytes_cost_or_fewer_bytes_than_before_do_not_count() -> None:
    buyer, seller = VirtualBuyer(), VirtualSeller()
    served(buyer, seller, 4)
    assert verdict(seller, signed(buyer, seller, cumulative_amount=3)) is Reason.AMOUNT  # ceil(3.1)
    assert verdict(seller, signed(buyer, seller, cumulative_bytes=0)) is Reason.BYTES
    assert verdict(seller, signed(buyer, seller, seq=0)) is Reason.SEQ
    assert verdict(seller, signed(buyer, seller)) is None


# --- 5. clocks


def test_an_expired_receipt_does_not_count_and_clocks_may_be_a_day_apart() -> None:
    buyer, seller = VirtualBuyer(), VirtualSeller()
    served(buyer, seller, 4)
    assert verdict(seller, signed(buyer, seller, valid_until=int(START))) is Reason.EXPIRED
    for ahead in (-86_400.0, 86_400.0):
        other = VirtualSeller(5)
        assert VirtualBuyer(7).fetch(other, 20, START).why == ""
        assert VirtualBuyer(8).fetch(other, 20, START + ahead).why == ""


def test_a_clock_that_goes_back_stops_nobody() -> None:
    buyer, seller = VirtualBuyer(), VirtualSeller()
    for now in (START, START - 86_400, START + 5):
        assert buyer.fetch(seller, 20, now).why == ""
        buyer.flush(closing=True)
        buyer.crash()
        seller.tabs.handle_timer(now)
    assert seller.tabs.totals.defaults == 0


# --- 6. just before it would have to pay


def test_a_thousand_strangers_of_one_block_get_no_more_than_its_hour() -> None:
    seller = VirtualSeller()
    policy = seller.config.credit
    for number in range(1000):
        thief = VirtualBuyer(5000 + number, host=f"198.51.{number % 256}.{number // 256}")
        thief.receipt = lambda purse: b""  # type: ignore[method-assign]
        offer = thief.tabs.offer(CONTENT, seller.peer_id, 3)
        for block in range(15):  # credit - 1 block
            if not thief.fetch_block(seller, block, offer, START + number, Purchase()):
                break
    assert seller.tabs.unpaid_bytes <= policy.block_hour_bytes
    assert seller.served_bytes <= policy.block_hour_bytes
    honest = VirtualBuyer(99, host="203.0.113.5")  # of another block
    assert honest.fetch(seller, 40, START + 1000).why == ""
    later = VirtualBuyer(98, host="198.51.100.1")
    assert later.fetch(seller, 40, START + 4000).why == ""


def test_an_honest_stranger_gives_the_hour_back_as_it_pays() -> None:
    policy = CreditPolicy(block_hour_bytes=5 * MIB)
    seller = VirtualSeller(config=PaymentConfig(credit=policy))
    for number in range(10):
        assert VirtualBuyer(5000 + number, host="198.51.100.7").fetch(seller, 16, START).why == ""


def test_strangers_of_all_blocks_together_have_a_bound() -> None:
    policy = CreditPolicy(all_hour_bytes=10 * MIB)
    seller = VirtualSeller(config=PaymentConfig(credit=policy))
    for number in range(20):
        thief = VirtualBuyer(5000 + number, host=f"{number + 1}.0.0.1")
        thief.receipt = lambda purse: b""  # type: ignore[method-assign]
        thief.fetch(seller, 16, START)
    assert seller.served_bytes <= 10 * MIB


# --- 7. garbage after payment


def test_garbage_is_not_paid_for_beyond_one_window() -> None:
    """The seller sends wrong blocks, and says that they were right."""
    buyer, seller = VirtualBuyer(), VirtualSeller()
    buyer.fetch(seller, 20, START)
    paid = buyer.purse(seller).paid_bytes
    offer = buyer.tabs.offer(CONTENT, seller.peer_id, 3)
    purse = buyer.purse(seller)
    for _ in range(200):
        buyer.tabs.on_asked(purse, offer, BLOCK_BYTES)
        buyer.tabs.on_given_up(purse, offer, BLOCK_BYTES, may_have_come=True)
        buyer.tabs.on_claim(purse, offer, 1 << 40)
        buyer.sign(purse, START, final=True)
        buyer.tabs.on_accepted(purse, purse.seq, 1 << 40)
    assert purse.paid_bytes - paid <= buyer.config.window_bytes
    assert purse.unverified <= buyer.config.window_bytes


def test_claims_of_what_was_never_asked_for_are_not_paid() -> None:
    buyer, seller = VirtualBuyer(), VirtualSeller()
    buyer.fetch(seller, 20, START)
    purse, offer = buyer.purse(seller), buyer.tabs.offer(CONTENT, seller.peer_id, 3)
    assert buyer.tabs.on_claim(purse, offer, 1 << 40) == 0
    assert buyer.tabs.next_receipt(purse, START, final=True) is None
    with pytest.raises(CallerFault, match="seq"):
        buyer.tabs.on_accepted(purse, purse.seq + 1, 1)


# --- 8. another price in the middle


def test_another_price_needs_consent_and_a_receipt_of_its_own() -> None:
    buyer, seller = VirtualBuyer(), VirtualSeller()
    served(buyer, seller, 5)
    seller.prices[CONTENT] = 1000
    offer = buyer.tabs.offer(CONTENT, seller.peer_id, 3)
    done = Purchase()
    assert not buyer.fetch_block(seller, 9, offer, START, done)
    assert (done.why, done.verified) == ("price", 0)
    buyer.finish(seller, offer, START, done)
    at_3 = 5 * BLOCK_BYTES
    assert buyer.purse(seller).paid_amount == offer.cost(at_3) == 4
    assert buyer.fetch(seller, 5, START, price=1000).why == ""
    purse = buyer.purse(seller)
    dear = PricedOffer(b"", 1000)
    assert purse.paid_amount == 4 + dear.cost(at_3)  # of two receipts, the first in whole units
    assert row_of(buyer, seller).paid_amount == purse.paid_amount


def test_bytes_of_a_dear_offer_cannot_be_paid_as_those_of_a_cheap_one() -> None:
    buyer, seller = VirtualBuyer(), VirtualSeller(price=1)
    cheap = served(buyer, seller, 1)
    seller.prices[CONTENT] = 1000
    served(buyer, seller, 8)
    raw = signed(buyer, seller, offer_hash=cheap.hash, cumulative_bytes=9 * BLOCK_BYTES, cumulative_amount=3)
    assert verdict(seller, raw) is None  # more than was asked of the cheap one, and its own loss
    assert [one.price for one in row_of(buyer, seller).owed] == [1000]
    assert row_of(buyer, seller).owed[0].served == 8 * BLOCK_BYTES


# --- 9. a receipt that a crash loses


def test_a_receipt_counts_only_when_it_is_on_disk() -> None:
    buyer, seller = VirtualBuyer(), VirtualSeller()
    served(buyer, seller, 10)
    seller.flush()
    raw = signed(buyer, seller)
    assert isinstance(seller.tabs.check_receipt(raw, START), CheckedReceipt)
    assert seller.tabs.unpaid_bytes == 10 * BLOCK_BYTES  # nothing is served on it yet
    seller.flush()  # of what is being written nothing older is written over it
    seller.crash()
    assert row_of(buyer, seller).seq == 0
    assert verdict(seller, raw) is None
    seller.crash()
    assert row_of(buyer, seller).seq == 1
    assert row_of(buyer, seller).owed == ()


def test_a_buyer_sends_what_it_signed_before_a_crash_and_signs_no_other() -> None:
    buyer, seller = VirtualBuyer(), VirtualSeller()
    served(buyer, seller, 10)
    purse = buyer.purse(seller)
    signed_receipt = buyer.tabs.next_receipt(purse, START, final=True)
    assert signed_receipt is not None
    assert buyer.tabs.sendable(purse) is None  # it is not on disk
    buyer.disk.put(signed_receipt.row)
    buyer.crash()
    again = buyer.purse(seller)
    assert buyer.tabs.sendable(again) == purse.receipt
    assert buyer.tabs.next_receipt(again, START, final=True) is None
    assert buyer.fetch(seller, 5, START).why == ""
    assert row_of(buyer, seller).paid_bytes == 15 * BLOCK_BYTES
    assert row_of(buyer, seller).proof == ()


# --- 10. refused again and again


def test_a_seller_that_always_wants_more_ends_the_purchase() -> None:
    buyer, seller = VirtualBuyer(), VirtualSeller()
    buyer.fetch(seller, 4, START)
    seller.tabs.admit = lambda *args: Reason.CREDIT  # type: ignore[method-assign]
    done = buyer.fetch(seller, 100, START)
    assert done.why == "credit"
    assert done.asks <= 3
    assert buyer.purse(seller).unverified == 0


# --- 11. a full disk


def test_a_full_disk_serves_nobody_and_forgets_nothing() -> None:
    buyer, seller = VirtualBuyer(), VirtualSeller()
    served(buyer, seller, 10)
    seller.flush()
    seller.disk.is_full = True
    raw = signed(buyer, seller)
    payment = Payment(b"", raw)
    assert seller.take(payment, "", START) is Reason.DISK
    assert VirtualBuyer(2).fetch(seller, 1, START).why == "disk"
    assert seller.tabs.unpaid_bytes == 10 * BLOCK_BYTES
    seller.disk.is_full = False
    assert seller.take(payment, "", START) is None  # it may come again
    assert seller.tabs.unpaid_bytes == 0
    assert VirtualBuyer(2).fetch(seller, 1, START).why == ""


def test_what_could_not_be_written_is_written_later() -> None:
    buyer, seller = VirtualBuyer(), VirtualSeller()
    served(buyer, seller, 10)
    rows = seller.tabs.poll_changes()
    seller.tabs.on_write_failed(rows)
    assert [one.owed for one in seller.tabs.poll_changes()] == [one.owed for one in rows]
    assert seller.tabs.poll_changes() == []


# --- and more


def test_receipts_for_a_byte_each_buy_no_credit() -> None:
    buyer, seller = VirtualBuyer(), VirtualSeller(price=1)
    served(buyer, seller, 15)
    for number in range(1, 30):
        raw = signed(buyer, seller, seq=number, cumulative_bytes=number, cumulative_amount=number)
        assert verdict(seller, raw) is None
    assert row_of(buyer, seller).credit == 4 * MIB


@pytest.mark.parametrize("changes", [{}, {"offer_hash": bytes(32), "cumulative_amount": 0}])
def test_bytes_paid_for_and_never_served_buy_no_credit(changes: dict[str, object]) -> None:
    """Nor those of an offer that nothing was served of, which cost nothing, and settle nothing."""
    buyer, seller = VirtualBuyer(), VirtualSeller(price=1)
    served(buyer, seller, 1)
    sums = {"cumulative_bytes": 1 << 40, "cumulative_amount": 1 << 30}
    assert verdict(seller, signed(buyer, seller, **(sums | changes))) is None
    row = row_of(buyer, seller)
    assert (row.credit, row.settled_bytes) == (4 * MIB, 0 if changes else BLOCK_BYTES)
    account = seller.tabs.find(buyer.peer_id)
    assert account is not None
    assert account.is_stranger
    assert account.unpaid == (BLOCK_BYTES if changes else 0)


def test_offers_of_one_buyer_with_something_unpaid_have_a_bound() -> None:
    seller = VirtualSeller(config=PaymentConfig(credit=CreditPolicy(max_offers_owed=3)))
    buyer = VirtualBuyer()
    buyer.receipt = lambda purse: b""  # type: ignore[method-assign]
    ends = []
    for price in range(1, 6):
        seller.prices[CONTENT] = price
        done = Purchase()
        offer = buyer.tabs.offer(CONTENT, seller.peer_id, price)
        buyer.fetch_block(seller, price, offer, START, done)
        ends.append(done.why)
    assert ends == ["", "", "", "credit", "credit"]


STATES: list[Callable[[Purse], TabState]] = [
    lambda purse: TabState(purse.seq + 7, 1 << 62, 1 << 62, 1 << 62, 1 << 62),
    lambda purse: TabState(0, 0, 0, 0, 0),
    lambda purse: TabState(purse.seq, 1 << 62, 0, 0, 1 << 62),
]


@pytest.mark.parametrize("state", STATES)
def test_whatever_a_seller_says_costs_no_more_than_was_verified(state: Callable[[Purse], TabState]) -> None:
    buyer, seller = VirtualBuyer(), VirtualSeller()
    purse = buyer.purse(seller)
    real = seller.request

    def lying(*args: object) -> tuple[str, str]:
        told, required = real(*args)  # type: ignore[arg-type]
        return (encode_state(state(purse), buyer.peer_id) if told else ""), required

    seller.request = lying  # type: ignore[method-assign]
    done = buyer.fetch(seller, 60, START)
    assert purse.paid_bytes <= done.verified


def test_fresh_identities_do_not_fill_the_disk() -> None:
    """Each one that was served has a row, and identities cost nothing."""
    seller, known, other = VirtualSeller(), VirtualBuyer(2), VirtualBuyer(3)
    served(known, seller, 1)
    seller.flush()
    seller.disk.is_full = True
    done = other.fetch(seller, 1, START)
    assert done.verified == 0
    assert seller.tabs.refused[Reason.DISK] > 0
    assert other.peer_id.raw not in [row.buyer for row in seller.tabs.poll_changes()]
    seller.disk.is_full = False
    assert other.fetch(seller, 1, START).why == ""


def test_nor_the_memory_before_rows_are_written() -> None:
    seller = VirtualSeller(config=PaymentConfig(credit=CreditPolicy(max_accounts=8)))
    for number in range(2, 30):
        VirtualBuyer(number).fetch(seller, 1, START)
    rows = seller.tabs.poll_changes()
    assert len(rows) == 8
    assert seller.tabs.refused[Reason.DISK] > 0


def test_a_thousand_that_leave_a_byte_before_their_credit_ends_cost_what_an_hour_allows() -> None:
    """Fresh identities of one /16, each of which takes its credit but for a byte, and is not seen again."""
    seller, now = VirtualSeller(), START
    policy = seller.config.credit
    for number in range(1000):
        buyer = VirtualBuyer(2000 + number, host=f"10.9.{number // 250}.{number % 250}")
        purse, left = buyer.purse(seller), policy.stranger_bytes - 1
        offer = buyer.tabs.offer(CONTENT, seller.peer_id, 3)
        opening = buyer.tabs.open_session(purse, seller.tabs.session_key, bytes(range(1, 33)), now) or b""
        while left:
            size = min(left, BLOCK_BYTES)
            told, _ = seller.request(
                encode_payment(Payment(buyer.ticket(purse, offer, CONTENT), b"", opening)),
                CONTENT,
                size,
                now,
                buyer.host,
            )
            if not told:
                break
            left -= size
        now += 1.0
    assert seller.served_bytes <= policy.block_hour_bytes
    assert seller.served_bytes > policy.block_hour_bytes - BLOCK_BYTES
    assert seller.tabs.refused[Reason.HOUR] > 900
    honest = VirtualBuyer(1, host="192.0.2.1")
    assert honest.fetch(seller, 40, now).why == ""
