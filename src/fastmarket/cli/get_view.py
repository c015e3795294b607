"""What `get` shows of a fetch, on stderr: the plan before, a bar during, a table of holders after."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fastmarket.cli.render import Column, clean, size_text, tail
from fastmarket.part_files import PART_SUFFIX
from fastmarket.wording import counted

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from fastmarket.exchange.fetching.order import FetchPlan, FetchProgress, FetchSummary, HolderShare

COLUMNS = (
    Column("Holder"),
    Column("$/MB", right=True, bold=True),
    Column("Bytes", right=True),
    Column("Cost", right=True),
    Column("From", wraps=True),
    Column("Node"),
    Column("Ended", wraps=True),
)


def plan_line(name: str, plan: FetchPlan) -> str:
    """What it is, and what it costs at most."""
    asked = [holder for holder in plan.holders if not holder.ended]
    prices = sorted({holder.price for holder in asked})
    each = f" at ${prices[0]}" if prices else ""
    if len(prices) > 1:
        each += f" to ${prices[-1]}"
    part = "" if plan.wanted == plan.size else f"{size_text(plan.wanted)} of "
    cost = f"${plan.most_cost} at most" if plan.most_cost else "free"
    from_whom = f"{counted(len(asked), 'holder')}{each} per MB" if asked else "no holder yet"
    return f"{clean(name)}: {part}{size_text(plan.size)}, {cost}, from {from_whom}"


class FetchView:
    """Shows reports as they come; on a terminal as a bar, otherwise the plan alone."""

    def __init__(self, name: str, *, quiet: bool = False) -> None:
        """`quiet`: nothing at all."""
        self._name = name
        self._quiet = quiet
        self._is_terminal = sys.stderr.isatty() and not quiet
        self._is_planned = False
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def show(self, report: FetchPlan | FetchProgress) -> None:
        """The next report."""
        from fastmarket.exchange.fetching.order import FetchPlan

        if isinstance(report, FetchPlan):
            if not self._is_planned and not self._quiet:
                print(plan_line(self._name, report), file=sys.stderr, flush=True)
            self._is_planned = True
        elif self._is_terminal:
            self._show_bar(report)

    def end(self) -> None:
        """Removes the bar."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def interrupted(self, path: str) -> None:
        """By Ctrl-C. `path`: of the file; "" without one."""
        self.end()
        if self._is_terminal and path and os.path.exists(path + PART_SUFFIX):
            kept = f"{clean(path)}{PART_SUFFIX} keeps what was fetched"
            print(f"interrupted; {kept}, and the same command continues", file=sys.stderr)

    def summary(self, summary: FetchSummary) -> None:
        """What came of it: a table of holders on a terminal, a line elsewhere."""
        self.end()
        if self._quiet:
            return
        rate = summary.fetched / max(summary.took_s, 1e-3)
        kept = f", {size_text(summary.bytes - summary.fetched)} of it kept" if not summary.fetched else ""
        line = (
            f"{clean(self._name)}: {size_text(summary.bytes)} verified, {size_text(summary.fetched)} fetched "
            f"in {summary.took_s:.1f} s ({size_text(int(rate))}/s) for ${summary.cost}{kept}"
        )
        print(line, file=sys.stderr, flush=True)
        used = [holder for holder in summary.holders if holder.bytes or holder.ended]
        if self._is_terminal and used:
            from rich.console import Console

            from fastmarket.cli.render import draw

            console = Console(stderr=True, markup=False, highlight=False)
            console.print(draw("", COLUMNS, [_row(holder) for holder in used]))

    def _show_bar(self, report: FetchProgress) -> None:
        if self._bar is None:
            self._bar = _bar()
            self._bar.start()
            self._task = self._bar.add_task(clean(self._name), total=report.wanted, holders="", cost="")
        assert self._task is not None
        asked = sum(not holder.ended for holder in report.holders)
        cost = sum(holder.cost for holder in report.holders)
        self._bar.update(
            self._task,
            completed=report.done,
            total=report.wanted,
            holders=counted(asked, "holder"),
            cost=f"${cost}",
        )


def _bar() -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns: Sequence[Any] = (
        TextColumn("{task.description}", markup=False, style="bold"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TextColumn("{task.fields[holders]}", markup=False),
        TextColumn("{task.fields[cost]}", markup=False),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=Console(stderr=True), transient=True)


def _row(holder: HolderShare) -> tuple[str, ...]:
    return (
        clean(holder.name),
        str(holder.price),
        size_text(holder.bytes),
        f"${holder.cost}",
        clean(holder.source),
        tail(holder.provider),
        clean(holder.ended),
    )
