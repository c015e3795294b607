"""Judges one run of the benchmarks by another: by ratios to ceilings measured in the same run, never by time.

    python -m bench.compare OLD.json NEW.json [--fall 0.25] [--keep FILE]

Each file is pytest-benchmark's JSON (`make bench`), or a baseline that `--keep` wrote. Ends with 1 when a
ratio of OLD fell by more than `--fall` of itself, or, with `--all`, is missing in NEW.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

FALL = 0.25


@dataclass(frozen=True)
class Measured:
    """One benchmark: the share of its ceiling's speed, and the microseconds of both."""

    ratio: float
    us: float
    ceiling_us: float
    ceiling: str
    mark: float | None = None


def load(path: Path) -> dict[str, Measured]:
    """By name; benchmarks without a ratio are left out."""
    document = json.loads(path.read_text("utf-8"))
    if "ratios" in document:
        return {name: Measured(**row) for name, row in document["ratios"].items()}
    found = {}
    for bench in document["benchmarks"]:
        extra = bench.get("extra_info", {})
        if "ratio" in extra:
            fields = ("ratio", "us", "ceiling_us", "ceiling", "mark")
            found[bench["fullname"].rpartition("/")[2]] = Measured(**{f: extra.get(f) for f in fields})
    return found


def fallen(old: Mapping[str, Measured], new: Mapping[str, Measured], fall: float = FALL) -> list[str]:
    """Names whose ratio is less than (1 - fall) of what it was."""
    return [name for name in old if name in new and new[name].ratio < old[name].ratio * (1 - fall)]


def table(old: Mapping[str, Measured], new: Mapping[str, Measured], fallen_names: list[str]) -> str:
    """One line for each benchmark of either run, the worst change first."""
    rows = [f"{'now':>9} {'before':>9} {'change':>8} {'mark':>7} {'us':>10} {'ceiling':>10}  benchmark"]

    def change(name: str) -> float:
        return new[name].ratio / old[name].ratio - 1 if name in old else 0.0

    for name in sorted(new, key=change):
        now, before = new[name], old.get(name)
        mark = "" if now.mark is None else f"{now.mark:.3g}"
        rows.append(
            f"{now.ratio:9.3f} {before.ratio if before else float('nan'):9.3f} {change(name):+8.0%} {mark:>7}"
            f" {now.us:10.3f} {now.ceiling_us:10.3f}  {name}{'  FELL' if name in fallen_names else ''}"
        )
    rows += [f"{'-':>9} {old[name].ratio:9.3f} {'':48}  {name}: not run" for name in old if name not in new]
    return "\n".join(rows)


def keep(measured: Mapping[str, Measured], path: Path) -> None:
    """Writes a baseline; benchmarks that did not run keep their old line."""
    before = {name: asdict(row) for name, row in (load(path) if path.exists() else {}).items()}
    rows = before | {name: asdict(row) for name, row in measured.items()}
    document: dict[str, Any] = {
        "machine": machine(),
        "ratios": dict(sorted(rows.items())),
    }
    path.write_text(json.dumps(document, indent=1) + "\n", "utf-8")


def machine() -> dict[str, Any]:
    """What ratios depend on."""
    return {
        "processor": processor(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
    }


def like_ours(baseline: Path) -> bool:
    """Whether a baseline was measured with such a processor and Python: others have other ratios."""
    ours, its = machine(), json.loads(baseline.read_text("utf-8"))["machine"]
    pythons = [found["python"].split(".")[:2] for found in (ours, its)]
    return bool(ours["processor"] == its["processor"] and pythons[0] == pythons[1])


def processor() -> str:
    """The model of the machine's processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--fall", type=float, default=FALL, help="share of a ratio that may be lost")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="write the new ratios there as a baseline")
    parser.add_argument("--all", action="store_true", help="a benchmark that did not run is a failure")
    given = parser.parse_args(argv)
    old = load(given.old) if given.old.exists() else {}
    new = load(given.new)
    worse = fallen(old, new, given.fall)
    print(table(old, new, worse))
    if given.keep is not None:
        keep(new, given.keep)
    missing = [name for name in old if name not in new] if given.all else []
    print(f"{len(new)} compared, {len(worse)} fell by more than {given.fall:.0%}, {len(missing)} missing")
    return 1 if worse or missing else 0


if __name__ == "__main__":
    sys.exit(main())
