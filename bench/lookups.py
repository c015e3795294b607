"""Whole lookups and announcements in a local network of 20 processes, ours beside other implementations.

    python -m bench.lookups [--only go] [--nodes 20] [--json FILE]

The peers of interop/, driven by their own conversation: each joins by the first; then one that is not the
first looks for the nodes closest to keys nobody asked for before, and announces contents, one after the other
and 16 at once. The CPU is that of all processes together.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from bench.peers import INTEROP, OURS, PREFIX, RESULTS, available, machine
from bench.processes import cpu_s

sys.path.insert(0, str(INTEROP))

from lib.kinds import KINDS
from lib.process import Peer

OPERATIONS, AT_ONCE = 160, 16
TURNS = 2
JOIN_S = 60.0
NUMBERS = itertools.count()


def _key() -> bytes:
    return hashlib.sha256(b"lookup %d" % next(NUMBERS)).digest()


async def _find(peer: Peer) -> None:
    found = await peer.call("find_node", key=base64.b64encode(_key()).decode())
    if len(found["peers"]) < 10:
        raise RuntimeError(f"a lookup found {len(found['peers'])} peers")


async def _provide(peer: Peer) -> None:
    raw = b"\x01\x55\x12\x20" + _key()
    text = "b" + base64.b32encode(raw).decode().lower().rstrip("=")
    await peer.call("provide", cid=text)


async def _rate(
    operation: Callable[[Peer], Awaitable[None]], asker: Peer, at_once: int
) -> tuple[float, float]:
    """(operations a second, their median in ms)."""
    left, took = iter(range(OPERATIONS)), []

    async def worker() -> None:
        for _ in left:
            began = time.perf_counter()
            await operation(asker)
            took.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(at_once)))
    return len(took) / (time.perf_counter() - began), sorted(took)[len(took) // 2] * 1e3


async def _joined(kind: str, count: int, logs: Path, stack: AsyncExitStack) -> list[Peer]:
    peers = []
    for number in range(count):
        args = ["--listen", "/ip4/127.0.0.1/tcp/0", "--kad-prefix", PREFIX]
        name = f"{kind}-{number}"
        peer = await Peer.start(name, kind, KINDS[kind].program, args, logs / f"{name}.log")
        stack.push_async_callback(peer.kill)
        peers.append(peer)
        if number:
            await peer.call("bootstrap", addrs=[peers[0].addr], timeout_s=JOIN_S)
    for _ in range(2):  # those that came first hear of those that came last
        for peer in peers:
            await peer.call("find_node", key=base64.b64encode(_key()).decode(), timeout_s=JOIN_S)
    return peers


async def measure(kind: str, count: int) -> dict[str, Any]:
    """Rates and CPU in a network of one kind; the best turn of each."""
    found: dict[str, Any] = {}
    async with AsyncExitStack() as stack:
        logs = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        peers = await _joined(kind, count, logs, stack)
        found["version"] = peers[0].version
        asker = peers[count // 2]
        table = await asker.call("routing_table")
        found["table"] = len(table["peers"])
        for name, operation in (("lookup", _find), ("provide", _provide)):
            for at_once in (1, AT_ONCE):
                best = {"per_s": 0.0, "p50_ms": 0.0, "cpu_ms": float("inf")}
                for _ in range(TURNS):
                    before = sum(cpu_s(peer._process.pid) for peer in peers)
                    rate, middle = await _rate(operation, asker, at_once)
                    used = sum(cpu_s(peer._process.pid) for peer in peers) - before
                    if rate > best["per_s"]:
                        best |= {"per_s": round(rate, 1), "p50_ms": round(middle, 2)}
                    best["cpu_ms"] = min(best["cpu_ms"], round(used / OPERATIONS * 1e3, 3))
                found[f"{name}, {at_once} at once"] = best
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="go", help="implementations, with commas between")
    parser.add_argument("--nodes", type=int, default=20)
    parser.add_argument("--json", type=Path, default=RESULTS / "peers-lookups.json")
    given = parser.parse_args()
    kinds, skipped = available([kind for kind in given.only.split(",") if kind and kind != OURS])
    found = {kind: asyncio.run(measure(kind, given.nodes)) for kind in kinds}
    document = {"machine": machine(), "nodes": given.nodes, "skipped": skipped, "found": found}
    given.json.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    works = [name for name in found[OURS] if name not in ("version", "table")]
    print("| | " + " | ".join(works) + " |\n|---|" + "---|" * len(works))
    for kind, result in found.items():
        cells = [
            f"{result[name]['per_s']:.0f}/s ({found[OURS][name]['per_s'] / result[name]['per_s']:.1f}), "
            f"p50 {result[name]['p50_ms']:.1f} ms, CPU {result[name]['cpu_ms']:.2f} ms"
            for name in works
        ]
        print(f"| {kind} {result['version']} (table {result['table']}) | " + " | ".join(cells) + " |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
