"""`Fetch` of `fastmarket.v1.Market`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from typing import TYPE_CHECKING

from google.protobuf.message import Message

from fastmarket.config import MarketConfig
from fastmarket.errors import Busy, Unmet
from fastmarket.exchange.fetching.order import (
    FetchOrder,
    FetchPlan,
    FetchProgress,
    FetchReport,
    FetchSummary,
    HolderShare,
)
from fastmarket.formats.cid_path import cid_and_path
from fastmarket.formats.varint import encode_uvarint
from fastmarket.market.access import AccessScope
from fastmarket.market.calls import Calls, Method
from fastmarket.market.sharing import CALLER, FROM_HERE, Share
from fastmarket.part_files import NO_OUTPUT
from fastmarket.pb.fastmarket.v1 import market_pb2 as v1

if TYPE_CHECKING:
    from fastmarket.net.fetching.fetcher import Fetcher

_DATA_TAG = bytes((v1.FetchResponse.DATA_FIELD_NUMBER << 3 | 2,))


class FetchingMethods:
    """The method, over the node's fetcher; without one it says so."""

    def __init__(self, fetcher: Fetcher | None, config: MarketConfig) -> None:
        self._fetcher = fetcher
        self._fetches = Share(config.max_fetches)

    def handlers(self, calls: Calls) -> dict[str, Method]:
        """By name. A fetch spends money and may write files."""
        return {"Fetch": Method(AccessScope.WRITE, calls.streaming(v1.FetchRequest, self._fetch))}

    async def _fetch(
        self, request: v1.FetchRequest, deadline_s: float | None
    ) -> AsyncGenerator[Message | bytes, None]:
        if self._fetcher is None:
            raise Unmet("content", "this node fetches nothing", "NO_FETCHER")
        order = _order(request)
        caller = CALLER.get()
        if not self._fetches.take(caller):
            raise Busy("content", f"{self._fetches.used} fetches are running already")
        try:
            async with aclosing(self._fetcher.fetch(order)) as reports:
                async for report in reports:
                    yield _message(report)
        finally:
            self._fetches.release(caller)


def _order(request: v1.FetchRequest) -> FetchOrder:
    """Raises CallerFault, Unmet."""
    root, path = cid_and_path(request.content)
    if request.output and not FROM_HERE.get():
        raise Unmet("output", "is for programs on this node's machine", NO_OUTPUT)
    return FetchOrder(
        root,
        path,
        request.max_price if request.HasField("max_price") else None,
        request.max_cost if request.HasField("max_cost") else None,
        request.first,
        request.last if request.HasField("last") else None,
        request.output,
        request.output_proof,
        request.plan_only,
    )


def _message(report: FetchReport) -> Message | bytes:
    if isinstance(report, bytes):  # a message of this one field; protobuf would copy the bytes twice more
        return b"".join((_DATA_TAG, encode_uvarint(len(report)), report))
    return _MESSAGES[type(report)](report)


def _plan(plan: FetchPlan) -> v1.FetchResponse:
    told = v1.FetchPlan(
        cid=plan.cid,
        size=plan.size,
        wanted=plan.wanted,
        most_cost=plan.most_cost,
        holders=_holders(plan.holders),
    )
    return v1.FetchResponse(plan=told)


def _progress(progress: FetchProgress) -> v1.FetchResponse:
    told = v1.FetchProgress(done=progress.done, wanted=progress.wanted, holders=_holders(progress.holders))
    return v1.FetchResponse(progress=told)


def _summary(summary: FetchSummary) -> v1.FetchResponse:
    told = v1.FetchSummary(
        cid=summary.cid,
        bytes=summary.bytes,
        fetched=summary.fetched,
        cost=summary.cost,
        took_s=summary.took_s,
        holders=_holders(summary.holders),
    )
    return v1.FetchResponse(summary=told)


_MESSAGES: dict[type, Callable[..., v1.FetchResponse]] = {
    FetchPlan: _plan,
    FetchProgress: _progress,
    FetchSummary: _summary,
}


def _holders(shares: Iterable[HolderShare]) -> list[v1.FetchHolder]:
    return [
        v1.FetchHolder(
            provider=share.provider,
            source=share.source,
            price=share.price,
            bytes=share.bytes,
            rate=share.rate,
            cost=share.cost,
            ended=share.ended,
            name=share.name,
        )
        for share in shares
    ]
