"""The interoperability matrix: builds what this machine can, runs it, prints the tables.

Ends with 1 when a cell is red, with 2 when nothing could be tried.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from fnmatch import fnmatch

from rich.console import Console

from lib.kinds import INTEROP, KINDS, OURS, Skipped, build
from lib.matrix import Available, Outcome, Verdict, probe, run_matrix, try_again
from lib.mixed import MIXED, run_mixed
from lib.mixed import ROWS as MIXED_ROWS
from lib.process import PeerFailed
from lib.report import show, write
from lib.rows import ROWS, Row

RESULTS = INTEROP / "results"
MIXED_NAME = "mixed"  # as a pattern of ROWS: the network of all kinds


def parse_args() -> Namespace:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="implementations, with commas between: go,js")
    parser.add_argument("--rows", default="", help="names of rows, with commas between and * for any text")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="cells at a time")
    parser.add_argument("--list", action="store_true", help="only name the rows")
    return parser.parse_args()


def chosen(patterns: str, name: str) -> bool:
    """Whether a row is wanted; no patterns: all are."""
    return not patterns or any(fnmatch(name, pattern) for pattern in patterns.split(","))


async def prepare(only: str, console: Console) -> tuple[list[Available], dict[str, str]]:
    """Builds and probes: (what can be tried, why the rest cannot)."""
    wanted = [kind for kind in only.split(",") if kind] or [kind for kind in KINDS if kind != OURS]
    ready: list[Available] = []
    skipped: dict[str, str] = {}
    for name in [OURS, *(kind for kind in wanted if kind != OURS)]:
        if name not in KINDS:
            skipped[name] = f"no such implementation; there are {', '.join(KINDS)}"
            continue
        try:
            console.print(f"{name}: building ...", style="dim")
            await build(KINDS[name], RESULTS / f"build-{name}.log")
            ready.append(await probe(name, RESULTS / "logs"))
        except (Skipped, PeerFailed, OSError, TimeoutError) as reason:
            skipped[name] = " ".join(str(reason).split())
    return ready, skipped


async def run(args: Namespace, console: Console) -> int:
    shutil.rmtree(RESULTS / "logs", ignore_errors=True)
    (RESULTS / "logs").mkdir(parents=True)
    ready, skipped = await prepare(args.only, console)
    for peer in ready:
        console.print(f"{peer.kind}: {peer.implementation} {peer.version}", highlight=False)
    for name, why in skipped.items():
        console.print(f"{name}: skipped: {why}", style="yellow", highlight=False)
    others = [peer for peer in ready if peer.kind != OURS]
    if OURS in skipped or not others:
        return 2
    rows = [row for row in ROWS if chosen(args.rows, row.name)]
    outcomes = await run_all(rows, others, chosen(args.rows, MIXED_NAME), args.jobs, console)
    write(RESULTS / "latest.json", ready, skipped, outcomes)
    red = [outcome for outcome in outcomes if outcome.verdict is Verdict.FAIL]
    green = sum(outcome.verdict is Verdict.OK for outcome in outcomes)
    console.print(f"{green} ok, {len(red)} failed, {len(outcomes) - green - len(red)} not tried or not ours")
    return 1 if red else 0


async def run_all(
    rows: Sequence[Row], others: Sequence[Available], mixed: bool, jobs: int, console: Console
) -> list[Outcome]:
    """The matrix, then the network of all kinds; each table is printed when it is complete."""

    def done(outcome: Outcome) -> None:
        if outcome.verdict is not Verdict.OK or not console.is_terminal:
            console.print(
                f"{outcome.row}, {outcome.column}: {outcome.verdict.value} {outcome.why}"
                f" ({outcome.seconds:.1f} s)",
                style="dim",
                highlight=False,
                markup=False,
                soft_wrap=True,
            )

    outcomes = await run_matrix(rows, others, RESULTS / "logs", jobs, done) if rows else []
    outcomes = await try_again(rows, others, outcomes, RESULTS / "logs", done)
    if outcomes:
        show(console, "fastmarket and one other implementation", {r.name: r.what for r in rows}, outcomes)
    kinds = [OURS, *(other.kind for other in others if other.kind in MIXED)]
    if mixed and len(kinds) > 1:
        found = await run_mixed(kinds, RESULTS / "logs", done)
        show(console, f"one network of {', '.join(kinds)}", MIXED_ROWS, found)
        outcomes = [*outcomes, *found]
    return outcomes


def main() -> int:
    args = parse_args()
    console = Console(width=None if sys.stdout.isatty() else 160)
    if args.list:
        for row in ROWS:
            console.print(f"{row.name:18} {row.what}", highlight=False)
        console.print(f"{MIXED_NAME:18} one network of all kinds")
        return 0
    return asyncio.run(run(args, console))


if __name__ == "__main__":
    sys.exit(main())
