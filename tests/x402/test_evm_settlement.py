"""From a purchase to a balance: receipts in the file of tabs, vouchers in them, claimed on a real EVM."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest

from fastmarket.config.payments import PaymentConfig, SettlementPolicy
from fastmarket.errors import CallerFault, PeerFault
from fastmarket.payments.backing import NewestReceipt
from fastmarket.payments.reasons import Reason
from fastmarket.payments.receipt import open_receipt
from fastmarket.payments.tab import Tab
from fastmarket.settlement.interface import ClaimOutcome, ClaimResult, SettlementContext
from fastmarket.settlement.loading import open_by_name
from fastmarket.settlement.settler import Settler
from fastmarket.settlement.x402.channels import INITIATE_WITHDRAW, EscrowVoucher
from fastmarket.settlement.x402.encoding import checksummed, word
from fastmarket.settlement.x402.keys import EvmKey
from fastmarket.settlement.x402.plugin import MAX_CLAIMS, X402Settlement
from fastmarket.settlement.x402.vouchers import EscrowVouchers
from fastmarket.storage.tab_scan import newest_receipts
from fastmarket.storage.tabs import TabDatabase
from tests.conftest import Run
from tests.virtual.payments import START, VirtualBuyer, VirtualSeller, identity
from tests.x402.chain import NOTICE_S, LocalChain, Parties, key, signed

UNITS = 1000  # of the token for one of the currency
MIB = 1 << 20
FOREVER = 1 << 40
POLICY = SettlementPolicy(call_timeout_s=600)  # a chain in Python takes its time on a busy machine


@dataclass
class Market:
    """A seller with its settlement and its file of tabs, and buyers that have a wallet."""

    chain: LocalChain
    parties: Parties
    settlement: X402Settlement
    seller: VirtualSeller
    database: TabDatabase
    at: float = START

    def __post_init__(self) -> None:
        self.settler = self.settling(self.settlement)

    def settling(self, settlement: X402Settlement) -> Settler:
        receipts = partial(newest_receipts, self.database.path)
        return Settler(settlement, self.seller.tabs.backings, receipts, POLICY, lambda: self.at)

    def buyer(self, number: int) -> tuple[EvmKey, VirtualBuyer]:
        owner, vouchers = self.parties.buyer(number)
        return owner, VirtualBuyer(2000 + number, vouchers=vouchers)

    def write(self) -> None:
        """What the seller has is on its disk."""
        self.seller.flush()
        self.database.write(list(self.seller.disk.rows.values()), self.at)

    def receipt(self, buyer: VirtualBuyer) -> NewestReceipt:
        raw = self.seller.disk.rows[buyer.peer_id.raw, "unit"].receipt
        told = open_receipt(raw)
        return NewestReceipt(told.tab, told.seq, told.cumulative_amount, told.valid_until, told.voucher)

    def deposit(self, owner: EvmKey, buyer: VirtualBuyer, amount: int) -> EscrowVoucher:
        """By what the buyer's own newest receipt says."""
        told = open_receipt(buyer.purse(self.seller).receipt)
        voucher = EscrowVoucher.decode(told.voucher, told.tab.id)
        self.chain.deposit(owner, voucher.channel, amount)
        return voucher


@pytest.fixture
def market(chain: LocalChain, tmp_path: Path) -> Iterator[Market]:
    parties = Parties(chain, tmp_path / "key", units=UNITS)
    settlement = X402Settlement(parties.settings, parties.seller_key)
    seller = VirtualSeller(config=PaymentConfig(), vouchers=settlement.vouchers, price=3)
    database = TabDatabase(tmp_path)
    made = Market(chain, parties, settlement, seller, database)
    yield made
    database.close()


def test_purchases_become_a_balance_in_one_transaction(market: Market, run: Run[None]) -> None:
    chain, seller = market.chain, market.seller
    buyers = [market.buyer(number) for number in range(5)]

    async def main() -> None:
        for owner, buyer in buyers:
            assert buyer.fetch(seller, 20, market.at).why == ""
            market.deposit(owner, buyer, 1_000_000)
        await market.settler.look()
        assert market.settler.report().covered == 5
        for _, buyer in buyers:
            assert buyer.fetch(seller, 60, market.at + 1).why == ""
            account = seller.tabs.find(buyer.peer_id)
            assert account is not None
            assert account.credit > 4 * MIB  # their deposits are known
        market.write()
        sent = chain.transactions
        outcomes = await market.settler.claim()
        assert {one.result for one in outcomes} == {ClaimResult.CLAIMED}
        assert chain.transactions == sent + 2  # one of five claims, one that pays out
        total = sum(market.receipt(buyer).amount for _, buyer in buyers)
        assert total == market.settler.report().claimed > 0
        assert chain.balance(market.settlement.vouchers.receiver) == total * UNITS
        assert chain.balance(chain.contract) == 5_000_000 - total * UNITS
        assert chain.balance(buyers[0][0].address) == 0
        again = await market.settler.claim()  # replayed
        assert {one.result for one in again} == {ClaimResult.CURRENT}
        assert chain.balance(market.settlement.vouchers.receiver) == total * UNITS

    run(main())


def test_more_than_the_deposit_is_not_sold_and_not_paid(market: Market, run: Run[None]) -> None:
    chain, seller = market.chain, market.seller
    owner, buyer = market.buyer(0)

    async def main() -> None:
        assert buyer.fetch(seller, 20, market.at).why == ""  # before anybody has looked
        await market.settler.look()  # there is none
        assert buyer.fetch(seller, 20, market.at + 1).why == Reason.DEPOSIT.value
        assert seller.served_bytes <= 40 * 256 * 1024
        market.deposit(owner, buyer, 25 * UNITS)
        market.at += 20
        assert buyer.fetch(seller, 1, market.at).why == Reason.DEPOSIT.value
        await market.settler.look()
        market.at += 1
        done = buyer.fetch(seller, 100, market.at)
        assert done.why == Reason.DEPOSIT.value
        assert 16 < market.receipt(buyer).amount <= 25
        market.write()
        wanted = replace(market.receipt(buyer), amount=40)
        assert buyer.vouchers is not None
        voucher = buyer.vouchers.sign(wanted.tab, 40, market.settlement.vouchers.terms)
        (outcome,) = market.settlement.claim([replace(wanted, voucher=voucher)], market.at)
        assert outcome == ClaimOutcome(wanted.tab.id, ClaimResult.CLAIMED, 25, "deposit")
        assert chain.balance(market.settlement.vouchers.receiver) == 25 * UNITS
        (outcome,) = market.settlement.claim([replace(wanted, voucher=voucher)], market.at)
        assert (outcome.result, outcome.reason) == (ClaimResult.REFUSED, "deposit")

    run(main())


def test_a_chain_that_is_away_stops_no_sale(market: Market, run: Run[None]) -> None:
    chain, seller = market.chain, market.seller
    owner, buyer = market.buyer(0)
    _, newcomer = market.buyer(1)

    async def main() -> None:
        buyer.fetch(seller, 16, market.at)
        market.deposit(owner, buyer, 10_000_000)
        await market.settler.look()
        chain.is_away = True
        market.at += 3600
        assert buyer.fetch(seller, 100, market.at).why == ""
        account = seller.tabs.find(buyer.peer_id)
        assert account is not None
        assert not account.is_stranger
        assert newcomer.fetch(seller, 100, market.at).why == ""
        await market.settler.look()
        market.write()
        assert not await market.settler.claim()
        assert "cannot be reached" in market.settler.report().status.trouble
        chain.is_away = False
        claimed = await market.settler.claim()
        assert [one.amount for one in claimed if one.result is ClaimResult.CLAIMED] == [
            market.receipt(buyer).amount
        ]
        assert [one.reason for one in claimed if one.result is ClaimResult.REFUSED] == ["deposit"]
        assert market.settler.report().status.trouble == ""

    run(main())


def test_a_deposit_that_leaves_is_claimed_first(market: Market, run: Run[None]) -> None:
    chain, seller = market.chain, market.seller
    owner, buyer = market.buyer(0)

    async def main() -> None:
        buyer.fetch(seller, 16, market.at)
        voucher = market.deposit(owner, buyer, 100 * UNITS)
        await market.settler.look()
        market.at += 61
        begin = INITIATE_WITHDRAW + voucher.channel.encode() + word(90 * UNITS)
        chain.send(owner, chain.contract, begin)
        assert buyer.fetch(seller, 4, market.at).why == ""
        market.write()
        await market.settler.look()
        assert chain.balance(market.settlement.vouchers.receiver) == market.receipt(buyer).amount * UNITS
        assert buyer.fetch(seller, 400, market.at + 1).why == Reason.DEPOSIT.value  # beyond the other 10

    run(main())


def test_many_claims_take_several_transactions(market: Market) -> None:
    chain, vouchers = market.chain, market.settlement.vouchers
    owner, buyer = market.parties.buyer(0)
    receipts = []
    for number in range(MAX_CLAIMS + 3):
        tab = Tab(identity(9).peer_id, market.seller.peer_id, "unit", number.to_bytes(16, "big"))
        raw = buyer.sign(tab, 2, vouchers.terms)
        chain.deposit(owner, EscrowVoucher.decode(raw, tab.id).channel, 5 * UNITS)
        receipts.append(NewestReceipt(tab, 1, 2, FOREVER, raw))
    sent = chain.transactions
    outcomes = market.settlement.claim(receipts, START)
    assert [one.amount for one in outcomes] == [2] * len(receipts)
    assert chain.transactions == sent + 3
    assert chain.balance(vouchers.receiver) == 2 * UNITS * len(receipts)


def wrong_vouchers(market: Market) -> dict[str, tuple[bytes, Reason]]:
    """Of the first buyer, for 5 in all."""
    ours = market.settlement.vouchers
    owner, buyer = market.parties.buyer(0)
    settings = market.parties.settings
    tab = Tab(identity(9).peer_id, market.seller.peer_id, "unit", bytes(16))
    right = EscrowVoucher.decode(buyer.sign(tab, 5, ours.terms), tab.id)
    other_tab = buyer.sign(replace(tab, salt=b"another one here"), 5, ours.terms)

    def for_seller(**changed: object) -> bytes:
        told = replace(settings, **changed)  # type: ignore[arg-type]
        return EscrowVouchers(told, owner).sign(tab, 5, EscrowVouchers(told, market.parties.seller_key).terms)

    return {
        "garbage": (b"garbage", Reason.VOUCHER),
        "of another version": (b"\2" + right.encode()[1:], Reason.VOUCHER),
        "of another tab": (other_tab, Reason.VOUCHER_TAB),
        "for another chain": (for_seller(chain_id=1), Reason.VOUCHER_TAB),
        "for another contract": (for_seller(contract=bytes([7]) * 20), Reason.VOUCHER_TAB),
        "for another token": (for_seller(token=bytes([7]) * 20), Reason.VOUCHER_TAB),
        "for another receiver": (for_seller(receiver=bytes([7]) * 20), Reason.VOUCHER_TAB),
        "for less": (buyer.sign(tab, 4, ours.terms), Reason.VOUCHER_AMOUNT),
        "with a short notice": (for_seller(notice_s=NOTICE_S - 1), Reason.VOUCHER_NOTICE),
        "by another": (
            signed(ours.domain, right.channel, 5 * UNITS, key(66)).encode(),
            Reason.VOUCHER_SIGNATURE,
        ),
        "changed": (replace(right, amount=6 * UNITS).encode(), Reason.VOUCHER_SIGNATURE),
    }


def test_each_wrong_voucher_is_refused_by_name_and_never_claimed(market: Market) -> None:
    ours, tab = (
        market.settlement.vouchers,
        Tab(identity(9).peer_id, market.seller.peer_id, "unit", bytes(16)),
    )
    wrong = wrong_vouchers(market)
    for name, (raw, reason) in wrong.items():
        assert ours.check(tab, 5, raw) is reason, name
    receipts = [NewestReceipt(tab, 1, 5, FOREVER, raw) for raw, _ in wrong.values()]
    sent = market.chain.transactions
    outcomes = market.settlement.claim(receipts, START)
    assert [(one.result, one.reason) for one in outcomes] == [
        (ClaimResult.REFUSED, reason.value) for _, reason in wrong.values()
    ]
    assert market.chain.transactions == sent


def test_an_expired_receipt_is_not_claimed(market: Market) -> None:
    owner, buyer = market.parties.buyer(0)
    tab = Tab(identity(9).peer_id, market.seller.peer_id, "unit", bytes(16))
    raw = buyer.sign(tab, 5, market.settlement.vouchers.terms)
    market.chain.deposit(owner, EscrowVoucher.decode(raw, tab.id).channel, 5 * UNITS)
    receipt = NewestReceipt(tab, 1, 5, int(START), raw)
    (outcome,) = market.settlement.claim([receipt], START)
    assert (outcome.result, outcome.reason) == (ClaimResult.REFUSED, "valid_until")
    (outcome,) = market.settlement.claim([receipt], START - 1)
    assert outcome.result is ClaimResult.CLAIMED


def test_a_buyer_signs_for_what_it_has_set_alone(market: Market) -> None:
    _, buyer = market.parties.buyer(0)
    settings = market.parties.settings
    tab = Tab(identity(9).peer_id, market.seller.peer_id, "unit", bytes(16))
    for changed, why in (
        ({"chain_id": 1}, "chain"),
        ({"contract": bytes([7]) * 20}, "contract"),
        ({"token": bytes([7]) * 20}, "token"),
        ({"units": UNITS + 1}, "rate"),
        ({"notice_s": 8 * 86_400}, "notice"),
    ):
        terms = EscrowVouchers(replace(settings, **changed), key(5)).terms  # type: ignore[arg-type]
        with pytest.raises(PeerFault, match=why):
            buyer.sign(tab, 5, terms)
    for raw in (b"?", bytes(109), market.settlement.vouchers.terms[:-1]):
        with pytest.raises(PeerFault):
            buyer.sign(tab, 5, raw)
    with pytest.raises(PeerFault, match="too much"):
        buyer.sign(tab, 1 << 126, market.settlement.vouchers.terms)


def test_fees_have_a_bound_and_a_wrong_chain_is_told(market: Market, run: Run[None]) -> None:
    owner, buyer = market.buyer(0)

    async def main() -> None:
        buyer.fetch(market.seller, 16, market.at)
        market.deposit(owner, buyer, 100 * UNITS)
        market.write()
        for changed, why in (
            ({"max_fee_gwei": 1}, "a unit of gas costs"),
            ({"chain_id": 5}, "is of chain"),
            ({"contract": bytes([7]) * 20}, "no contract"),
        ):
            settings = replace(market.parties.settings, **changed)  # type: ignore[arg-type]
            one = X402Settlement(settings, market.parties.seller_key)
            one.vouchers = market.settlement.vouchers  # which would refuse these receipts before
            settler = market.settling(one)
            assert not await settler.claim()
            assert why in settler.report().status.trouble

    run(main())


def test_settings_are_read_and_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "evm.key").write_text("11" * 32 + "\n")
    (tmp_path / "evm.key").chmod(0o600)
    address = checksummed(bytes(range(20)))
    right = (
        f'rpc = "http://127.0.0.1:1"\nchain_id = 5\ncontract = "{address}"\ntoken = "{address}"\n'
        'key = "evm.key"\n'
    )
    path = tmp_path / "x402.toml"
    context = SettlementContext(identity(1).peer_id, "unit", path)
    path.write_text(right)
    made = open_by_name("x402", context)
    assert made.vouchers is not None
    assert made.status().place == f"eip155:5, contract {address}"
    for change, why in (
        ("rpc = 5\n", "rpc: expects a text"),
        ('rpc = "file:///etc/passwd"\n', "rpc: expects http"),
        ("notice_s = 5\n", "notice_s: expects a number from 900"),
        ("units = true\n", "units: expects a number"),
        ('block = "newest"\n', "block: expects one of"),
        ('receiver = "0x12"\n', "receiver: expects an address"),
        ("price = 3\n", "price: there is no such setting"),
        ("= 3\n", "is not TOML"),
    ):
        name = change.partition(" ")[0]
        kept = "".join(line for line in right.splitlines(keepends=True) if not line.startswith(f"{name} ="))
        path.write_text(kept + change)
        with pytest.raises(CallerFault, match=why):
            open_by_name("x402", context)
    path.write_text(right.replace('key = "evm.key"\n', ""))
    with pytest.raises(CallerFault, match="key: is missing"):
        open_by_name("x402", context)
    path.write_text(right)
    (tmp_path / "evm.key").chmod(0o644)
    with pytest.raises(CallerFault, match="may be read by others"):
        open_by_name("x402", context)
    (tmp_path / "evm.key").chmod(0o600)
    for wrong in ("11", "zz" * 32, "00" * 32):
        (tmp_path / "evm.key").write_text(wrong)
        with pytest.raises(CallerFault, match="key"):
            open_by_name("x402", context)
    with pytest.raises(CallerFault, match="x402=FILE"):
        open_by_name("x402", replace(context, file=None))
