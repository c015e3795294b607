"""Selling and getting against their marks, in one run: `make bench-get [GIB=1] [ONLY=seller,buyer]`.

    python -m bench.get [--gib 1] [--turns 5] [--only ROW,...] [--json DIRECTORY]

Everything is a process of its own on loopback. What is compared is of the same run: other machines have other
figures. Kubo stands beside us if go is here to build it.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench.get import (
    buyer,
    first_byte,
    five_sellers,
    four_sellers,
    many_blocks,
    paid,
    resume,
    seller,
    simulated,
)
from bench.get.setting import Setting, delete, kubo_program, write_random
from bench.local_network import Mark, Report, show, write

ROWS: dict[str, Callable[[Setting], Report]] = {
    "seller": seller.measure,
    "buyer": buyer.measure,
    "four-sellers": four_sellers.measure,
    "five-sellers": five_sellers.measure,
    "resume": resume.measure,
    "paid": paid.measure,
    "many-blocks": many_blocks.measure,
    "first-byte": first_byte.measure,
    "simulated": simulated.measure,
}
ALONE = frozenset(
    {"paid", "simulated"}
)  # rows that Kubo, which takes minutes to build, does not stand beside
MIB = 1 << 20


def table(marks: list[Mark]) -> str:
    """All of them, one a line."""
    return "\n".join(f"  {mark}" for mark in marks)


def main() -> int:
    """Returns 1 when a mark was missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gib", type=float, default=1.0, help="of the file")
    parser.add_argument("--turns", type=int, default=5, help="of each measurement")
    parser.add_argument("--blocks", type=int, default=4_000_000, help="of the row `many`")
    parser.add_argument("--only", default=",".join(ROWS), help="rows, with commas between")
    parser.add_argument("--directory", type=Path, help="for all that is written, nine times the file")
    parser.add_argument("--json", type=Path, default=Path("bench/results"), help="directory of the reports")
    given = parser.parse_args()
    names = given.only.split(",")
    program, why = (None, "no row that was asked for") if ALONE.issuperset(names) else kubo_program()
    size = round(given.gib * 1024) * MIB
    directory = Path(tempfile.mkdtemp(prefix="bench-get-", dir=given.directory))
    marks: list[Mark] = []
    try:
        path = directory / "random"
        write_random(path, size)
        setting = Setting(directory, path, given.turns, given.blocks, program, why)
        for name in names:
            load = os.getloadavg()[0]
            found = ROWS[name](setting)
            about = {"MiB": size // MIB, "load before": round(load, 2)}
            report = Report(found.name, {**about, **found.figures}, found.marks)
            show(report)
            write(report, given.json / f"get-{name}.json")
            marks += report.marks
    finally:
        delete(directory)
    print(table(marks))
    return 0 if all(mark.holds for mark in marks) else 1


if __name__ == "__main__":
    sys.exit(main())
