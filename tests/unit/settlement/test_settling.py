"""Deposits are looked at and receipts claimed beside the sale: nothing there holds it up."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from fastmarket.config.payments import SettlementPolicy
from fastmarket.errors import CallerFault, NetworkFault
from fastmarket.patient_calls import PatientCalls
from fastmarket.payments.backing import Backing, Backings, NewestReceipt, VoucherScheme, newest
from fastmarket.payments.reasons import Reason
from fastmarket.payments.receipt import Receipt
from fastmarket.payments.rows import SellerRow
from fastmarket.payments.tab import Tab
from fastmarket.settlement.interface import ClaimOutcome, ClaimResult, SettlementContext, SettlementStatus
from fastmarket.settlement.loading import open_by_name, split_choice
from fastmarket.settlement.settler import Settler
from fastmarket.storage.tab_scan import PAGE_ROWS, newest_receipts
from fastmarket.storage.tabs import TabDatabase
from tests.conftest import Run
from tests.virtual.payments import identity

SELLER = identity(1)
BUYER = identity(2)
CONTEXT = SettlementContext(SELLER.peer_id, "unit")
POLICY = SettlementPolicy(call_timeout_s=0.05)
UNTIL = 1 << 40


def receipt(number: int = 0, amount: int = 10, voucher: bytes = b"good") -> NewestReceipt:
    tab = Tab(BUYER.peer_id, SELLER.peer_id, "unit", number.to_bytes(16, "big"))
    return NewestReceipt(tab, 1, amount, UNTIL, voucher)


class Scheme:
    """Vouchers that are good if they say so."""

    terms = b"terms"

    def sign(self, tab: Tab, amount: int, terms: bytes) -> bytes:
        return b"good"

    def check(self, tab: Tab, amount: int, voucher: bytes) -> Reason | None:
        return None if voucher == b"good" else Reason.VOUCHER_SIGNATURE


@dataclass
class Bank:
    """Deposits in a dictionary. `fault`: what its calls raise; `hangs`: they wait for it."""

    deposits: dict[bytes, int] = field(default_factory=dict)
    claimed: list[list[NewestReceipt]] = field(default_factory=list)
    fault: Exception | None = None
    hangs: threading.Event | None = None
    is_leaving: bool = False
    vouchers: VoucherScheme | None = field(default_factory=Scheme)
    result: ClaimResult = ClaimResult.CLAIMED

    def _wait(self) -> None:
        if self.hangs is not None:
            self.hangs.wait()
        if self.fault is not None:
            raise self.fault

    def backed(self, receipts: Sequence[NewestReceipt], now: float) -> Sequence[Backing | None]:
        self._wait()
        return [Backing(self.deposits.get(one.tab.id, 0), now + 100, self.is_leaving) for one in receipts]

    def claim(self, receipts: Sequence[NewestReceipt], now: float) -> Sequence[ClaimOutcome]:
        self._wait()
        self.claimed.append(list(receipts))
        return [ClaimOutcome(one.tab.id, self.result, one.amount) for one in receipts]

    def status(self) -> SettlementStatus:
        return SettlementStatus("bank", "a dictionary")


class Clock:
    def __init__(self) -> None:
        self.at = 1000.0

    def now(self) -> float:
        return self.at


def settler(bank: Bank, backings: Backings, receipts: Sequence[NewestReceipt] = ()) -> tuple[Settler, Clock]:
    clock = Clock()
    return Settler(bank, backings, lambda since: receipts, POLICY, clock.now), clock


def test_a_receipt_counts_as_its_deposit_does() -> None:
    backings = Backings(POLICY, Scheme())
    one = receipt(amount=10)
    assert backings.judge(replace(one, voucher=b""), 0) is Reason.VOUCHER
    assert backings.judge(replace(one, voucher=b"forged"), 0) is Reason.VOUCHER_SIGNATURE
    assert backings.judge(one, 0) is None
    assert not backings.covers(one, 0)  # it was never looked at
    assert backings.poll_wanted() == [one]
    backings.on_looked(one.tab, Backing(10, until=100), 0)
    assert backings.covers(one, 1)
    more = replace(one, amount=11)
    assert backings.judge(more, 1) is Reason.DEPOSIT
    assert not backings.poll_wanted()  # looked at a moment ago
    assert backings.judge(more, 1 + POLICY.look_again_s) is Reason.DEPOSIT
    assert backings.poll_wanted() == [more]
    assert backings.judge(more, 100) is None  # what was seen is too old to refuse by, or to rely on
    assert not backings.covers(one, 100)


def test_without_a_settlement_all_receipts_count() -> None:
    backings = Backings(POLICY)
    assert backings.judge(receipt(voucher=b""), 0) is None
    assert backings.covers(receipt(voucher=b""), 0)
    assert backings.terms == b""
    assert not backings.poll_wanted()


def test_what_is_wanted_and_known_has_a_bound() -> None:
    policy = SettlementPolicy(max_tabs=10, max_tabs_per_call=4)
    backings = Backings(policy, Scheme())
    for number in range(30):
        backings.covers(receipt(number), 0)
    assert [len(backings.poll_wanted()) for _ in range(4)] == [4, 4, 2, 0]
    for number in range(30):
        backings.on_looked(receipt(number).tab, Backing(1, 100), 0)
    assert backings.covered_count == 10


def test_deposits_are_looked_at(run: Run[None]) -> None:
    bank, backings = Bank(), Backings(POLICY, Scheme())
    one = receipt(amount=10)
    bank.deposits[one.tab.id] = 10

    async def main() -> None:
        settling, _ = settler(bank, backings)
        assert settling.is_needed
        backings.covers(one, 1000)
        await settling.look()
        assert backings.covers(one, 1001)
        assert settling.report().covered == 1

    run(main())


def test_a_bank_that_is_away_leaves_what_was_known(run: Run[None]) -> None:
    bank, backings = Bank(fault=OSError("refused")), Backings(POLICY, Scheme())
    known, new = receipt(1), receipt(2)
    backings.on_looked(known.tab, Backing(10, until=5000), 900)

    async def main() -> None:
        settling, clock = settler(bank, backings)
        clock.at = 1020.0
        assert backings.covers(known, clock.at)
        assert not backings.covers(new, clock.at)
        await settling.look()
        assert backings.covers(known, clock.at)
        assert backings.judge(new, clock.at) is None  # it is served on, as a stranger is
        assert "OSError: refused" in settling.report().status.trouble

    run(main())


def test_claims_come_by_themselves_and_at_once_before_a_deposit_leaves(run: Run[None]) -> None:
    bank, backings = Bank(), Backings(POLICY, Scheme())
    receipts = [receipt(number) for number in range(POLICY.max_tabs_per_call + 3)]
    receipts[5] = replace(receipts[5], voucher=b"")  # of a time before vouchers

    async def main() -> None:
        settling, clock = settler(bank, backings, receipts)
        await settling.look()
        assert not bank.claimed
        clock.at += POLICY.first_claim_s
        await settling.look()
        assert [len(batch) for batch in bank.claimed] == [POLICY.max_tabs_per_call, 2]
        assert settling.report().claimed == 10 * (POLICY.max_tabs_per_call + 2)
        await settling.look()
        assert len(bank.claimed) == 2
        bank.is_leaving = True
        backings.covers(receipts[0], clock.at)
        await settling.look()
        assert len(bank.claimed) == 4

    run(main())


def test_a_claim_that_failed_is_made_again(run: Run[None]) -> None:
    bank = Bank(fault=ValueError("no answer"))
    since: list[float] = []
    clock = Clock()

    def receipts(when: float) -> list[NewestReceipt]:
        since.append(when)
        return [receipt()]

    async def main() -> None:
        settling = Settler(bank, Backings(POLICY, Scheme()), receipts, POLICY, clock.now)
        assert not await settling.claim()
        assert settling.report().claimed_at is None
        bank.fault = None
        bank.result = ClaimResult.LATER
        clock.at += POLICY.claim_again_s
        await settling.look()
        bank.result = ClaimResult.CLAIMED
        clock.at += POLICY.claim_again_s
        await settling.look()
        assert since == [0, 0, 0]
        assert settling.report().claimed_at == clock.at
        clock.at += POLICY.claim_every_s
        await settling.look()
        assert 0 < since[-1] < clock.at - POLICY.claim_every_s  # those that were active since then

    run(main())


def test_a_call_that_hangs_holds_nothing(run: Run[None]) -> None:
    bank = Bank(hangs=threading.Event())
    backings = Backings(POLICY, Scheme())

    async def main() -> None:
        settling, _ = settler(bank, backings, [receipt()])
        backings.covers(receipt(), 1000)
        ticks = 0
        looking = asyncio.ensure_future(settling.look())
        while not looking.done():
            await asyncio.sleep(0)
            ticks += 1
        assert ticks > 1  # the loop went on
        assert "did not return within" in settling.report().status.trouble
        before = threading.active_count()
        for _ in range(20):
            assert not await settling.claim()
        assert threading.active_count() <= before  # one thread hangs, and no more
        assert "has not returned" in settling.report().status.trouble
        assert bank.hangs is not None
        bank.hangs.set()

    run(main())


def test_a_call_ends_after_its_loop(run: Run[None]) -> None:
    release = threading.Event()
    threads: list[threading.Thread] = []

    def work() -> None:
        threads.append(threading.current_thread())
        release.wait()

    async def main() -> None:
        with pytest.raises(NetworkFault):
            await PatientCalls("it", 0.01).make(work)

    run(main())
    release.set()
    for thread in threads:
        thread.join()  # a fault in it would fail the test


def test_none_backs_and_claims_nothing_and_says_so() -> None:
    none = open_by_name("none", CONTEXT)
    assert none.vouchers is None
    assert [one and one.amount for one in none.backed([receipt()], 0)] == [0]
    (outcome,) = none.claim([receipt()], 0)
    assert (outcome.result, outcome.amount) == (ClaimResult.REFUSED, 0)
    assert outcome.reason == none.status().trouble == "nothing settles receipts"


PLUG_IN = """
class Gold:
    vouchers = None
    def __init__(self, context):
        self.context = context

def open_gold(context):
    return Gold(context)

def open_lead(context):
    import a_package_that_nobody_has
"""


def test_plug_ins_of_others_are_found_by_their_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a_gold_plug_in.py").write_text(PLUG_IN)
    info = tmp_path / "gold-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: gold\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[fastmarket.settlement]\ngold = a_gold_plug_in:open_gold\n"
        "lead = a_gold_plug_in:open_lead\ntin = a_gold_plug_in:nothing\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    made = open_by_name("gold", CONTEXT)
    assert made.context == CONTEXT  # type: ignore[attr-defined]
    for name, why in (
        ("lead", "needs a_package_that_nobody_has"),
        ("tin", "cannot be used"),
        ("silver", "there are: gold, lead, none, tin"),
    ):
        with pytest.raises(CallerFault, match=why) as caught:
            open_by_name(name, CONTEXT)
        assert caught.value.field == "settlement"


def test_a_choice_may_name_a_file() -> None:
    assert split_choice("none") == ("none", None)
    assert split_choice("gold=/etc/a=b") == ("gold", Path("/etc/a=b"))
    for wrong in ("", "=file", "gold="):
        with pytest.raises(CallerFault):
            split_choice(wrong)


def test_receipts_are_read_beside_the_node(tmp_path: Path) -> None:
    database = TabDatabase(tmp_path)
    rows = []
    for number in range(PAGE_ROWS + 7):
        buyer = identity(1000 + number)
        raw = [
            Receipt(
                Tab(buyer.peer_id, SELLER.peer_id, "unit", bytes([salt]) * 16),
                *(3, 30, 300 + salt, bytes(32), UNTIL, b"voucher"),
            ).sign(buyer)
            for salt in (1, 2)
        ]
        row = SellerRow(
            *(buyer.peer_id.raw, "unit", bytes([2]) * 16, 1, 3, 30, 302, raw[1], 5, 0, (), 0, 0, 0),
            *((raw[0],) if number == 3 else (),),
            *(0, float(number), False),
        )
        rows.append(row)
    rows.append(replace(rows[0], buyer=b"\0", receipt=b"damaged"))
    rows.append(replace(rows[0], buyer=b"\1", receipt=b""))
    database.write(rows, 0.0)
    found = list(newest_receipts(database.path, 0))
    assert len(found) == PAGE_ROWS + 8
    assert {one.voucher for one in found} == {b"voucher"}
    assert sorted(one.amount for one in found)[:2] == [301, 302]
    late = [one.tab.buyer for one in newest_receipts(database.path, PAGE_ROWS + 5)]
    assert sorted(late, key=str) == sorted((identity(1000 + PAGE_ROWS + n).peer_id for n in (5, 6)), key=str)
    database.close()


def test_the_voucher_is_signed_with_the_receipt() -> None:
    tab = Tab(BUYER.peer_id, SELLER.peer_id, "unit", bytes(16))
    one = Receipt(tab, 1, 2, 3, bytes(32), UNTIL, b"voucher")
    assert newest(one) == NewestReceipt(tab, 1, 3, UNTIL, b"voucher")
    with pytest.raises(CallerFault, match="voucher"):
        Receipt(tab, 1, 2, 3, bytes(32), UNTIL, bytes(513))
