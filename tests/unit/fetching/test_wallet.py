"""What a holder is paid with, and what becomes of requests that it refuses."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from fastmarket.config import PaymentConfig
from fastmarket.errors import StorageFault
from fastmarket.exchange.fetching.events import Ask
from fastmarket.exchange.fetching.holder import AskFailure
from fastmarket.formats.cid import sha256_multihash
from fastmarket.net.clock import Clock
from fastmarket.net.fetching.payer import LastTurn, Payer, RefusedAsk, SendTurn
from fastmarket.net.fetching.wallet import Wallet
from fastmarket.payments.buyer import MAX_NEW_TABS, BuyerTabs
from fastmarket.payments.paying import MAX_REFUSALS
from fastmarket.payments.reasons import Reason
from fastmarket.payments.receipt import open_receipt
from fastmarket.payments.rows import BuyerRow
from fastmarket.payments.x402 import (
    PaymentTerms,
    TabState,
    decode_state,
    decode_terms,
    encode_payment,
    encode_terms,
)
from tests.conftest import Run
from tests.virtual.payments import BLOCK_BYTES, CONTENT, BuyerDisk, VirtualSeller, identity

RAW = b"\x01\x55"
MIB = 1 << 20


class Writer:
    """Rows go to disk at once, or, `is_held`, when the test says so."""

    def __init__(self, disk: BuyerDisk) -> None:
        self.disk = disk
        self.is_held = self.is_full = False
        self.waiting: list[tuple[Sequence[BuyerRow], asyncio.Future[None]]] = []
        self.given: set[asyncio.Future[None]] = set()

    def put(self, rows: Sequence[BuyerRow]) -> asyncio.Future[None]:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting.append((rows, done))
        self.given.add(done)
        if not self.is_held:
            self.let_go()
        return done

    def let_go(self) -> None:
        waiting, self.waiting = self.waiting, []
        for rows, done in waiting:
            if self.is_full:
                done.set_exception(StorageFault("the disk is full"))
                continue
            for row in rows:
                self.disk.put(row)
            done.set_result(None)

    async def told(self) -> None:
        """Who put something knows what became of it."""
        given, self.given = self.given, set()
        if given:
            await asyncio.wait(given)


class Buyer:
    """One holder's payer, and the seller behind it; requests are answered at once."""

    def __init__(self, seller: VirtualSeller, config: PaymentConfig | None = None) -> None:
        self.seller = seller
        self.disk = BuyerDisk()
        self.writer = Writer(self.disk)
        self.ahead_s = 0.0
        self.clock = Clock(monotonic=lambda: time.monotonic() + self.ahead_s)
        self.config = config or PaymentConfig()
        self.begin()
        self.woken = 0
        self.requests = 0

    def begin(self) -> None:
        """As after a restart."""
        self.wallet = Wallet(BuyerTabs(identity(1000), self.config, self.disk), self.writer, self.clock)
        self.payer = Payer.of(self.wallet, self.seller.peer_id, CONTENT, 3)
        self.purse = self.wallet.tabs.purse(self.seller.peer_id, bytes(16))

    def wake(self) -> None:
        self.woken += 1

    def ask(self) -> Ask:
        self.requests += 1
        cid = RAW + sha256_multihash(self.requests.to_bytes(4, "big"))
        return Ask(self.requests, 0, cid, BLOCK_BYTES + 64, self.clock.now() + 60, BLOCK_BYTES)

    def sent(self, ask: Ask) -> tuple[str, str]:
        """What the seller answers: PAYMENT-RESPONSE, or PAYMENT-REQUIRED."""
        header, now = self.payer.header(ask), self.clock.now()
        if not header:
            return "", self.terms(Reason.SESSION)
        return self.seller.request(header, ask.cid[2:], BLOCK_BYTES, now)

    def terms(self, reason: Reason, **changes: object) -> str:
        tabs = self.seller.tabs
        told = PaymentTerms(reason, tabs.seller, tabs.currency, 3, tabs.session_key, TabState())
        return encode_terms(replace(told, **changes), "/ipfs/x", 1)  # type: ignore[arg-type]

    async def fetch(self, blocks: int) -> RefusedAsk | None:
        """So many, one after the other; why one did not come."""
        for _ in range(blocks):
            ask = self.ask()
            while True:
                turn = self.payer.may_send(ask, self.wake)
                if turn is SendTurn.REFUSED:
                    return RefusedAsk(AskFailure.REFUSED, "budget")
                if turn is SendTurn.WAIT:
                    await self.writer.told()
                    continue
                told, required = self.sent(ask)
                if told:
                    self.payer.on_block(ask, BLOCK_BYTES, told, self.wake)
                    break
                refused = self.payer.on_refused(ask, required, self.wake)
                if refused is not None:
                    return refused
            if not self.writer.is_held:
                await self.writer.told()
        return None

    async def finish(self) -> None:
        """The last payment."""
        while (payment := self.payer.last_payment(self.wake)) is not LastTurn.PAID:
            if payment is not LastTurn.WAIT:
                text = encode_payment(payment)
                told, required = self.seller.request(text, CONTENT, 0, self.clock.now())
                if self.payer.take(decode_state(told) if told else decode_terms(required)) is not None:
                    return
            await self.writer.told()


def row(buyer: Buyer) -> Any:
    buyer.seller.flush()
    return buyer.seller.disk.rows[identity(1000).peer_id.raw, "unit"]


def agreed(buyer: Buyer) -> int:
    """Bytes that both have as paid."""
    theirs = row(buyer)
    assert (theirs.paid_bytes, theirs.paid_amount) == (buyer.purse.paid_bytes, buyer.purse.paid_amount)
    assert buyer.purse.is_accepted
    return int(theirs.paid_bytes)


def scenario(run: Run[Any], play: Callable[[Buyer], Any], config: PaymentConfig | None = None) -> None:
    async def main() -> None:
        await play(Buyer(VirtualSeller(), config))

    run(main())


def test_blocks_are_paid_for_as_they_come_and_the_rest_at_the_end(run: Run[Any]) -> None:
    async def play(buyer: Buyer) -> None:
        assert await buyer.fetch(40) is None
        assert 30 * BLOCK_BYTES < buyer.purse.paid_bytes < 40 * BLOCK_BYTES
        await buyer.finish()
        assert agreed(buyer) == 40 * BLOCK_BYTES

    scenario(run, play)


def test_no_receipt_is_sent_before_it_is_on_disk(run: Run[Any]) -> None:
    async def play(buyer: Buyer) -> None:
        assert await buyer.fetch(2) is None
        buyer.writer.is_held = True
        assert await buyer.fetch(6) is None  # within the credit
        assert buyer.purse.seq == 1
        assert row(buyer).seq == 0
        assert buyer.payer.last_payment(buyer.wake) is LastTurn.WAIT
        buyer.writer.is_held = False
        buyer.writer.let_go()
        await buyer.writer.told()
        assert buyer.woken
        await buyer.finish()
        assert agreed(buyer) == 8 * BLOCK_BYTES

    scenario(run, play)


def test_a_receipt_that_could_not_be_written_is_written_later(run: Run[Any]) -> None:
    async def play(buyer: Buyer) -> None:
        buyer.writer.is_full = True
        assert await buyer.fetch(8) is None
        assert not buyer.purse.is_written
        buyer.writer.is_full = False
        buyer.wallet.look()
        await buyer.writer.told()
        await buyer.finish()
        assert agreed(buyer) == 8 * BLOCK_BYTES
        assert buyer.disk.rows[buyer.seller.peer_id.raw, "unit"].seq == buyer.purse.seq

    scenario(run, play)


def test_answers_to_requests_of_an_older_session_do_not_end_the_opening_of_the_next(run: Run[Any]) -> None:
    async def play(buyer: Buyer) -> None:
        assert await buyer.fetch(1) is None
        late = buyer.ask()
        told, _ = buyer.sent(late)  # its answer is on its way
        buyer.seller.crash()  # another key
        other = buyer.ask()
        _, required = buyer.sent(other)
        assert buyer.payer.on_refused(other, required, buyer.wake) is None
        assert buyer.purse.opening
        buyer.payer.on_block(late, BLOCK_BYTES, told, buyer.wake)
        assert buyer.purse.opening, "the seller has not seen it"
        sessions = buyer.purse.opened
        assert await buyer.fetch(4) is None
        assert (buyer.purse.opened, buyer.purse.opening) == (sessions, b"")

    scenario(run, play)


def test_many_requests_that_are_refused_at_once_open_one_session(run: Run[Any]) -> None:
    async def play(buyer: Buyer) -> None:
        assert await buyer.fetch(1) is None
        buyer.seller.crash()
        asks = [buyer.ask() for _ in range(8)]
        answers = [buyer.sent(ask)[1] for ask in asks]
        opened = set()
        for ask, required in zip(asks, answers, strict=True):
            assert buyer.payer.on_refused(ask, required, buyer.wake) is None
            opened.add(buyer.purse.opened)
        assert len(opened) == 1
        assert all(buyer.sent(ask)[0] for ask in asks)

    scenario(run, play)


def test_nothing_is_asked_beyond_the_credit_while_a_receipt_is_on_its_way(run: Run[Any]) -> None:
    """The seller counts what it pays for until it has it; to be refused again and again meanwhile would end
    the purchase."""

    async def play(buyer: Buyer) -> None:
        buyer.writer.is_held = True
        turns = []
        for is_held in (True, False):
            buyer.writer.is_held = is_held
            if not is_held:
                buyer.writer.let_go()
                await buyer.writer.told()
                carrier = buyer.ask()
                assert buyer.payer.may_send(carrier, buyer.wake) is SendTurn.SEND
                buyer.payer.header(carrier)  # with the receipt; the seller's disk is slow
            while (turn := buyer.payer.may_send(ask := buyer.ask(), buyer.wake)) is SendTurn.SEND:
                told, required = buyer.sent(ask)
                if not told:
                    assert buyer.payer.on_refused(ask, required, buyer.wake) is None
                    assert Reason.CREDIT not in buyer.seller.tabs.refused
                else:
                    buyer.payer.on_block(ask, BLOCK_BYTES, told, buyer.wake)
            turns.append(turn)
        assert turns == [SendTurn.WAIT, SendTurn.WAIT]
        assert Reason.CREDIT not in buyer.seller.tabs.refused
        assert buyer.purse.seq == 1
        assert 3 * MIB < buyer.seller.served_bytes <= 4 * MIB

    scenario(run, play)


# --- refused for good


def test_a_receipt_that_expired_before_it_was_taken_is_signed_again(run: Run[Any]) -> None:
    async def play(buyer: Buyer) -> None:
        assert await buyer.fetch(3) is None
        first = buyer.payer.last_payment(buyer.wake)
        assert first is LastTurn.WAIT
        await buyer.writer.told()
        sums = open_receipt(buyer.purse.receipt).sums
        buyer.ahead_s = AFTER_IT_EXPIRED_S
        await buyer.finish()
        assert open_receipt(row(buyer).receipt).sums == sums
        assert open_receipt(row(buyer).receipt).valid_until > buyer.clock.now()
        assert buyer.seller.tabs.refused[Reason.EXPIRED] == 1
        assert agreed(buyer) == 3 * BLOCK_BYTES
        assert row(buyer).proof == ()

    scenario(run, play)


AFTER_IT_EXPIRED_S = 40 * 86_400.0


def test_a_seller_that_lost_its_file_is_paid_on(run: Run[Any]) -> None:
    async def play(buyer: Buyer) -> None:
        assert await buyer.fetch(20) is None
        buyer.seller.disk.rows.clear()
        buyer.seller.crash()
        assert await buyer.fetch(20) is None
        await buyer.finish()
        assert agreed(buyer) == 40 * BLOCK_BYTES

    scenario(run, play)


def test_a_buyer_with_an_old_copy_of_its_file_begins_a_new_tab(run: Run[Any]) -> None:
    async def play(buyer: Buyer) -> None:
        assert await buyer.fetch(8) is None
        await buyer.finish()
        old = dict(buyer.disk.rows)
        assert await buyer.fetch(8) is None
        await buyer.finish()
        buyer.disk.rows.update(old)
        buyer.begin()
        assert await buyer.fetch(24) is None
        await buyer.finish()
        assert agreed(buyer) == 24 * BLOCK_BYTES
        assert buyer.wallet.tabs.refused == {Reason.SEQ: 1}
        assert (row(buyer).total_bytes, row(buyer).proof, row(buyer).owed) == (16 * BLOCK_BYTES, (), ())

    scenario(run, play)


@pytest.mark.parametrize("reason", [Reason.SEQ, Reason.AMOUNT, Reason.TAB, Reason.BYTES, Reason.SIGNATURE])
def test_a_receipt_refused_for_good_ends_its_tab_and_not_the_purchase(run: Run[Any], reason: Reason) -> None:
    async def play(buyer: Buyer) -> None:
        assert await buyer.fetch(6) is None
        old, ask = buyer.purse.tab, buyer.ask()
        buyer.payer.header(ask)
        assert buyer.payer.on_refused(ask, buyer.terms(reason), buyer.wake) is None
        assert buyer.purse.tab.salt != old.salt
        assert buyer.wallet.tabs.refused == {reason: 1}
        assert (buyer.purse.seq, buyer.purse.paid_bytes, buyer.purse.is_accepted) == (0, 0, True)
        assert await buyer.fetch(6) is None
        await buyer.finish()
        assert row(buyer).salt == buyer.purse.tab.salt
        assert row(buyer).owed == ()  # what the seller misses is paid for, within the window
        assert buyer.purse.unverified <= buyer.config.window_bytes

    scenario(run, play)


def test_a_seller_that_refuses_every_receipt_is_left(run: Run[Any]) -> None:
    async def play(buyer: Buyer) -> None:
        refused = None
        while refused is None:
            ask = buyer.ask()
            for _ in range(MAX_REFUSALS):
                buyer.payer.header(ask)
                refused = buyer.payer.on_refused(ask, buyer.terms(Reason.SESSION), buyer.wake)
                if refused is None:
                    buyer.payer.header(ask)
                    refused = buyer.payer.on_refused(ask, buyer.terms(Reason.AMOUNT), buyer.wake)
                if refused is not None:
                    break
        assert refused.kind is AskFailure.REFUSED
        assert "cumulative_amount" in refused.detail
        assert buyer.purse.new_tabs == MAX_NEW_TABS
        assert buyer.purse.unverified <= buyer.config.window_bytes

    scenario(run, play)


@pytest.mark.parametrize("reason", [Reason.PEER, Reason.TABS, Reason.FRAUD, Reason.PRICE])
def test_what_cannot_be_mended_ends_the_request_with_its_reason(run: Run[Any], reason: Reason) -> None:
    async def play(buyer: Buyer) -> None:
        assert await buyer.fetch(1) is None
        ask = buyer.ask()
        buyer.sent(ask)
        refused = buyer.payer.on_refused(ask, buyer.terms(reason), buyer.wake)
        assert refused is not None
        assert refused.kind is AskFailure.REFUSED
        assert reason.value in refused.detail

    scenario(run, play)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"currency": "other"}, "other for"),
        ({"seller": identity(7).peer_id}, str(identity(7).peer_id)),
        ({"price": 4}, "asks 4 per MB"),
    ],
)
def test_other_terms_than_those_of_the_offer_are_not_paid(
    run: Run[Any], changes: dict[str, object], told: str
) -> None:
    async def play(buyer: Buyer) -> None:
        ask = buyer.ask()
        buyer.payer.header(ask)
        refused = buyer.payer.on_refused(ask, buyer.terms(Reason.SESSION, **changes), buyer.wake)
        assert refused is not None
        assert told in refused.detail
        assert buyer.purse.secret is None

    scenario(run, play)


def test_who_is_asked_to_wait_waits(run: Run[Any]) -> None:
    async def play(buyer: Buyer) -> None:
        for reason in (Reason.DISK, Reason.HOUR, Reason.PENDING):
            ask = buyer.ask()
            buyer.payer.header(ask)
            refused = buyer.payer.on_refused(ask, buyer.terms(reason), buyer.wake)
            assert refused is not None
            assert refused.kind is AskFailure.BUSY
            assert refused.retry_after_s

    scenario(run, play)


def test_a_budget_that_cannot_be_read_is_none(run: Run[Any]) -> None:
    async def play(buyer: Buyer) -> None:
        def fails(day: int) -> int:
            raise StorageFault("cannot read")

        buyer.disk.spent = fails  # type: ignore[method-assign]
        assert buyer.payer.may_send(buyer.ask(), buyer.wake) is SendTurn.REFUSED

    scenario(run, play, PaymentConfig(budget_per_day=100))
