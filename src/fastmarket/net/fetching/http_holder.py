"""A holder that is asked for raw blocks over HTTP: connections to it, and the requests that wait for one."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from fastmarket.config import HolderConfig
from fastmarket.errors import DialFailed, NetworkFault, PeerFault
from fastmarket.exchange.fetching.events import Ask
from fastmarket.exchange.fetching.holder import AskFailure
from fastmarket.net.clock import Clock
from fastmarket.net.dial_reasons import DialReason, failed
from fastmarket.net.fetching.holders import BlockAnswers
from fastmarket.net.fetching.http_call import HttpCall
from fastmarket.net.fetching.http_connection import HttpConnection
from fastmarket.net.fetching.http_dialer import HttpDialer
from fastmarket.net.fetching.http_response import HttpResponse, TooLong
from fastmarket.net.fetching.http_target import HttpTarget
from fastmarket.net.fetching.payer import Payer, SendTurn, pay_rest
from fastmarket.payments.frames import Told
from fastmarket.payments.x402 import Payment, decode_state, decode_terms, encode_payment

_NO_BUDGET = "the budget of the day is spent, or cannot be read"
_OK = 200
# "It does not have it", or will not give this block (410, 451). 412 and 504: it would have to look for it
# elsewhere, which the request forbids (boxo's gateway; RFC 9111 section 5.2.1.7).
MISSING = frozenset((404, 410, 412, 451, 504))
LATER = frozenset((429, 502, 503))
_REDIRECTS = range(300, 400)
_PAYMENT_REQUIRED = 402
_SERVER_ERROR = 500


class HttpHolder:
    """One `BlockHolder`. A first connection is opened alone, and more only when it stands: an offer may name
    a host that has nothing to do with it."""

    def __init__(
        self,
        target: HttpTarget,
        answers: BlockAnswers,
        dialer: HttpDialer,
        config: HolderConfig,
        clock: Clock,
        payer: Payer | None = None,
    ) -> None:
        """`payer`: pays it; None: it asks for nothing."""
        self._payer = payer
        self._root: bytes = b""  # the first CID asked for
        self.source = target.url
        self._target = target
        self._answers = answers
        self._dialer = dialer
        self._config = config
        self._clock = clock
        self._most = config.max_connections_per_holder
        self._addresses: list[str] = []
        self._waiting: dict[int, Ask] = {}
        self._sent: dict[HttpConnection, Ask] = {}
        self._on: dict[int, HttpConnection] = {}  # by the number of the request
        self._idle: list[HttpConnection] = []
        self._repeated: set[int] = set()  # requests sent again after a kept connection had ended
        self._dials: set[asyncio.Task[HttpConnection]] = set()
        self._is_closed = False

    # -- BlockHolder

    def ask(self, ask: Ask) -> None:
        """See `BlockHolder`."""
        self._waiting[ask.request] = ask
        self._root = self._root or ask.cid
        self._advance()

    def drop(self, request: int) -> None:
        """See `BlockHolder`. A request that was sent costs its connection."""
        self._waiting.pop(request, None)
        self._repeated.discard(request)
        connection = self._on.get(request)
        if connection is not None:
            self._end(connection)
            self._advance()

    async def close(self) -> None:
        """See `BlockHolder`."""
        self._is_closed = True
        self._waiting.clear()
        for task in self._dials:
            task.cancel()
        for connection in tuple(self._sent):
            self._end(connection)
        if self._payer is not None and self._root:
            with suppress(NetworkFault, PeerFault, TimeoutError):  # then with the next purchase
                async with asyncio.timeout(self._config.pay_timeout_s):
                    await pay_rest(self._payer, self._pay)
        for connection in (*self._sent, *self._idle):
            self._end(connection)
        await asyncio.gather(*self._dials, return_exceptions=True)

    async def _pay(self, payment: Payment) -> Told:
        """On a small request beside those of the fetch. Raises NetworkFault, PeerFault."""
        request = self._target.request(self._root, is_head=True, payment=encode_payment(payment))
        answer = await self._call(request)
        is_refused = answer.status == _PAYMENT_REQUIRED
        return decode_terms(answer.payment) if is_refused else decode_state(answer.payment)

    async def _call(self, request: bytes) -> HttpResponse:
        """A request beside those of the fetch, on a connection of its own. Raises NetworkFault, PeerFault."""
        call = HttpCall()
        addresses = self._addresses or await self._dialer.addresses(self._target)
        connection = await self._dialer.connect(self._target, addresses, call)
        try:
            connection.send(request, 0, is_head=True)
            return await call.answer
        finally:
            connection.close()

    # -- ConnectionOwner

    def on_response(self, connection: HttpConnection, response: HttpResponse) -> None:
        """Answers the request, and sends the next."""
        ask = self._answered(connection)
        if response.is_kept:
            self._idle.append(connection)
        else:
            self._dialer.release()
        if ask is not None:
            self._tell(ask, response)
        self._advance()

    def on_lost(self, connection: HttpConnection, fault: PeerFault | None) -> None:
        """A request on a connection that had been kept is sent again, once: the holder may have closed it
        just before."""
        ask = self._answered(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        elif ask is None:
            return  # just made; `_dial` will see
        self._dialer.release()
        if ask is not None and self._payer is not None:
            self._payer.on_nothing(ask, may_have_come=True)
        if ask is not None and fault is not None:
            kind = AskFailure.OVERSIZED if isinstance(fault, TooLong) else AskFailure.MALFORMED
            self._answers.on_failure(ask.request, kind, str(fault))
        elif ask is not None and connection.served and ask.request not in self._repeated:
            self._repeated.add(ask.request)
            self._waiting[ask.request] = ask
        elif ask is not None:
            self._answers.on_failure(ask.request, AskFailure.LOST, "it closed the connection")
        self._advance()

    # -- its own

    @property
    def _open(self) -> int:
        return len(self._sent) + len(self._idle)

    def _answered(self, connection: HttpConnection) -> Ask | None:
        ask = self._sent.pop(connection, None)
        if ask is not None:
            del self._on[ask.request]
        return ask

    def _end(self, connection: HttpConnection) -> None:
        """Closes it, of our own."""
        ask = self._answered(connection)
        if ask is not None and self._payer is not None:
            self._payer.on_nothing(ask, may_have_come=True)
        if connection in self._idle:
            self._idle.remove(connection)
        connection.close()
        self._dialer.release()

    def _advance(self) -> None:
        """Sends what waits, and opens connections for the rest."""
        if self._is_closed:
            return
        while self._waiting and self._idle and self._may_send():
            self._send(self._idle.pop())
        is_known = bool(self._open)
        wanted = min(len(self._waiting), self._most - self._open) if is_known else min(len(self._waiting), 1)
        while len(self._dials) < wanted:
            if not self._dialer.take():
                if not self._open and not self._dials:
                    self._fail_all(AskFailure.BUSY, "too many connections are open here")
                return
            task = asyncio.ensure_future(self._dial())
            self._dials.add(task)
            task.add_done_callback(self._dialed)

    def _may_send(self) -> bool:
        """Whether the next request may be sent."""
        while self._payer is not None and self._waiting:
            ask = next(iter(self._waiting.values()))
            turn = self._payer.may_send(ask, self._advance)
            if turn is not SendTurn.REFUSED:
                return turn is SendTurn.SEND
            del self._waiting[ask.request]
            self._answers.on_failure(ask.request, AskFailure.REFUSED, _NO_BUDGET)
        return bool(self._waiting)

    def _send(self, connection: HttpConnection) -> None:
        ask = next(iter(self._waiting.values()))
        del self._waiting[ask.request]
        try:
            payment = "" if self._payer is None else self._payer.header(ask)
            text = self._target.request(ask.cid, payment=payment)
        except PeerFault as fault:  # the walk would have refused such a link
            self._idle.append(connection)
            if self._payer is not None:
                self._payer.on_nothing(ask, may_have_come=False)
            self._answers.on_failure(ask.request, AskFailure.MALFORMED, str(fault))
            return
        self._sent[connection] = ask
        self._on[ask.request] = connection
        connection.send(text, ask.most_bytes)

    async def _dial(self) -> HttpConnection:
        """Raises DialFailed."""
        if not self._addresses:
            self._addresses = await self._dialer.addresses(self._target)
        return await self._dialer.connect(self._target, self._addresses, self)

    def _dialed(self, task: asyncio.Task[HttpConnection]) -> None:
        self._dials.discard(task)
        fault = None if task.cancelled() else task.exception()
        connection = None if task.cancelled() or fault is not None else task.result()
        if connection is not None and not connection.is_closed and not self._is_closed:
            self._idle.append(connection)
        else:
            self._dialer.release()
            if connection is not None:
                connection.close()
            if not self._is_closed:
                self._on_dial_failed(fault or failed(self.source, DialReason.CLOSED))
        self._advance()

    def _on_dial_failed(self, fault: BaseException) -> None:
        if not isinstance(fault, DialFailed):
            self._fail_all(AskFailure.UNREACHABLE, "a bug of ours; see the log")
            raise fault
        if self._open:  # it takes no more than these
            self._most = self._open + len(self._dials)
        elif not self._dials:
            self._fail_all(AskFailure.UNREACHABLE, fault.reason)

    def _fail_all(self, kind: AskFailure, detail: str) -> None:
        waiting, self._waiting = self._waiting, {}
        for request in waiting:
            self._answers.on_failure(request, kind, detail)

    def _tell(self, ask: Ask, response: HttpResponse) -> None:
        status, request, payer = response.status, ask.request, self._payer
        self._repeated.discard(request)
        if status == _OK:
            verified = self._answers.on_block(request, response.body)
            if payer is not None:
                payer.on_block(ask, verified, response.payment, self._advance)
            return
        if payer is not None and status == _PAYMENT_REQUIRED:
            refused = payer.on_refused(ask, response.payment, self._advance)
            if refused is None:
                self._waiting[request] = ask
            else:
                self._answers.on_failure(request, *refused)
            return
        if payer is not None:
            payer.on_nothing(ask, may_have_come=False)
        if status in MISSING:
            self._answers.on_missing(request)
        elif status in LATER:
            wait_s = retry_after_s(response.retry_after, self._clock.now(), self._config.max_retry_after_s)
            self._answers.on_failure(request, AskFailure.BUSY, f"it is busy (status {status})", wait_s)
        else:
            kind = AskFailure.LOST if status >= _SERVER_ERROR else AskFailure.REFUSED
            self._answers.on_failure(request, kind, _refusal(status))


def retry_after_s(text: str, now: float, most_s: float) -> float | None:
    """Seconds that a Retry-After asks for (RFC 9110 section 10.2.3), at most `most_s`; None if it says
    nothing that can be read."""
    if text.isascii() and text.isdecimal():
        return min(float(text[:9]), most_s)
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return min(max(0.0, (at - datetime.fromtimestamp(now, UTC)).total_seconds()), most_s)


def _refusal(status: int) -> str:
    if status in _REDIRECTS:
        return f"it redirects (status {status}), which is not followed"
    if status == _PAYMENT_REQUIRED:
        return "it asks for payment first"
    return f"it answers with status {status}"
