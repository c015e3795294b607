"""`python -m tests.fuzz`: feeds all targets, or some, with hostile inputs, and reports what came of it."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import Final

from tests.fuzz import fast, ledger
from tests.fuzz.counts import OUT, Counts, save, table
from tests.fuzz.guided import is_available, read_corpus
from tests.fuzz.loop import Loop
from tests.fuzz.target import Target
from tests.fuzz.workers import Work, run_all

GUIDED_SHARE: Final = 0.25  # of the time, where atheris is installed


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 1 if anything was found."""
    from tests.fuzz.targets import TARGETS

    options = _options()
    chosen = options.parse_args(argv)
    by_name = {target.name: target for target in TARGETS}
    wanted = [chosen.alone] if chosen.alone else chosen.target or list(by_name)
    unknown = set(wanted) - set(by_name)
    if unknown:
        options.error(f"no target {', '.join(sorted(unknown))}; there are {', '.join(by_name)}")
    targets = [by_name[name] for name in wanted if by_name[name].first or not chosen.first]
    if chosen.list:
        print(*(f"{target.name:24} {target.entry}" for target in targets), sep="\n")
        return 0
    if chosen.hex is not None:
        return _report([Loop(target, chosen.seed).feed([bytes.fromhex(chosen.hex)]) for target in targets])
    inputs = chosen.inputs or sys.maxsize
    if chosen.alone:
        _run_alone(targets[0], Work(inputs, chosen.seconds, chosen.seed), compiled=not chosen.python)
        return 0
    seconds = float("inf") if chosen.inputs else chosen.minutes * 60 * chosen.jobs / len(targets)
    guided_s = 0.0 if chosen.inputs or not is_available() else seconds * GUIDED_SHARE
    fast.load()  # once, before all of them want it
    work = Work(inputs, seconds - guided_s, chosen.seed, guided_s)
    many = list(run_all(targets, work, chosen.jobs))
    if chosen.record:
        ledger.record(many, chosen.seed)
    return _report(many)


def _options() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    options.add_argument("--minutes", type=float, default=60.0, help="of all targets together (60)")
    options.add_argument("--inputs", type=int, default=0, help="of each target, instead of a time")
    options.add_argument("--first", action="store_true", help="those alone that strangers reach first")
    options.add_argument("--target", action="append", default=[], metavar="NAME", help="repeatable")
    options.add_argument("--seed", type=int, default=1, help="of the first input (1)")
    options.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="targets at a time")
    options.add_argument("--hex", help="feeds this one input, as a finding prints it")
    options.add_argument("--list", action="store_true", help="names of targets, and what they feed")
    options.add_argument(
        "--record", action="store_true", help=f"adds the counts to {ledger.LEDGER} and to {ledger.DOC}"
    )
    options.add_argument("--python", action="store_true", help="without the compiled loop")
    options.add_argument("--alone", help=argparse.SUPPRESS)
    options.add_argument("--seconds", type=float, default=float("inf"), help=argparse.SUPPRESS)
    return options


def _run_alone(target: Target, work: Work, *, compiled: bool) -> None:
    """In the process of one target."""
    module = fast.load() if compiled else None
    loop = Loop(target, work.seed, module, OUT / f"{target.name}.last")
    counts = loop.run(work.inputs, work.seconds, read_corpus(target.name))
    (OUT / f"{target.name}.json").write_text(json.dumps(counts.to_json()))


def _report(many: Sequence[Counts]) -> int:
    save(many)
    for counts in many:
        for found in counts.findings:
            print(f"FOUND {counts.name} {found.kind}: {found.what} ({found.times} times)")
            print(f"  seed {found.seed}, input {found.number}: {found.hex}")
    print(table(many), f"counts in {OUT / 'counts.json'}", sep="\n", flush=True)
    return 1 if any(counts.findings for counts in many) else 0
