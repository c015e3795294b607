"""Every benchmark of real processes on loopback, one after the other; JSON for each.

python -m bench.loopback [DIRECTORY]        (make loopback)
"""

from __future__ import annotations

import sys
from pathlib import Path

from bench import hung_servers, joining, registrations, seed_restart
from bench.local_network import show, write

BENCHMARKS = {
    "hung-servers": hung_servers.measure,
    "joining": joining.measure,
    "registrations": registrations.measure,
    "seed-restart": seed_restart.measure,
}


def main() -> int:
    """Returns 1 when a mark was missed."""
    directory = Path(sys.argv[1] if len(sys.argv) > 1 else "bench/results")
    missed = 0
    for name, measure in BENCHMARKS.items():
        report = measure()
        show(report)
        write(report, directory / f"loopback-{name}.json")
        missed += sum(not mark.holds for mark in report.marks)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
