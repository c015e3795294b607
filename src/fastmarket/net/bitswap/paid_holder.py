"""A peer that is asked over Bitswap for what costs something, and paid on a stream beside."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from fastmarket.errors import NetworkFault, PeerFault
from fastmarket.exchange.fetching.events import Ask
from fastmarket.exchange.fetching.holder import AskFailure
from fastmarket.faults import Faults
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.net.bitswap.exchange import BitswapExchange
from fastmarket.net.bitswap.holder import BitswapHolder
from fastmarket.net.fetching.holders import BlockAnswers
from fastmarket.net.fetching.payer import Payer, RefusedAsk, SendTurn, pay_rest
from fastmarket.net.tab_calls import TabCall
from fastmarket.payments.paying import MAX_REFUSALS
from fastmarket.payments.x402 import TabState


class PaidBitswapHolder:
    """One `BlockHolder`. Blocks are asked for once the peer has taken the agreement to its price, and no more
    of them than it serves before the next receipt."""

    def __init__(
        self,
        exchange: BitswapExchange,
        peer: PeerInfo,
        answers: BlockAnswers,
        payer: Payer,
        call: TabCall,
        pay_timeout_s: float,
        faults: Faults,
    ) -> None:
        """`payer`: pays for this content to this peer. `call`: not yet open."""
        self._answers = answers
        self._payer = payer
        self._call = call
        self._faults = faults
        self._pay_timeout_s = pay_timeout_s
        self._inner = BitswapHolder(exchange, peer, self)
        self._waiting: dict[int, Ask] = {}
        self._sent: dict[int, Ask] = {}
        self._again: set[int] = set()  # requests that were answered with an absence once
        self._is_agreed = self._is_open = self._is_closed = False
        self._paying: asyncio.Task[None] | None = None

    # -- BlockHolder

    @property
    def source(self) -> str:
        """For people."""
        return self._inner.source

    def ask(self, ask: Ask) -> None:
        """See `BlockHolder`."""
        self._waiting[ask.request] = ask
        self._advance()

    def drop(self, request: int) -> None:
        """See `BlockHolder`."""
        self._waiting.pop(request, None)
        self._again.discard(request)
        self._inner.drop(request)
        ask = self._sent.pop(request, None)
        if ask is not None:
            self._payer.on_nothing(ask, may_have_come=True)
            self._advance()

    async def close(self) -> None:
        """See `BlockHolder`. Pays for what came since the last receipt; if it cannot, it does with the next
        purchase."""
        self._is_closed = True
        self._waiting.clear()
        for request in tuple(self._sent):
            self.drop(request)
        await self._inner.close()
        paying = self._paying
        if paying is not None:
            await asyncio.wait([paying], timeout=self._pay_timeout_s)
            paying.cancel()
        try:
            if self._is_open:
                with suppress(NetworkFault, PeerFault, TimeoutError):
                    async with asyncio.timeout(self._pay_timeout_s):
                        await pay_rest(self._payer, self._call.pay)
        finally:
            self._call.close()

    # -- BlockAnswers

    def on_block(self, request: int, block: bytes) -> int:
        """See `BlockAnswers`."""
        ask = self._sent.pop(request)
        self._again.discard(request)
        verified = self._answers.on_block(request, block)
        self._payer.on_block(ask, verified, "", self._advance)
        self._advance()
        return verified

    def on_missing(self, request: int) -> None:
        """See `BlockAnswers`. The peer may count more than was verified here, so that no credit is left: then
        it says so once it is asked, and is paid."""
        ask = self._sent.pop(request)
        self._payer.on_nothing(ask, may_have_come=False)
        if request in self._again:
            self._again.discard(request)
            self._answers.on_missing(request)
        else:
            self._again.add(request)
            self._is_agreed = False
            self._waiting[request] = ask
        self._advance()

    def on_failure(
        self, request: int, kind: AskFailure, detail: str, retry_after_s: float | None = None
    ) -> None:
        """See `BlockAnswers`."""
        ask = self._sent.pop(request, None)
        self._again.discard(request)
        if ask is not None:
            self._payer.on_nothing(ask, may_have_come=True)
        self._answers.on_failure(request, kind, detail, retry_after_s)
        self._advance()

    # -- its own

    def _advance(self) -> None:
        """Sends what waits, as far as it is paid for."""
        if self._is_closed:
            return
        while self._waiting and self._is_agreed and not self._payer.is_receipt_ready:
            ask = next(iter(self._waiting.values()))
            turn = self._payer.may_send(ask, self._advance)
            if turn is SendTurn.WAIT:
                return
            del self._waiting[ask.request]
            if turn is SendTurn.REFUSED:
                self._answers.on_failure(ask.request, AskFailure.REFUSED, "the budget does not allow it")
                continue
            self._sent[ask.request] = ask
            self._payer.on_sent(ask)
            self._inner.ask(ask)
        if self._paying is None and (self._payer.is_receipt_ready or (self._waiting and not self._is_agreed)):
            self._paying = asyncio.ensure_future(self._pay())

    async def _pay(self) -> None:
        """Opens the stream and a session as needed, agrees to the price, and hands over the receipt."""
        try:
            refused = await self._agreed()
        except (NetworkFault, PeerFault, TimeoutError) as fault:
            refused = RefusedAsk(AskFailure.LOST, f"it cannot be paid: {fault}")
        except Exception as error:  # noqa: BLE001 - costs what waits for it
            self._faults.tell("paying a peer", error, self.source)
            refused = RefusedAsk(AskFailure.REFUSED, "a bug of ours; see the log")
        finally:
            self._paying = None
        self._is_agreed = refused is None
        if refused is not None:
            waiting, self._waiting = self._waiting, {}
            for request in waiting:
                self._answers.on_failure(request, *refused)
        self._advance()

    async def _agreed(self) -> RefusedAsk | None:
        """None: the peer has taken the agreement. Raises NetworkFault, PeerFault, TimeoutError."""
        if not self._is_open:
            await self._call.open()
            self._is_open = True
            if (refused := self._payer.take(await self._call.price(self._payer.content))) is not None:
                return refused
        for _ in range(MAX_REFUSALS):
            payment = self._payer.agreement()
            if payment is None:
                told = await self._call.price(self._payer.content)
            else:
                told = await self._call.pay(payment)
            if (refused := self._payer.take(told)) is not None:
                return refused
            if isinstance(told, TabState):
                if self._again:  # so what it misses, too
                    await pay_rest(self._payer, self._call.pay)
                return None
        return RefusedAsk(AskFailure.REFUSED, "it does not take the payment")
