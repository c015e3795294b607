"""Real servers, some of which hang: how long finding takes, and whether all is found.

    python -m bench.hung_servers [--json FILE]

Twelve servers; one registers 200 contents, of which all others keep the offers. Then four are stopped with
SIGSTOP: they accept connections and never answer. Servers that have asked for nothing so far look for every
content, one after the other: the first search of each meets all four hung ones.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.local_network import Mark, Report, command, market, network, percentile, prices, register_all
from fastmarket.cli.processes import ServerProcess

SERVERS, HUNG, CONTENTS = 12, 4, 200
ASKERS = 4  # after the hanging, each asks for the first time
P99_MS = 100.0


@dataclass
class Searches:
    """What came of looking for every content once, one after the other."""

    wrong: list[str] = field(default_factory=list)
    ms: list[float] = field(default_factory=list)


def hang(servers: Sequence[ServerProcess]) -> None:
    """The last HUNG of them, from now on."""
    for server in servers[-HUNG:]:
        server.process.send_signal(signal.SIGSTOP)


async def find_all(server: ServerProcess, contents: Sequence[str]) -> Searches:
    """Looks for each; right is the one holder with the price it registered."""
    searches = Searches()
    async with market(server) as stub:
        for price, content in enumerate(contents, 1):
            began = time.perf_counter()
            found = await prices(stub, content)
            searches.ms.append((time.perf_counter() - began) * 1000)
            if found != [price]:
                searches.wrong.append(content)
    return searches


def measure() -> Report:
    """Starts the servers, measures, ends them."""
    contents = [f"content {number}" for number in range(CONTENTS)]
    with tempfile.TemporaryDirectory() as directory, network(Path(directory), SERVERS) as servers:
        asyncio.run(register_all(servers[1], contents))
        before = asyncio.run(find_all(servers[2], contents))
        hang(servers)
        after = [asyncio.run(find_all(asker, contents)) for asker in servers[3 : 3 + ASKERS]]
    p99s = [percentile(searches.ms, 0.99) for searches in after]
    wrong = len(before.wrong) + sum(len(searches.wrong) for searches in after)
    figures = {
        "all answer: p50 ms": percentile(before.ms, 0.5),
        "all answer: p99 ms": percentile(before.ms, 0.99),
        "all answer: worst ms": max(before.ms),
        f"{HUNG} of {SERVERS} hang: p50 ms": percentile([ms for one in after for ms in one.ms], 0.5),
        f"{HUNG} of {SERVERS} hang: p99 ms by asker": [round(p99, 1) for p99 in p99s],
        f"{HUNG} of {SERVERS} hang: worst ms by asker": [round(max(one.ms), 1) for one in after],
        f"{HUNG} of {SERVERS} hang: first search ms by asker": [round(one.ms[0], 1) for one in after],
    }
    marks = [
        Mark(f"CheckHolders p99 of {CONTENTS} contents, worst asker", max(p99s), P99_MS, "ms"),
        Mark("wrong answers", wrong, 0, ""),
    ]
    return Report("hung servers", figures, marks)


if __name__ == "__main__":
    sys.exit(command(__doc__, measure))
