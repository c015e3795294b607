"""`get` and `cat`: fetch a file from its holders through the node."""

from __future__ import annotations

import os
import re
import sys
from contextlib import aclosing
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from fastmarket.cli import there
from fastmarket.cli.context import Context
from fastmarket.cli.entry import BAD_USAGE, FAILED
from fastmarket.cli.get_view import FetchView
from fastmarket.cli.render import clean
from fastmarket.errors import CallerFault, FastmarketError, NotFound, StorageFault, Unmet
from fastmarket.formats.cid_path import cid_and_path
from fastmarket.part_files import PART_SUFFIX

if TYPE_CHECKING:
    from fastmarket.exchange.fetching.order import FetchPlan, FetchSummary
    from fastmarket.formats.cid import Cid
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
    cid, names = _named(content)
    name = names[-1] if names else str(cid)
    path = _path(options.output, name)
    if path != STDOUT and os.path.lexists(path):
        if not (names or options.span) and there.has_content(path, cid):
            _tell_it_is_there(desk, cid, path, quiet=options.quiet)
            return
        if _can_answer(desk, options) and not _says_yes(f"{clean(path)} is another file. Replace it?"):
            raise Unmet("path", f"{path} is left as it was", "TOO_EXPENSIVE")
    view = FetchView(name, quiet=options.quiet or desk.as_json)
    max_cost = _agreed(desk, content, path, view, options, (first, last))
    out = _Stdout()

    async def fetched(client: MarketClient) -> FetchSummary:
        if path == STDOUT:
            bounds = first, last
            return await _to_stdout(client, content, options.max_price, max_cost, bounds, view, out)
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
    except KeyboardInterrupt:
        view.interrupted("" if path == STDOUT else path)
        raise
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
    if not output or output.endswith(os.sep) or os.path.isdir(output):
        return os.path.join(output, name)
    return output


def _named(content: str) -> tuple[Cid, tuple[str, ...]]:
    """Of what a person typed. Raises CallerFault, which says what was to be typed."""
    try:
        return cid_and_path(content)
    except CallerFault as fault:
        hint = "get takes the CID that the seller's `sell` printed; `cid FILE` prints that of a file"
        raise CallerFault("content", f"{content!r} is not a CID ({fault.reason}); {hint}") from None


def _tell_it_is_there(desk: Context, cid: Cid, path: str, *, quiet: bool) -> None:
    from fastmarket.exchange.fetching.order import FetchSummary

    if desk.as_json:
        summary = FetchSummary(str(cid), os.stat(path).st_size, 0, 0, 0.0, ())
        desk.screen.json(asdict(summary) | {"path": path, "ms": 0.0})
    elif not quiet:
        print(f"{clean(path)} is there already, all of it verified; nothing fetched", file=sys.stderr)


def _can_answer(desk: Context, options: GetOptions) -> bool:
    """Whether somebody is there who can be asked, and wants to be."""
    return not (options.yes or desk.as_json) and sys.stdin.isatty() and sys.stderr.isatty()


def _says_yes(question: str) -> bool:
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _agreed(
    desk: Context,
    content: str,
    path: str,
    view: FetchView,
    options: GetOptions,
    bounds: tuple[int, int | None],
) -> int | None:
    """The most that it may cost: as given, or as somebody agreed to. Raises Unmet."""
    if not _can_answer(desk, options):
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
    view.show(plan)
    _check_cost(plan, options, path)
    if not _says_yes("Fetch it?"):
        raise Unmet("cost", "declined; nothing was fetched", "TOO_EXPENSIVE")
    return plan.most_cost if options.max_cost is None else min(options.max_cost, plan.most_cost)


def _check_cost(plan: FetchPlan, options: GetOptions, path: str) -> None:
    """Raises Unmet if even the cheapest holder is too dear; nobody is asked about that. What an earlier run
    has kept costs nothing, and is not known here."""
    from fastmarket.formats.price import cost_of

    prices = [holder.price for holder in plan.holders if not holder.ended]
    if options.max_cost is None or not prices or os.path.exists(path + PART_SUFFIX):
        return
    least = cost_of(plan.wanted, min(prices))
    if least > options.max_cost:
        raise Unmet("max_cost", f"is {options.max_cost}, and it costs at least {least}", "TOO_EXPENSIVE")


class _Stdout:
    """Where bytes go, unbuffered: nothing is left to be written when it cannot be."""

    def __init__(self) -> None:
        self.written = 0

    def write(self, data: bytes) -> None:
        """Raises StorageFault; BrokenPipeError if the reader has left."""
        sys.stdout.flush()
        rest = memoryview(data)
        try:
            while rest:
                count = os.write(sys.stdout.fileno(), rest)
                self.written += count
                rest = rest[count:]
        except BrokenPipeError:
            raise
        except OSError as error:
            raise StorageFault(f"cannot write to stdout: {error.strerror}") from None


async def _to_stdout(
    client: MarketClient,
    content: str,
    max_price: int | None,
    max_cost: int | None,
    bounds: tuple[int, int | None],
    view: FetchView,
    out: _Stdout,
) -> FetchSummary:
    """Behind what an earlier connection to the node brought, if that was lost."""
    from fastmarket.errors import NodeFault
    from fastmarket.exchange.fetching.order import FetchSummary

    before = out.written
    first, last = bounds
    if first < 0 <= first + before and before:
        raise NodeFault("the connection to the node was lost behind the last byte")
    reports = client.fetch(content, max_price=max_price, max_cost=max_cost, first=first + before, last=last)
    async with aclosing(reports):
        async for report in reports:
            if isinstance(report, bytes):
                out.write(report)
            elif isinstance(report, FetchSummary):
                return replace(report, bytes=report.bytes + before)
            else:
                view.show(report)
    raise NodeFault(f"the node ended the fetch of {clean(content)} without a summary")
