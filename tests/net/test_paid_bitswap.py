"""Priced blocks over Bitswap between real nodes: for who agreed to the price and pays, and nobody else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from fastmarket.config import BitswapConfig, PaymentConfig
from fastmarket.config.payments import CreditPolicy
from fastmarket.errors import StreamFailed
from fastmarket.exchange.bitswap.client import AskOutcome, BlockAbsent, BlockSent
from fastmarket.exchange.bitswap.message import PROTOCOLS
from fastmarket.exchange.fetching.events import Ask
from fastmarket.exchange.fetching.holder import AskFailure
from fastmarket.formats.identity import Identity, PeerId
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.formats.varint import frame
from fastmarket.net.bitswap.exchange import BitswapExchange, NoBlocks
from fastmarket.net.bitswap.paid_holder import PaidBitswapHolder
from fastmarket.net.clock import Clock
from fastmarket.net.dht_node import DhtNode
from fastmarket.net.fetching.debts import FIRST_WAIT_S, DebtPayer
from fastmarket.net.fetching.payer import Payer
from fastmarket.net.fetching.wallet import Wallet
from fastmarket.net.tab_calls import TabCall
from fastmarket.net.tab_streams import BOUNDS, TabStreams
from fastmarket.payments.accounts import Accounts
from fastmarket.payments.buyer import BuyerTabs
from fastmarket.payments.frames import MAX_FRAME_BYTES, TAB_PROTOCOL
from fastmarket.payments.peer_sales import PeerSales
from fastmarket.payments.reasons import Reason
from fastmarket.payments.x402 import Payment, PaymentTerms, TabState
from tests.conftest import Run
from tests.content.port.paying import PRICE, SmallTill
from tests.net.loopback import nodes, seed, until
from tests.net.test_bitswap import Memory, block, is_reset, peer_of
from tests.unit.fetching.test_wallet import Writer
from tests.virtual.payments import CONTENT, BuyerDisk

BLOCK_BYTES = 64 * 1024
CREDIT = 8 * BLOCK_BYTES
CONFIG = PaymentConfig(credit=CreditPolicy(stranger_bytes=CREDIT, min_bytes=BLOCK_BYTES))
PATIENCE_S = 60.0


@dataclass
class Answers:
    """A fetch that takes what comes as verified."""

    blocks: dict[int, bytes] = field(default_factory=dict)
    missing: list[int] = field(default_factory=list)
    failures: dict[int, tuple[AskFailure, str]] = field(default_factory=dict)

    @property
    def count(self) -> int:
        return len(self.blocks) + len(self.missing) + len(self.failures)

    def on_block(self, request: int, block: bytes) -> int:
        self.blocks[request] = block
        return len(block)

    def on_missing(self, request: int) -> None:
        self.missing.append(request)

    def on_failure(
        self, request: int, kind: AskFailure, detail: str, retry_after_s: float | None = None
    ) -> None:
        self.failures[request] = kind, detail


@dataclass
class Trade:
    """A seller of `cids`, and a buyer that is not connected yet."""

    seller: DhtNode
    buyer: DhtNode
    till: SmallTill
    selling: BitswapExchange
    buying: BitswapExchange
    wallet: Wallet
    cids: Sequence[bytes]
    answers: Answers = field(default_factory=Answers)

    def holder(self, price: int = PRICE) -> PaidBitswapHolder:
        payer = Payer.of(self.wallet, self.seller.host.peer_id, CONTENT, price)
        call = TabCall(self.buyer.host, seed(self.seller))
        return PaidBitswapHolder(
            self.buying, seed(self.seller), self.answers, payer, call, PATIENCE_S, self.buyer.host.faults
        )

    def ask(self, holder: PaidBitswapHolder, *numbers: int) -> None:
        until_then = self.buyer.now() + PATIENCE_S
        for number in numbers:
            holder.ask(Ask(number, 0, self.cids[number], until_then, BLOCK_BYTES + 64, BLOCK_BYTES))

    async def outcome(self, cid: bytes) -> AskOutcome:
        """Of asking without an agreement of ours."""
        answer: asyncio.Future[AskOutcome] = asyncio.get_running_loop().create_future()
        self.buying.ask(seed(self.seller), cid, self.buyer.now() + PATIENCE_S, answer.set_result)
        return await answer

    def paid(self) -> tuple[int, int]:
        """Bytes paid, and bytes served and not paid, of the only buyer."""
        for row in self.till.tabs.poll_changes():
            self.till.disk.put(row)
        (row,) = self.till.disk.rows.values()
        return row.paid_bytes, sum(one.served for one in row.owed)


@asynccontextmanager
async def trade(blocks: int = 24, config: PaymentConfig = CONFIG) -> AsyncIterator[Trade]:
    async with nodes(2) as (seller, buyer):
        memory = Memory()
        till = SmallTill(config, seller.host.peer_id)
        till.now = seller.now()
        cids = [memory.put(block(number, BLOCK_BYTES)) for number in range(blocks)]
        memory.priced = {cid[2:] for cid in cids}
        till.priced |= memory.priced
        sales = PeerSales(till.till, till, lambda multihash: len(memory.blocks[multihash]))
        TabStreams(seller.host, sales, till.writer, seller.now).start()
        used = BitswapConfig()
        selling = BitswapExchange(seller.host, used, memory, memory.is_free, priced=sales)
        buying = BitswapExchange(buyer.host, used, NoBlocks(), memory.is_free)
        selling.start()
        buying.start()
        disk = BuyerDisk()
        wallet = Wallet(BuyerTabs(_identity(buyer), config, disk), Writer(disk), Clock())
        try:
            yield Trade(seller, buyer, till, selling, buying, wallet, cids)
        finally:
            await selling.close()
            await buying.close()


def _identity(node: DhtNode) -> Identity:
    return node.host.identity


def test_a_buyer_that_pays_is_served_and_all_is_paid(run: Run[Any]) -> None:
    async def main() -> None:
        async with trade() as one:
            holder = one.holder()
            one.ask(holder, *range(24))  # three times the credit
            await until(lambda: one.answers.count == 24)
            assert one.answers.blocks == {n: block(n, BLOCK_BYTES) for n in range(24)}
            await holder.close()
            assert one.paid() == (24 * BLOCK_BYTES, 0)
            assert one.till.tabs.refused.keys() <= {Reason.CREDIT}
            assert isinstance(await one.outcome(one.cids[0]), BlockAbsent)  # the agreement has ended

    run(main())


def test_who_has_agreed_to_nothing_is_told_that_it_is_not_here(run: Run[Any]) -> None:
    async def main() -> None:
        async with trade(2) as one:
            assert isinstance(await one.outcome(one.cids[0]), BlockAbsent)
            one.till.priced.clear()
            assert isinstance(await one.outcome(one.cids[1]), BlockAbsent)
            assert one.till.tabs.unpaid_bytes == 0

    run(main())


async def agreed(one: Trade, call: TabCall) -> Payment:
    """What a buyer sends that then pays nothing."""
    await call.open()
    payer = Payer.of(one.wallet, one.seller.host.peer_id, CONTENT, PRICE)
    assert payer.take(await call.price(CONTENT)) is None
    payment = payer.agreement()
    assert payment is not None
    told = await call.pay(payment)
    assert isinstance(told, TabState)
    return payment


def test_who_does_not_pay_gets_its_credit_and_no_more(run: Run[Any]) -> None:
    async def main() -> None:
        async with trade() as one:
            call = TabCall(one.buyer.host, seed(one.seller))
            payment = await agreed(one, call)
            outcomes = [await one.outcome(cid) for cid in one.cids]
            assert sum(isinstance(outcome, BlockSent) for outcome in outcomes) == 8
            assert one.paid() == (0, CREDIT)
            told = await call.pay(payment)  # the same ticket again
            assert isinstance(told, PaymentTerms)
            assert (told.reason, told.state.unpaid) == (Reason.TICKET, CREDIT)
            call.close()

    run(main())


def test_a_ticket_of_another_peer_is_none(run: Run[Any]) -> None:
    async def main() -> None:
        async with trade() as one, peer_of(one.seller) as (stranger, _, _):
            payer = Payer.of(one.wallet, one.seller.host.peer_id, CONTENT, PRICE)
            call = TabCall(stranger.host, seed(one.seller))
            await call.open()
            assert payer.take(await call.price(CONTENT)) is None
            payment = payer.agreement()
            assert payment is not None
            told = await call.pay(payment)
            assert isinstance(told, PaymentTerms)
            assert told.reason is Reason.TICKET

    run(main())


def test_a_price_that_changed_is_not_paid(run: Run[Any]) -> None:
    async def main() -> None:
        async with trade() as one:
            holder = one.holder()
            one.ask(holder, 0)
            await until(lambda: one.answers.count == 1)
            one.till.price = PRICE + 1
            one.ask(holder, 1)
            await until(lambda: one.answers.count == 2)
            kind, detail = one.answers.failures[1]
            assert kind is AskFailure.REFUSED
            assert f"asks {PRICE + 1} per MB now" in detail
            await holder.close()

    run(main())


def test_a_full_disk_serves_nothing_for_money(run: Run[Any]) -> None:
    async def main() -> None:
        async with trade() as one:
            holder = one.holder()
            one.ask(holder, 0, 1)
            await until(lambda: one.answers.count == 2)
            one.till.disk.is_full = True
            one.ask(holder, *range(2, 16))
            await until(lambda: bool(one.answers.failures))
            assert {kind for kind, _ in one.answers.failures.values()} <= {AskFailure.BUSY, AskFailure.LOST}
            assert one.till.tabs.refused[Reason.DISK]
            one.till.disk.is_full = False
            one.till.tabs.on_written(())
            await holder.close()
            assert one.paid()[1] == 0

    run(main())


def test_a_holder_that_takes_no_payments_fails_its_requests(run: Run[Any]) -> None:
    async def main() -> None:
        async with trade() as one, nodes(1, first=70) as (other,):
            payer = Payer.of(one.wallet, other.host.peer_id, CONTENT, PRICE)
            call = TabCall(one.buyer.host, seed(other))
            faults = one.buyer.host.faults
            holder = PaidBitswapHolder(one.buying, seed(other), one.answers, payer, call, 1.0, faults)
            one.ask(holder, 0, 1)
            await until(lambda: one.answers.count == 2)
            assert {kind for kind, _ in one.answers.failures.values()} == {AskFailure.LOST}
            await holder.close()

    run(main())


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(frame(b"\x09x"), id="a frame of no kind"),
        pytest.param(frame(b"\x01not base64"), id="no payment"),
        pytest.param(frame(b""), id="an empty frame"),
        pytest.param(frame(b"\x00" + bytes(81)), id="a long content"),
        pytest.param(b"\xff\xff\x03", id="a long frame"),
    ],
)
def test_what_makes_no_sense_ends_the_stream_alone(run: Run[Any], sent: bytes) -> None:
    assert MAX_FRAME_BYTES < 0xFFFF

    async def main() -> None:
        async with trade(1) as one, peer_of(one.seller) as (stranger, bitswap, _):
            link = await stranger.host.connect(seed(one.seller))
            stream = await stranger.host.streams.open(link, [TAB_PROTOCOL])
            await stream.write(sent)
            with pytest.raises(StreamFailed):
                await stream.read()
            assert link.is_open
            assert not bitswap.is_over

    run(main())


def test_streams_of_one_peer_have_a_bound(run: Run[Any]) -> None:
    async def main() -> None:
        async with trade(1) as one:
            calls = [TabCall(one.buyer.host, seed(one.seller)) for _ in range(BOUNDS.per_peer + 1)]
            for call in calls[:-1]:
                await call.open()
                assert isinstance(await call.price(b""), PaymentTerms)
            assert not await answers(calls[-1])
            calls[0].close()
            while not await answers(TabCall(one.buyer.host, seed(one.seller))):
                await one.outcome(one.cids[0])  # the seller has a turn

    run(main())


async def answers(call: TabCall) -> bool:
    """Whether its stream is served."""
    try:
        await call.open()
        return isinstance(await call.price(b""), PaymentTerms)
    except StreamFailed:
        return False


# --- what a purchase left unpaid


async def bought_without_paying(one: Trade, blocks: int) -> None:
    """They came, and the seller was gone before the receipt."""
    holder = one.holder()
    one.ask(holder, *range(blocks))
    await until(lambda: one.answers.count == blocks)
    holder._pay_timeout_s = 0.0
    await holder.close()


async def paid_up(one: Trade, wallet: Wallet, sellers: Sequence[bytes] = ()) -> DebtPayer:
    """When a wait is over."""

    async def nowhere(peer: PeerId) -> PeerInfo | None:
        return seed(one.seller)

    debts = DebtPayer(wallet, one.buyer.host, nowhere)
    debts.remember(sellers)
    await debts.look()
    assert debts.paid == 0, "it is not due yet"
    wallet.clock = Clock(lambda: time.time() + FIRST_WAIT_S)
    await debts.look()
    return debts


def test_a_debt_is_paid_without_another_purchase(run: Run[Any]) -> None:
    async def main() -> None:
        async with trade() as one:
            await bought_without_paying(one, 3)
            assert one.paid() == (0, 3 * BLOCK_BYTES)
            debts = await paid_up(one, one.wallet)
            assert (debts.paid, one.wallet.tabs.owing()) == (1, [])
            assert one.paid() == (3 * BLOCK_BYTES, 0)

    run(main())


def test_and_after_a_restart_of_either_side(run: Run[Any]) -> None:
    async def main() -> None:
        async with trade() as one:
            await bought_without_paying(one, 3)
            one.wallet.look()
            await one.wallet.close()
            disk = one.wallet._writer.disk
            (row,) = disk.rows.values()
            assert row.due or not row.is_accepted
            again = Wallet(BuyerTabs(_identity(one.buyer), CONFIG, disk), Writer(disk), Clock())
            debts = await paid_up(one, again, [row.seller])
            assert (debts.paid, again.tabs.owing()) == (1, [])
            assert one.paid() == (3 * BLOCK_BYTES, 0)

    run(main())


def test_a_seller_that_is_away_is_tried_again_later_and_later(run: Run[Any]) -> None:
    async def main() -> None:
        async with trade() as one:
            await bought_without_paying(one, 3)
            one.till.disk.is_full = True
            debts = await paid_up(one, one.wallet)
            assert debts.paid == 0
            one.till.disk.is_full = False
            await debts.look()
            assert debts.paid == 0, "not at once"
            one.wallet.clock = Clock(lambda: time.time() + 4 * FIRST_WAIT_S)
            await debts.look()
            assert (debts.paid, one.paid()) == (1, (3 * BLOCK_BYTES, 0))

    run(main())


def test_a_seller_that_lost_its_file_is_paid_on_a_session_of_its_own(run: Run[Any]) -> None:
    async def main() -> None:
        async with trade() as one:
            await bought_without_paying(one, 3)
            one.till.tabs._accounts = Accounts(one.seller.host.peer_id, "unit", CONFIG.credit, one.till.disk)
            one.till.disk.rows.clear()
            debts = await paid_up(one, one.wallet)
            assert (debts.paid, one.paid()) == (1, (3 * BLOCK_BYTES, 0))

    run(main())


@pytest.mark.parametrize(("protocol", "patience_s"), [(TAB_PROTOCOL, 60.0), (next(iter(PROTOCOLS)), 360.0)])
def test_a_byte_from_time_to_time_does_not_keep_a_stream(
    run: Run[Any], protocol: str, patience_s: float
) -> None:
    async def main() -> None:
        async with trade(1) as one:
            link = await one.buyer.host.connect(seed(one.seller))
            stream = await one.buyer.host.streams.open(link, [protocol])
            served = one.seller.host.streams
            (place,) = served._placed
            due = place.due
            assert due == pytest.approx(one.seller.now() + patience_s, abs=patience_s / 2)
            reading = asyncio.ensure_future(stream.read())
            await stream.write(b"\x20")  # of a message of 32 bytes
            await stream.write(b"\x0a")
            other = await one.buyer.host.streams.open(link, [protocol])  # answered after the bytes have come
            assert place.due == due
            other.reset()
            served.sweep(due - 0.001)
            assert place in place.shares._places
            served.sweep(due)
            assert place not in place.shares._places
            if protocol == TAB_PROTOCOL:  # of Bitswap's, the other direction was closed at once
                with pytest.raises(StreamFailed):
                    await reading
            await until(lambda: not served._placed)
            await is_reset(stream)

    run(main())
