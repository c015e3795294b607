"""A seller says whatever it likes, whenever it likes: what a buyer signs stays within what it was given."""

from __future__ import annotations

from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from fastmarket.config import PaymentConfig
from fastmarket.payments.buyer import DAY_S, MAX_NEW_TABS, BuyerTabs, Permission, SignedReceipt
from fastmarket.payments.paying import Declined, Paying
from fastmarket.payments.reasons import Reason
from fastmarket.payments.receipt import Receipt, open_receipt
from fastmarket.payments.session import KEY_BYTES
from fastmarket.payments.tab import MAX_SUM
from fastmarket.payments.x402 import PaymentTerms, TabState
from tests.virtual.payments import BLOCK_BYTES, CONTENT, START, BuyerDisk, identity

BUYER, SELLER, OTHER = identity(1), identity(2), identity(3)
PRICE, BUDGET = 3, 20
NUMBERS = st.one_of(st.integers(0, 64 << 20), st.integers(0, MAX_SUM))
SEQS = st.one_of(st.integers(0, 3), st.integers(0, MAX_SUM))
STATES = st.builds(TabState, SEQS, NUMBERS, NUMBERS, NUMBERS, NUMBERS)
TERMS = st.builds(
    PaymentTerms,
    st.sampled_from(Reason),
    st.sampled_from([SELLER.peer_id] * 9 + [OTHER.peer_id]),
    st.sampled_from(["unit"] * 9 + ["other"]),
    st.sampled_from([PRICE] * 9 + [PRICE + 1]),
    st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES),
    STATES,
)


class AnySeller(RuleBasedStateMachine):
    """Blocks are asked for as far as the policy goes, and come or do not; answers are any at all."""

    def __init__(self) -> None:
        super().__init__()
        self.config = PaymentConfig(budget_per_day=BUDGET, window_bytes=4 * BLOCK_BYTES)
        self.disk = BuyerDisk()
        self.now = START
        self.entropy = Random(1)
        self.verified = 0
        self.signed: dict[tuple[bytes, int], tuple[int, int]] = {}
        self.under_way = 0
        self.writing: SignedReceipt | None = None
        self.begin()

    def begin(self) -> None:
        self.tabs = BuyerTabs(BUYER, self.config, self.disk)
        self.purse = self.tabs.purse(SELLER.peer_id, bytes(16))
        offer = self.tabs.offer(CONTENT, SELLER.peer_id, PRICE)
        self.offer_hash = offer.hash
        self.paying = Paying(self.tabs, self.purse, offer, self.entropy.randbytes)
        self.debts = Paying(self.tabs, self.purse, None, self.entropy.randbytes)

    def _keep(self, receipt: Receipt) -> None:
        """All that were ever signed, a number of a tab once."""
        sums = self.signed.setdefault((receipt.tab.id, receipt.seq), receipt.sums)
        assert sums == receipt.sums
        if (before := self.signed.get((receipt.tab.id, receipt.seq - 1))) is not None:
            assert before[0] < receipt.cumulative_bytes
            assert before[1] <= receipt.cumulative_amount
        assert receipt.offer_hash == self.offer_hash

    def _take(self, step: object) -> None:
        if isinstance(step, SignedReceipt):
            self._keep(open_receipt(step.purse.receipt))
            self.writing = step
        elif isinstance(step, Declined):
            assert step.detail

    @rule(count=st.integers(1, 24))
    def ask(self, count: int) -> None:
        assert self.paying.offer is not None
        for _ in range(count):
            if self.tabs.may_ask(self.purse, self.paying.offer, BLOCK_BYTES, self.now) is not Permission.YES:
                return
            self.tabs.on_asked(self.purse, self.paying.offer, BLOCK_BYTES)
            self.under_way += 1

    @rule(count=st.integers(1, 24), final=st.booleans())
    def block_comes(self, count: int, final: bool) -> None:
        assert self.paying.offer is not None
        for _ in range(min(count, self.under_way)):
            self.tabs.on_verified(self.purse, self.paying.offer, BLOCK_BYTES, BLOCK_BYTES)
            self.verified += BLOCK_BYTES
            self.under_way -= 1
        if self.writing is None:
            self._take(self.paying.sign(self.now, final=final))

    @rule(count=st.integers(1, 24))
    def buy(self, count: int) -> None:
        """As it goes well."""
        self.ask(count)
        self.block_comes(count, final=True)
        self.written()
        purse = self.purse
        if self.tabs.sendable(purse) is not None:
            answer = TabState(purse.seq, purse.credit)
            self._take(self.paying.on_told(answer, purse.secret, self.now, is_writing=False))

    @rule(count=st.integers(1, 24), may_have_come=st.booleans())
    def nothing_comes(self, count: int, may_have_come: bool) -> None:
        assert self.paying.offer is not None
        for _ in range(min(count, self.under_way)):
            self.tabs.on_given_up(self.purse, self.paying.offer, BLOCK_BYTES, may_have_come=may_have_come)
            self.under_way -= 1

    @rule(told=st.one_of(TERMS, STATES), is_ours=st.booleans(), of_debts=st.booleans())
    def told(self, told: PaymentTerms | TabState, is_ours: bool, of_debts: bool) -> None:
        secret = self.purse.secret if is_ours else b"of an older session"
        policy = self.debts if of_debts else self.paying
        is_writing = self.writing is not None
        before = self.purse.unverified_left
        self._take(policy.on_told(told, secret, self.now, is_writing=is_writing))
        if of_debts:
            assert self.purse.unverified_left == before, "nothing is claimed without an offer"

    @rule(unpaid=st.integers(0, 64 * BLOCK_BYTES))
    def claim(self, unpaid: int) -> None:
        """On the receipt that both have."""
        told = TabState(self.purse.seq, self.purse.credit, unpaid, unpaid)
        is_writing = self.writing is not None
        self._take(self.paying.on_told(told, self.purse.secret, self.now, is_writing=is_writing))

    @rule()
    def written(self) -> None:
        signed, self.writing = self.writing, None
        if signed is not None:
            self.disk.put(signed.purse.row())
            self.tabs.confirm_written(signed.purse)

    @rule()
    def crash(self) -> None:
        """Between a write and the next; what was not written was not sent."""
        if self.writing is None:
            for row in self.tabs.poll_changes():
                self.disk.put(row)
            self.under_way = 0
            self.begin()

    @rule(seconds=st.sampled_from([1.0, 3600.0, float(DAY_S), 40.0 * DAY_S]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def nothing_is_given_away(self) -> None:
        purse = self.purse
        paid = purse.paid_bytes + purse.total_bytes
        assert paid <= self.verified + purse.unverified
        assert purse.unverified_left >= 0
        assert self.tabs.spent_today(self.now) <= BUDGET
        assert purse.new_tabs <= MAX_NEW_TABS
        assert 0 <= purse.credit <= self.config.credit.max_bytes
        assert self.tabs.sendable(purse) is None or purse.is_written


AnySeller.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
test_any_seller = AnySeller.TestCase
