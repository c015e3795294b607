"""fastmarket beside other implementations, in one run on one machine: `make bench-peers [ONLY=go,js]`.

    python -m bench.peers [--only go,js,rust,py] [--json FILE] [--plot FILE] [--scale 1.0]

The servers are the peers of interop/, built where the machine can, and ours: each is met by the same 24
nodes, which fill its table, and then loaded by the same generator (`bench.load`). What is compared is the CPU
that the kernel counts for the server. The generator's share of a core stands beside the rate: where it is
near 1, the rate is the generator's.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import uvloop

from bench import kademlia_udp, load
from bench.compare import processor
from bench.load import Figures
from bench.processes import Served, rss_mb, served, started

INTEROP = Path(__file__).parent.parent / "interop"
sys.path.insert(0, str(INTEROP))

from lib.kinds import KINDS, OURS, Skipped, build  # noqa: E402 - a program of its own, beside this package

RESULTS = Path(__file__).parent / "results"
FILLERS = 24  # nodes in every table: more than are told of in one answer
TURNS = 2
PREFIX = "/fastmarket"
PLAIN = "kademlia"  # no libp2p: datagrams in the clear, and no connection to make
PROTOCOL = f"{PREFIX}/kad/1.0.0"


@dataclass(frozen=True)
class Work:
    """One kind of load; `total` operations of a fast server, of which a slow one gets a part."""

    name: str
    total: int
    run: Callable[[Served, str, int, int], Coroutine[Any, Any, Figures]]  # the last: most outstanding


async def _requests(
    server: Served, addr: str, total: int, most: int, *, outstanding: int, keep: bool
) -> Figures:
    bodies, outstanding = load.find_nodes(), min(outstanding, most)
    if not addr.startswith("/"):
        if not keep:
            raise OSError("has no streams")
        return await kademlia_udp.requests(server.pid, addr, total=total, outstanding=outstanding)
    return await load.requests(
        server.pid, addr, PROTOCOL, bodies, total=total, outstanding=outstanding, keep=keep
    )


async def _visits(server: Served, addr: str, total: int, most: int) -> Figures:
    if not addr.startswith("/"):
        raise OSError("has no connections")
    return await load.visits(server.pid, addr, total=total)


WORK = (
    Work("FIND_NODE, kept streams, 64 outstanding", 20_000, partial(_requests, outstanding=64, keep=True)),
    Work(
        "FIND_NODE, a new stream each, 64 outstanding", 5_000, partial(_requests, outstanding=64, keep=False)
    ),
    Work("FIND_NODE, 1 outstanding", 2_000, partial(_requests, outstanding=1, keep=True)),
    Work("connect, identify, disconnect", 200, _visits),
)
SLOW = {"js": 0.1, "py": 0.02}  # share of the operations: milliseconds each
MOST_OUTSTANDING = {"rust": 24, "js": 8, "py": 10}  # more streams at once they reset


@contextmanager
def server_of(kind: str) -> Iterator[tuple[Served, str]]:
    """A running node with a full table, and its address."""
    if kind == PLAIN:
        with kademlia_udp.server(FILLERS) as found:
            yield found
        return
    if kind == OURS:
        with (
            served("node", "--peers", "0") as ours,
            served("nodes", "--count", str(FILLERS), "--join", ours.hello["addr"]),
        ):
            yield ours, ours.hello["addr"]
        return
    program = KINDS[kind].program
    command = [*program.command, "--listen", "/ip4/127.0.0.1/tcp/0", "--kad-prefix", PREFIX]
    with started(command, program.cwd, program.env, INTEROP / "results" / f"bench-{kind}.log") as theirs:
        addr = theirs.hello["listen"][0]
        with served("nodes", "--count", str(FILLERS), "--join", addr):
            yield theirs, addr


def measure(kind: str, scale: float) -> dict[str, Any]:
    """All work against one implementation; of each the cheapest turn."""
    found: dict[str, Any] = {}
    with server_of(kind) as (server, addr):
        version = server.hello.get("version", "")
        for work in WORK:
            total = max(50, round(work.total * scale * SLOW.get(kind, 1.0)))
            most = MOST_OUTSTANDING.get(kind, total)
            try:
                runs = [uvloop.run(work.run(server, addr, total, most)) for _ in range(TURNS)]
            except (TimeoutError, OSError) as error:
                found[work.name] = {"failed": f"{type(error).__name__}: {error}"}
                continue
            found[work.name] = min(runs, key=lambda figures: figures.server_cpu_us).document()
        memory = rss_mb(server.pid)
    return {"version": version, "memory_mb": round(memory, 1), "work": found}


def available(wanted: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """What could be built, and why the rest could not."""
    kinds, skipped = [OURS], {}
    logs = INTEROP / "results"
    for kind in wanted:
        if kind == PLAIN:
            if kademlia_udp.available():
                kinds.append(kind)
            else:
                skipped[kind] = "not installed (pip install kademlia)"
            continue
        print(f"{kind}: building ...", flush=True)
        try:
            asyncio.run(build(KINDS[kind], logs / f"build-{kind}.log"))
            kinds.append(kind)
        except (Skipped, OSError) as reason:
            skipped[kind] = str(reason)
    return kinds, skipped


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "processor": processor(),
        "cpus": os.cpu_count(),
        "system": platform.release(),
        "python": platform.python_version(),
        "load_1min": round(os.getloadavg()[0], 2),
    }


def table(found: Mapping[str, Any]) -> str:
    """Markdown: server CPU per operation and its ratio to ours, rate, latencies."""
    lines = []
    for work in WORK:
        lines += [
            f"\n{work.name}\n",
            "| | server CPU us | x ours | per s | p50 ms | p99 ms | at once | generator | bytes |",
            "|---|---|---|---|---|---|---|---|---|",
        ]
        ours = found[OURS]["work"][work.name]
        for kind, result in found.items():
            row = result["work"][work.name]
            if "failed" in row:
                lines.append(f"| {kind} | {row['failed']} | | | | | | | |")
                continue
            lines.append(
                f"| {kind} {result['version']} | {row['server_cpu_us']:.1f} "
                f"| {row['server_cpu_us'] / ours['server_cpu_us']:.1f} | {row['per_s']:,.0f} "
                f"| {row['p50_ms']:.2f} | {row['p99_ms']:.2f} | {row['outstanding']} "
                f"| {row['generator_cpu_share']:.0%} "
                f"| {row['reply_bytes']:.0f} |"
            )
    memory = ", ".join(f"{kind} {result['memory_mb']:.0f}" for kind, result in found.items())
    return "\n".join([*lines, f"\nmemory after all that, MB: {memory}"])


def plot(found: Mapping[str, Any], path: Path) -> None:
    """Server CPU per operation, one group for each work, logarithmic."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 4.5))
    width = 0.8 / len(found)
    for place, (kind, result) in enumerate(found.items()):
        rows = [result["work"][work.name].get("server_cpu_us", float("nan")) for work in WORK]
        at = [group + place * width for group in range(len(WORK))]
        bars = axes.bar(at, rows, width, label=f"{kind} {result['version']}".strip())
        axes.bar_label(bars, [f"{row:,.0f}" for row in rows], fontsize=7, padding=2)
    axes.set_yscale("log")
    axes.set_ylabel("server CPU per operation, µs")
    axes.set_xticks([group + 0.4 - width / 2 for group in range(len(WORK))])
    axes.set_xticklabels([work.name.replace(", ", ",\n") for work in WORK], fontsize=8)
    axes.margins(y=0.1)
    axes.legend(fontsize=8, ncols=len(found), loc="upper center", bbox_to_anchor=(0.5, -0.17))
    axes.set_title("What one operation costs the server (less is better)", fontsize=10)
    figure.tight_layout()
    figure.savefig(path)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", default="go,rust,js,py,kademlia", help="implementations, with commas between"
    )
    parser.add_argument("--json", type=Path, default=RESULTS / "peers.json")
    parser.add_argument("--plot", type=Path, default=RESULTS / "peers.svg")
    parser.add_argument("--scale", type=float, default=1.0, help="of the operations of each work")
    given = parser.parse_args()
    kinds, skipped = available([kind for kind in given.only.split(",") if kind and kind != OURS])
    found = {}
    for kind in kinds:
        print(f"{kind}: measuring ...", flush=True)
        found[kind] = measure(kind, given.scale)
    document = {"machine": machine(), "skipped": skipped, "found": found}
    given.json.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    print(table(found))
    for kind, why in skipped.items():
        print(f"{kind}: left out: {why}")
    try:
        plot(found, given.plot)
    except ImportError:
        print("no plot: matplotlib is not installed (pip install 'fastmarket[sim]')")
    return 0


if __name__ == "__main__":
    sys.exit(main())
