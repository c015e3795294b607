"""Runs seeds: `python -m tests.vopr 123`, `100-200`, `100-` (until `--seconds` are used up).

Of a failure it prints the seed, what was violated, and the steps that are left of the plan when all are
removed without which it fails as well. Exit status 1: some seed failed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from itertools import count

from tests.vopr.plan import Plan, plan_of, small_plan_of
from tests.vopr.shrink import shrink
from tests.vopr.world import Report, run


def seeds_of(text: str) -> Iterator[int]:
    """Of "123", "100-200" or "100-"."""
    first, dash, last = text.partition("-")
    if not dash:
        return iter((int(first),))
    return iter(range(int(first), int(last) + 1)) if last else count(int(first))


def told(report: Report) -> str:
    """One line of what was done."""
    plan = report.plan
    faults = sum(step.is_fault for step in plan.steps)
    return (
        f"seed {plan.seed}: {plan.machines} machines, {report.node_hours:.0f} node-hours, {faults} faults, "
        f"{report.lives} processes, {report.requests} requests, {report.acknowledged} acknowledged, "
        f"{report.refused} refused, {report.disk_changes} changes of disks, {report.disk_faults} failed; "
        f"{report.digest[:16]}"
    )


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.vopr", description=__doc__)
    parser.add_argument("seeds", nargs="?", default="1-200")
    parser.add_argument(
        "--seconds", type=float, default=float("inf"), help="of CPU; no seed begins after that"
    )
    parser.add_argument("--small", action="store_true", help="the small plans, which the tests run")
    parser.add_argument("--raises", action="store_true", help="show the traceback of what escapes")
    parser.add_argument("--whole", action="store_true", help="do not shrink")
    parser.add_argument("--quiet", action="store_true", help="a line for a failure only")
    options = parser.parse_args()
    failed: list[int] = []
    done: list[Report] = []
    plan_for = small_plan_of if options.small else plan_of
    began = time.process_time()
    for seed in seeds_of(options.seeds):
        if time.process_time() - began >= options.seconds:
            break
        report = run(plan_for(seed), raises=options.raises)
        done.append(report)
        if report.violations or not options.quiet:
            print(told(report), flush=True)
        if report.violations:
            failed.append(seed)
            tell_failure(report, is_whole=options.whole)
    tell_sum(done, time.process_time() - began, failed)
    return 1 if failed else 0


def tell_failure(report: Report, *, is_whole: bool) -> None:
    """The violations, and the steps without which there are none."""
    for violation in report.violations:
        print(f"  {violation}")
    plan = report.plan if is_whole else shrink(report.plan, _fails_alike(report))
    print(f"  with these {len(plan.steps)} of {len(report.plan.steps)} steps (make vopr SEEDS={plan.seed}):")
    for step in plan.steps:
        print(f"  {step}")
    for violation in run(plan).violations:
        print(f"  => {violation}")
    sys.stdout.flush()


def _fails_alike(report: Report) -> object:
    kind = _kind(report.violations[0])
    return lambda plan: any(_kind(one) == kind for one in run(plan).violations)


def _kind(violation: str) -> str:
    """What was violated, without its time and numbers."""
    what = violation.partition(": ")[2]
    return "".join(letter for letter in what if not letter.isdigit())[:60]


def tell_sum(done: list[Report], cpu_s: float, failed: list[int]) -> None:
    """All runs together."""
    hours = sum(report.node_hours for report in done)
    print(
        f"{len(done)} seeds, {hours:.0f} node-hours in {cpu_s:.0f} s of CPU: {hours / max(cpu_s, 1e-9):.1f} "
        f"a second; {sum(r.acknowledged for r in done)} acknowledged, "
        f"{sum(sum(s.is_fault for s in r.plan.steps) for r in done)} faults, "
        f"{sum(r.lives for r in done)} processes; failed: {', '.join(map(str, failed)) or 'none'}"
    )


__all__ = ["Plan", "main"]

if __name__ == "__main__":
    sys.exit(main())
