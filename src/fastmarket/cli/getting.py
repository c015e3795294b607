"""`get` and `cat`: fetch a file from its holders through the node."""

from __future__ import annotations

import os
import re
import sys
from contextlib import aclosing
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from fastmarket.cli.context import Context
from fastmarket.cli.entry import BAD_USAGE, FAILED
from fastmarket.cli.get_view import FetchView, plan_line
from fastmarket.cli.render import clean
from fastmarket.errors import CallerFault, FastmarketError, NotFound, StorageFault, Unmet
from fastmarket.formats.cid_path import cid_and_path

if TYPE_CHECKING:
    from fastmarket.exchange.fetching.order import FetchPlan, FetchSummary
    from fastmarket.market.grpc_client import MarketClient

STDOUT = "-"

# Exit statuses beside those of all commands (`entry`).
NOT_SERVED = 3  # no holder, or none that serves the rest
TOO_EXPENSIVE = 4  # beyond --max-price or --max-cost, or declined
NOT_WRITTEN = 5  # the file cannot be written: a full disk

_RANGE = re.compile(r"([0-9]{1,18})-([0-9]{0,18})|-([0-9]{1,18})")


@dataclass(frozen=True, slots=True)
class GetOptions:
    """Options of `get`. `output`: a path, a directory, "-" for stdout, or "": a name of its own."""

    output: str = ""
    max_price: int | None = None
    max_cost: int | None = None
    span: str = ""
    yes: bool = False
    quiet: bool = False

    def bounds(self) -> tuple[int, int | None]:
        """The first and last byte of `span`: `A-B`, `A-`, or `-N` for the last N. Raises CallerFault."""
        if not self.span:
            return 0, None
        match = _RANGE.fullmatch(self.span)
        if match is None or (match[2] and int(match[2]) < int(match[1])) or match[3] == "0":
            raise CallerFault("--range", f"expects FIRST-LAST, FIRST- or -COUNT, not {self.span!r}")
        if match[3]:
            return -int(match[3]), None
        return int(match[1]), int(match[2]) if match[2] else None


def get(desk: Context, content: str, options: GetOptions | None = None) -> None:
    """Fetches a file to a path, or to stdout. What it costs is shown before, and asked about where somebody
    can answer."""
    options = options or GetOptions()
    first, last = options.bounds()
    cid, names = cid_and_path(content)
    name = names[-1] if names else str(cid)
    path = _path(options.output, name)
    view = FetchView(name, quiet=options.quiet or desk.as_json)
    max_cost = _agreed(desk, content, name, options, (first, last))

    async def fetched(client: MarketClient) -> FetchSummary:
        if path == STDOUT:
            return await _to_stdout(client, content, options.max_price, max_cost, (first, last), view)
        return await client.fetch_to(
            content,
            path,
            max_price=options.max_price,
            max_cost=max_cost,
            first=first,
            last=last,
            on_report=view.show,
        )

    try:
        summary = desk.link.call(fetched)
    finally:
        view.end()
    view.summary(summary)
    if desk.as_json and path != STDOUT:
        told = asdict(summary) | {"path": path, "ms": desk.link.took_ms}
        desk.screen.json(told)


def cat(desk: Context, content: str, options: GetOptions | None = None) -> None:
    """Fetches a file to stdout, and says nothing else."""
    options = options or GetOptions()
    get(
        desk,
        content,
        GetOptions(STDOUT, options.max_price, options.max_cost, options.span, yes=True, quiet=True),
    )


def status_of(fault: FastmarketError) -> int:
    """The exit status that says why nothing was fetched."""
    from fastmarket.exchange.fetching.faults import NoHolderServes
    from fastmarket.market.grpc_errors import ServerDiskFault

    if isinstance(fault, Unmet):
        return TOO_EXPENSIVE if fault.code == "TOO_EXPENSIVE" else FAILED
    if isinstance(fault, NotFound | NoHolderServes):
        return NOT_SERVED
    if isinstance(fault, StorageFault | ServerDiskFault):
        return NOT_WRITTEN
    return BAD_USAGE if isinstance(fault, CallerFault) else FAILED


def _path(output: str, name: str) -> str:
    """Where it goes. A name of the content stays in the directory it is put in: it has no slashes."""
    if output == STDOUT:
        return STDOUT
    if not output or os.path.isdir(output):
        return os.path.join(output, name)
    return output


def _agreed(
    desk: Context, content: str, name: str, options: GetOptions, bounds: tuple[int, int | None]
) -> int | None:
    """The most that it may cost: as given, or as somebody agreed to. Raises Unmet."""
    if options.yes or desk.as_json or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return options.max_cost
    first, last = bounds

    async def planned(client: MarketClient) -> FetchPlan | None:
        from fastmarket.exchange.fetching.order import FetchPlan

        plan = None
        reports = client.fetch(
            content,
            max_price=options.max_price,
            max_cost=options.max_cost,
            first=first,
            last=last,
            plan_only=True,
        )
        async with aclosing(reports):
            async for report in reports:
                if isinstance(report, FetchPlan):
                    plan = report
        return plan

    plan = desk.link.call(planned)
    if plan is None or not plan.most_cost:
        return options.max_cost
    print(plan_line(name, plan), file=sys.stderr)
    print("Fetch it? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Unmet("cost", "declined", "TOO_EXPENSIVE")
    return plan.most_cost if options.max_cost is None else min(options.max_cost, plan.most_cost)


async def _to_stdout(
    client: MarketClient,
    content: str,
    max_price: int | None,
    max_cost: int | None,
    bounds: tuple[int, int | None],
    view: FetchView,
) -> FetchSummary:
    from fastmarket.errors import NodeFault
    from fastmarket.exchange.fetching.order import FetchSummary

    first, last = bounds
    out = sys.stdout.buffer
    reports = client.fetch(content, max_price=max_price, max_cost=max_cost, first=first, last=last)
    async with aclosing(reports):
        async for report in reports:
            if isinstance(report, bytes):
                out.write(report)
            elif isinstance(report, FetchSummary):
                out.flush()
                return report
            else:
                view.show(report)
    raise NodeFault(f"the node ended the fetch of {clean(content)} without a summary")
