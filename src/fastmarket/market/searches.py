"""Searches of `fastmarket.v1.Market`: a single one, or many in one message."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc

from fastmarket.config import MarketConfig
from fastmarket.errors import Busy, CallerFault, FastmarketError, StorageFault
from fastmarket.formats.cid import Named
from fastmarket.market import replies
from fastmarket.market.calls import Work
from fastmarket.market.grpc_errors import status_of
from fastmarket.market.requests import v1_named
from fastmarket.market.service import MarketService
from fastmarket.market.sharing import CALLER
from fastmarket.offers.model.offer import Offer
from fastmarket.pb.fastmarket.v1 import market_pb2 as v1


@dataclass(frozen=True, slots=True)
class _Asking:
    """A search that has to query peers, and where its answer goes."""

    content: Named
    search: v1.FindHoldersRequest
    place: v1.FoundHolders


_TOO_LATE = grpc.StatusCode.DEADLINE_EXCEEDED.value[0]


class Searches:
    """Searches over one service."""

    def __init__(self, service: MarketService, config: MarketConfig, work: Work) -> None:
        self._service = service
        self._config = config
        self._work = work

    @asynccontextmanager
    async def slot(
        self, content: bytes, wait_s: float, deadline_s: float | None
    ) -> AsyncGenerator[float | None, None]:
        """A search's slot among those of all callers; yields the seconds its caller has left by then.

        Waits for it up to `wait_s`. Raises `Busy`. A result known without querying peers needs no slot.
        """
        if self._service.known(content) is not None:
            yield deadline_s
            return
        began, caller = time.monotonic(), CALLER.get()
        try:
            async with asyncio.timeout(wait_s):
                await self._work.searches.take(caller)
        except TimeoutError:
            raise Busy("content", "too many searches in progress") from None
        try:
            yield None if deadline_s is None else max(deadline_s - (time.monotonic() - began), 0.0)
        finally:
            self._work.searches.release(caller)

    async def find(self, content: bytes) -> list[Offer]:
        """Like the service's, but with a slot and in its turn; for a watch, which can wait: hundreds may be
        due at once."""
        await self._work.turns.take(CALLER.get(), 1)
        async with self.slot(content, self._config.bulk_budget_s, None):
            return await self._service.find(content)

    async def holders(self, request: v1.FindHoldersRequest, found: Iterable[Offer]) -> list[v1.Holder]:
        """The holders that the request asks for, out of live offers in the order given, as many as a message
        may have; many are made in turns."""
        made = await self._work.made(replies.holder_of, _wanted(request, found))
        return replies.fitting(made, self._config.max_response_bytes)

    async def batch(
        self, request: v1.FindHoldersBatchRequest, deadline_s: float | None
    ) -> v1.FindHoldersBatchResponse:
        """The answer to a message; a search's fault is reported inside it. Raises `StorageFault`."""
        answer = v1.FindHoldersBatchResponse(id=request.id)
        try:
            if request.searches:
                await self._find_many(request, answer, deadline_s)
                return answer
            content = v1_named(request.search.content)
            wait_s = self._config.bulk_budget_s if deadline_s is None else deadline_s
            async with self.slot(content.multihash, wait_s, deadline_s) as left_s:
                found = await self._service.find(content.multihash, left_s)
            answer.cid, answer.named_by = content.cid, content.by  # type: ignore[assignment]
            answer.holders.extend(await self.holders(request.search, found))
        except FastmarketError as fault:
            _tell(answer, fault)
        return answer

    async def _find_many(
        self,
        request: v1.FindHoldersBatchRequest,
        answer: v1.FindHoldersBatchResponse,
        deadline_s: float | None,
    ) -> None:
        count, most = len(request.searches), self._config.max_searches
        if count > most:
            raise CallerFault("searches", f"expects 1 to {most}, got {count}")
        if request.HasField("search"):
            raise CallerFault("search", "cannot be combined with searches")
        given_s = self._config.bulk_budget_s if deadline_s is None else deadline_s
        end = time.monotonic() + given_s - self._config.reply_margin_s
        share = self._config.max_response_bytes // count
        asking: list[_Asking] = []
        caller, turn = CALLER.get(), self._config.searches_a_piece
        for number, search in enumerate(request.searches):
            if not number % turn:
                await self._work.turns.take(caller, min(turn, count - number))
            place = answer.found.add()
            try:
                one = _Asking(v1_named(search.content), search, place)
                known = self._service.known(one.content.multihash)
                if known is None:
                    asking.append(one)
                else:
                    self._fill(one, known.offers, share)
            except FastmarketError as fault:
                _tell(place, fault)
        waiting = iter(asking)
        workers = min(len(asking), self._config.searches_at_once)
        tasks = [asyncio.ensure_future(self._ask_each(waiting, share, end)) for _ in range(workers)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

    async def _ask_each(self, waiting: Iterator[_Asking], share: int, end: float) -> None:
        caller = CALLER.get()
        for one in waiting:
            try:
                async with asyncio.timeout(end - time.monotonic()):
                    await self._work.searches.take(caller)
            except TimeoutError:
                _too_late(one.place)
                continue
            try:
                left_s = end - time.monotonic()
                if left_s > 0:
                    # The margin was deducted from the whole message's time; the search deducts it again.
                    left_s += self._config.reply_margin_s
                    self._fill(one, await self._service.find(one.content.multihash, left_s), share)
                else:
                    _too_late(one.place)
            except FastmarketError as fault:
                _tell(one.place, fault)
            finally:
                self._work.searches.release(caller)

    def _fill(self, one: _Asking, found: Iterable[Offer], share: int) -> None:
        one.place.cid, one.place.named_by = one.content.cid, one.content.by  # type: ignore[assignment]
        made = map(replies.holder_of, _wanted(one.search, found))
        one.place.holders.extend(replies.fitting(made, share))


def _wanted(request: v1.FindHoldersRequest, found: Iterable[Offer]) -> list[Offer]:
    """Those among live offers that the request asks for."""
    wanted = list(found)
    if request.HasField("max_price"):
        most = request.max_price
        wanted = [offer for offer in wanted if offer.price_per_mb <= most]
    if request.order == v1.NEWEST:
        wanted.sort(key=lambda offer: offer.seq, reverse=True)
    return wanted[: request.limit] if request.limit else wanted


def _too_late(place: v1.FoundHolders) -> None:
    place.code, place.message = _TOO_LATE, "the deadline passed before its turn"


def _tell(place: v1.FindHoldersBatchResponse | v1.FoundHolders, fault: FastmarketError) -> None:
    if isinstance(fault, StorageFault):
        raise fault
    status = status_of(fault)
    place.code, place.message = status.code.value[0], status.details
