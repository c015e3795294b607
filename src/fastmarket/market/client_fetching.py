"""The client's half of fetching: Fetch, to a stream of bytes or to a file."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from dataclasses import replace
from os import PathLike
from pathlib import Path

from fastmarket.errors import NodeFault, Unmet
from fastmarket.exchange.fetching.order import (
    FetchPlan,
    FetchProgress,
    FetchReport,
    FetchSummary,
    HolderShare,
)
from fastmarket.market.access import is_loopback
from fastmarket.market.client_calls import ClientCalls, RpcMethod, sendable
from fastmarket.part_files import NO_OUTPUT, OUTPUT_CHANGED, PartFile
from fastmarket.pb.fastmarket.v1 import market_pb2 as v1

_FETCH = RpcMethod("/fastmarket.v1.Market/Fetch", v1.FetchResponse)

# Pauses between proofs, while the file changes under them.
_PROVE_AGAIN_S = (0.05, 0.2, 0.8, 0.0)

OnReport = Callable[["FetchPlan | FetchProgress"], None]


class FetchCalls(ClientCalls):
    """Methods of `MarketClient`."""

    async def fetch(
        self,
        content: str,
        *,
        max_price: int | None = None,
        max_cost: int | None = None,
        first: int = 0,
        last: int | None = None,
        output: str = "",
        proof: bytes = b"",
        plan_only: bool = False,
        timeout_s: float | None = None,
    ) -> AsyncGenerator[FetchReport, None]:
        """Fetches a file, "CID" or "CID/path": its plan, progress and verified bytes, in order, then a
        summary.

        `max_price` leaves dearer holders out; with `max_cost` no more is spent, in whole units. `first` and
        `last` (inclusive) choose bytes; a negative `first` counts from the end. `output` and `proof`: see
        `fetch_to`, which does it all. `plan_only`: what it would cost. Without `timeout_s` it takes as long
        as it takes. Closing the generator ends the fetch.

        Raises NotFound (no holder, or no such path), Unmet (its `code` says which condition),
        NoHolderServes (holders were found, but none serves the rest).
        """
        with sendable():
            request = v1.FetchRequest(
                content=content,
                max_price=max_price,
                max_cost=max_cost,
                first=first,
                last=last,
                output=output,
                output_proof=proof,
                plan_only=plan_only,
            )
        async with aclosing(self._fetch(request, timeout_s)) as reports:
            async for report in reports:
                yield report

    async def fetch_to(
        self,
        content: str,
        path: str | PathLike[str],
        *,
        max_price: int | None = None,
        max_cost: int | None = None,
        first: int = 0,
        last: int | None = None,
        on_report: OnReport | None = None,
        timeout_s: float | None = None,
    ) -> FetchSummary:
        """Fetches a file to `path`, which is there when all of it is, on disk, and not before.

        Until then it is `path`.part, from which a later call goes on. A node on this machine writes that file
        itself; from another, or for a part of a file, the bytes are streamed. Raises what `fetch` raises;
        CallerFault ("path") for a file that cannot be made, and StorageFault, with what was fetched kept.
        """
        with sendable():
            request = v1.FetchRequest(
                content=content, max_price=max_price, max_cost=max_cost, first=first, last=last
            )
        part = await asyncio.to_thread(PartFile, Path(path))
        try:
            summary = None
            if first == 0 and last is None and is_loopback(self.target.rpartition(":")[0].strip("[]")):
                summary = await self._written_by_node(part, request, on_report, timeout_s)
            if summary is None:
                summary = await self._streamed(part, request, on_report, timeout_s)
            await asyncio.to_thread(part.finish, summary.bytes)
            return summary
        finally:
            await asyncio.to_thread(part.close)

    async def _written_by_node(
        self, part: PartFile, request: v1.FetchRequest, on_report: OnReport | None, timeout_s: float | None
    ) -> FetchSummary | None:
        """None if the node cannot write that file. A call that was left may go on for a moment."""
        if not _is_text(part.name):
            return None
        for wait_s in _PROVE_AGAIN_S:
            there = v1.FetchRequest(output=part.name, output_proof=await asyncio.to_thread(part.prove))
            there.MergeFrom(request)
            try:
                return await _followed(self._fetch(there, timeout_s), on_report)
            except Unmet as fault:
                if fault.code == NO_OUTPUT:
                    return None
                if fault.code != OUTPUT_CHANGED:
                    raise
            await asyncio.sleep(wait_s)
        return None

    async def _streamed(
        self, part: PartFile, request: v1.FetchRequest, on_report: OnReport | None, timeout_s: float | None
    ) -> FetchSummary:
        """Appends what is missing."""
        first, last = request.first, request.last if request.HasField("last") else None
        kept = await asyncio.to_thread(part.begin_stream, f"{request.content} {first} {last}")
        if first < 0 <= first + kept:  # all of it, and "from the end of the file on" cannot be asked for
            kept = await asyncio.to_thread(part.begin_stream, "")
        rest = v1.FetchRequest()
        rest.CopyFrom(request)
        rest.first = first + kept
        summary = await _followed(self._fetch(rest, timeout_s), on_report, part, kept)
        return replace(summary, bytes=summary.bytes + kept)

    async def _fetch(
        self, request: v1.FetchRequest, timeout_s: float | None
    ) -> AsyncGenerator[FetchReport, None]:
        async with aclosing(self._stream(_FETCH, request, timeout_s)) as replies:
            async for reply in replies:
                yield _report(reply)


def _is_text(name: str) -> bool:
    """Whether a request can say it: paths are any bytes."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


async def _followed(
    reports: AsyncGenerator[FetchReport, None],
    on_report: OnReport | None,
    part: PartFile | None = None,
    kept: int = 0,
) -> FetchSummary:
    """Until the summary; bytes go to `part`, of which `kept` are there."""
    async with aclosing(reports):
        async for report in reports:
            if isinstance(report, bytes):
                assert part is not None
                await asyncio.to_thread(part.append, report)
            elif isinstance(report, FetchSummary):
                return report
            elif on_report is not None:
                if isinstance(report, FetchProgress):
                    report = replace(report, done=report.done + kept, wanted=report.wanted + kept)
                on_report(report)
    raise NodeFault("the node ended the fetch without a summary")


def _report(reply: v1.FetchResponse) -> FetchReport:
    kind = reply.WhichOneof("event")
    if kind == "data":
        return reply.data
    if kind == "plan":
        plan = reply.plan
        return FetchPlan(plan.cid, plan.size, plan.wanted, plan.most_cost, _shares(plan.holders))
    if kind == "progress":
        progress = reply.progress
        return FetchProgress(progress.done, progress.wanted, _shares(progress.holders))
    told = reply.summary
    shares = _shares(told.holders)
    return FetchSummary(told.cid, told.bytes, told.fetched, told.cost, told.took_s, shares)


def _shares(holders: Iterable[v1.FetchHolder]) -> tuple[HolderShare, ...]:
    return tuple(
        HolderShare(one.provider, one.source, one.price, one.bytes, one.rate, one.cost, one.ended, one.name)
        for one in holders
    )
