"""The short benchmarks judged by the committed ratios: `make bench-short`.

    python -m bench.short [--keep]

A benchmark whose ratio fell is run again by itself, twice at most, and its best run counts: a machine that
others use can slow one side alone, but hardly three times. On another kind of processor, or another Python,
than the baseline's nothing fails. `--keep` writes the ratios as the new baseline.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.compare import FALL, Measured, fallen, keep, like_ours, load, table

BASELINE = Path(__file__).parent / "results" / "ratios.json"
TRIES = 3


def run(selection: Sequence[str]) -> dict[str, Measured]:
    """By pytest's node ids below bench/, or by its marker. A run that breaks off is made again, and what it
    said is printed: its machine may have been stopped meanwhile. CalledProcessError when it always does."""
    for attempt in range(TRIES):
        try:
            return _run_once(selection)
        except subprocess.CalledProcessError as error:
            print(error.stdout.decode(errors="replace"), file=sys.stderr)
            if attempt == TRIES - 1:
                raise
    raise AssertionError("not reached")


def _run_once(selection: Sequence[str]) -> dict[str, Measured]:
    with tempfile.TemporaryDirectory() as directory:
        found = Path(directory) / "short.json"
        command = [sys.executable, "-m", "pytest", "-q", "--benchmark-only", "--benchmark-json", str(found)]
        command += ["--benchmark-columns=min", "-p", "no:cacheprovider", *selection]
        subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=BASELINE.parent.parent.parent)
        return load(found)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--keep", action="store_true", help="make these ratios the baseline")
    given = parser.parse_args()
    old = load(BASELINE) if BASELINE.exists() else {}
    new = run(["bench", "-m", "short"])
    for _ in range(TRIES - 1):
        worse = fallen(old, new)
        if not worse or given.keep:
            break
        for name, again in run([f"bench/{name}" for name in worse]).items():
            if again.ratio > new[name].ratio:
                new[name] = again
    worse = fallen(old, new)
    print(table({name: row for name, row in old.items() if name in new}, new, worse))
    if given.keep:
        keep(new, BASELINE)
        return 0
    print(f"{len(new)} run, {len(worse)} fell by more than {FALL:.0%}")
    if worse and not like_ours(BASELINE):
        print("the baseline is of another processor or Python: told, not judged")
        return 0
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
