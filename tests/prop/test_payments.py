"""Receipts and tabs: what is signed reads back, and whatever happens in whatever order, the sums agree."""

from __future__ import annotations

import hmac
import json
from base64 import b64decode

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from fastmarket.formats.varint import frame
from fastmarket.payments.receipt import Receipt, open_receipt
from fastmarket.payments.session import MAC_BYTES, RECENT_TICKETS, Ticket, TicketWindow
from fastmarket.payments.tab import MAX_SUM, PricedOffer, Tab
from fastmarket.payments.x402 import (
    NETWORK,
    SCHEME,
    Payment,
    TabState,
    decode_payment,
    decode_state,
    encode_payment,
    encode_state,
)
from tests.virtual.payments import (
    CONTENT,
    START,
    Purchase,
    VirtualBuyer,
    VirtualSeller,
    identity,
)

SUMS = st.integers(0, MAX_SUM)
BUYER, SELLER = identity(1), identity(2)


@given(SUMS, SUMS, SUMS, SUMS, st.binary(min_size=16, max_size=16), st.binary(min_size=32, max_size=32))
def test_receipts_read_back(
    seq: int, count: int, amount: int, until: int, salt: bytes, offer_hash: bytes
) -> None:
    tab = Tab(BUYER.peer_id, SELLER.peer_id, "unit", salt)
    receipt = Receipt(tab, seq, count, amount, offer_hash, until)
    assert open_receipt(receipt.sign(BUYER)) == receipt


@given(st.binary(max_size=200), st.binary(max_size=200), st.binary(max_size=200))
def test_payments_read_back(ticket: bytes, receipt: bytes, opening: bytes) -> None:
    payment = Payment(ticket, receipt, opening)
    assert decode_payment(encode_payment(payment)) == payment


@given(st.binary(min_size=1, max_size=200))
def test_what_is_written_without_a_json_encoder_is_x402_to_everybody(ticket: bytes) -> None:
    told = json.loads(b64decode(encode_payment(Payment(ticket)), validate=True))
    assert told["accepted"] == {"scheme": SCHEME, "network": NETWORK}
    assert b64decode(told["payload"]["ticket"], validate=True) == ticket
    state = json.loads(b64decode(encode_state(TabState(1, 2, 3, 4, 5), BUYER.peer_id), validate=True))
    assert (state["payer"], state["extensions"]["tab"]["credit"]) == (str(BUYER.peer_id), 2)


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=80), st.binary(max_size=80), SUMS)
def test_tickets_have_the_mac_of_the_standard(key: bytes, content: bytes, block: bytes, number: int) -> None:
    ticket = Ticket.made(key, bytes(32), number, 3, content, block)
    told = ticket.encode()[: -MAC_BYTES - len(content)] + frame(content) + frame(block)
    assert ticket.mac == hmac.digest(key, told, "sha256")[:MAC_BYTES]


@given(st.tuples(SUMS, SUMS, SUMS, SUMS, SUMS))
def test_states_read_back(numbers: tuple[int, int, int, int, int]) -> None:
    state = TabState(*numbers)
    assert decode_state(encode_state(state, BUYER.peer_id)) == state


@given(st.lists(st.integers(0, 3 * RECENT_TICKETS), max_size=300))
def test_a_ticket_is_taken_once(numbers: list[int]) -> None:
    window, taken, highest = TicketWindow(), set[int](), 0
    for number in numbers:
        is_new = number > 0 and number not in taken and number > highest - RECENT_TICKETS
        assert window.take(number) == is_new
        if is_new:
            taken.add(number)
            highest = max(highest, number)


@given(st.lists(st.integers(1, 1 << 40), min_size=1, max_size=20), st.integers(0, 1 << 20))
def test_rounding_costs_less_than_a_unit_for_each_receipt(parts: list[int], price: int) -> None:
    offer = PricedOffer(bytes(32), price)
    total = sum(map(offer.cost, parts))
    assert offer.cost(sum(parts)) <= total < offer.cost(sum(parts)) + len(parts)


@given(st.integers(0, 1 << 50), st.integers(0, 1 << 40))
def test_receipts_in_whole_units_lose_nothing_by_rounding(count: int, price: int) -> None:
    offer = PricedOffer(bytes(32), price)
    whole = offer.whole_units(count)
    assert 0 <= whole <= count
    assert offer.cost(whole) * 10**6 - whole * price < max(price, 1)


class PairMachine(RuleBasedStateMachine):
    """Crashes, changed prices, requests given up, and time, between an honest buyer and an honest seller."""

    def __init__(self) -> None:
        super().__init__()
        self.buyer, self.seller = VirtualBuyer(), VirtualSeller()
        self.now = START
        self.prices = [3]
        self.verified = 0
        self.drops = 0
        self.buyer.gives_up = self._gives_up  # type: ignore[method-assign]

    def _gives_up(self, number: int) -> bool:
        self.drops -= 1
        return self.drops >= 0

    @rule(blocks=st.integers(1, 40))
    def fetch(self, blocks: int) -> None:
        done = self.buyer.fetch(self.seller, blocks, self.now, self.prices[-1])
        self.verified += done.verified
        assert done.why in ("", "price", "credit"), done

    @rule(blocks=st.integers(1, 8))
    def leave_unpaid(self, blocks: int) -> None:
        done = Purchase()
        offer = self.buyer.tabs.offer(CONTENT, self.seller.peer_id, self.prices[-1])
        for number in range(blocks):
            self.buyer.fetch_block(self.seller, number, offer, self.now, done)
        self.verified += done.verified

    @rule(price=st.integers(1, 5000))
    def change_price(self, price: int) -> None:
        self.prices.append(price)
        self.seller.prices[CONTENT] = price

    @rule(count=st.integers(1, 2))
    def give_up(self, count: int) -> None:
        self.drops = count

    @rule()
    def crash_buyer(self) -> None:
        self.buyer.crash()

    @rule()
    def close_buyer(self) -> None:
        self.buyer.flush(closing=True)
        self.buyer.crash()

    @rule()
    def crash_seller(self) -> None:
        self.seller.crash()

    @rule()
    def flush(self) -> None:
        self.seller.flush()
        self.buyer.flush()

    @rule(seconds=st.sampled_from([0.5, 60.0, 4000.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.seller.tabs.handle_timer(self.now)

    @invariant()
    def losses_are_bounded(self) -> None:
        purse = self.buyer.purse(self.seller)
        assert purse.paid_bytes <= self.verified + purse.unverified
        account = self.seller.tabs.find(self.buyer.peer_id)
        if account is not None:
            assert account.unpaid <= account.credit
            assert account.credit <= account.policy.max_bytes
            assert not account.proof
            # The newest receipt of either side is the other's, or the one that it lacks.
            assert purse.seq - account.seq in (0, 1)
            if purse.seq == account.seq:
                assert (purse.paid_bytes, purse.paid_amount) == (account.paid_bytes, account.paid_amount)


PairMachine.TestCase.settings = settings(max_examples=20, stateful_step_count=20, deadline=None)
test_an_honest_pair = PairMachine.TestCase
