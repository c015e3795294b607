"""`python -m tests.fuzz`: feeds all targets, or some, and reports."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from tests.fuzz.counts import OUT, Counts, save, table
from tests.fuzz.loop import Loop
from tests.fuzz.target import Target


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 1 if anything was found."""
    from tests.fuzz.targets import TARGETS

    names = [target.name for target in TARGETS]
    options = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    options.add_argument("--minutes", type=float, default=60.0, help="of all targets together (60)")
    options.add_argument("--inputs", type=int, default=0, help="of each target, instead of a time")
    options.add_argument(
        "--target", action="append", default=[], metavar="NAME", help="one of them; repeatable"
    )
    options.add_argument("--seed", type=int, default=1, help="of the first input (1)")
    options.add_argument("--list", action="store_true", help="names of targets, and what they feed")
    chosen = options.parse_args(argv)
    unknown = set(chosen.target) - set(names)
    if unknown:
        options.error(f"no target {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    targets = [target for target in TARGETS if not chosen.target or target.name in chosen.target]
    if chosen.list:
        print(*(f"{target.name:24} {target.entry}" for target in targets), sep="\n")
        return 0
    inputs = chosen.inputs or sys.maxsize
    seconds = float("inf") if chosen.inputs else chosen.minutes * 60 / len(targets)
    many = [_run(target, chosen.seed, inputs, seconds) for target in targets]
    save(many)
    print(table(many), f"counts in {OUT / 'counts.json'}", sep="\n")
    return 1 if any(counts.findings for counts in many) else 0


def _run(target: Target, seed: int, inputs: int, seconds: float) -> Counts:
    counts = Loop(target, seed).run(inputs, seconds)
    for found in counts.findings:
        print(f"FOUND {target.name} {found.kind}: {found.what} ({found.times} times)", flush=True)
        print(f"  seed {found.seed}, input {found.number}: {found.hex}", flush=True)
    return counts
