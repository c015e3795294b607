"""100,000 offers of one holder through gRPC into 8 real processes, each acknowledged by a quorum.

`python bench/bench_bulk.py [--offers N] [--nodes N] [--batch N]`: every node has its data
directory; the holder's client sends batches by RegisterFiles as fast as they are answered. Prints offers a
second end to end, what the processes took of memory and processor, and the holder's restart with all of it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from fastmarket.cli.processes import ServerProcess
from fastmarket.market.grpc_client import HolderSearch, Listing, MarketClient
from fastmarket.offers.model.metadata import FileMetadata

TICKS = os.sysconf("SC_CLK_TCK")
SAMPLE = 1000
TERMS = FileMetadata("192.0.2.1", 4000, 5, 1_000_000, "a file.bin")


def start(
    directory: Path, name: str, bootstrap: str = "", env: dict[str, str] | None = None
) -> ServerProcess:
    """A node of its own, its data kept under `directory`."""
    place = directory / name
    arguments = ["-p", "0", "-l", "/ip4/127.0.0.1/tcp/0", "--data-dir", str(place)]
    if bootstrap:
        arguments += ["--bootstrap", bootstrap]
    return ServerProcess(name, arguments, directory, env)


def processor_s(pid: int) -> float:
    """Seconds of processor a process took so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory_mib(pid: int) -> tuple[float, float]:
    """Resident now and at its highest."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return tuple(int(status[key].split()[0]) / 1024 for key in ("VmRSS", "VmHWM"))  # type: ignore[return-value]


async def register(target: str, offers: int, batch: int) -> tuple[float, int, int]:
    """Seconds, how many met their quorum, and the fewest acknowledgements of one that did."""
    listings = [Listing(f"{number:064x}", TERMS, b"me", "Ann") for number in range(offers)]

    async def batches() -> AsyncIterator[Sequence[Listing]]:
        for at in range(0, offers, batch):
            yield listings[at : at + batch]

    reached, fewest = 0, 10**9
    async with MarketClient(target) as client:
        await client.get_node()
        began = time.perf_counter()
        async for outcomes in client.register_many(batches()):
            for outcome in outcomes:
                if not outcome.message:
                    reached += 1
                    fewest = min(fewest, outcome.acknowledged)
        return time.perf_counter() - began, reached, fewest


async def served(target: str, peer_id: str, offers: int) -> int:
    """Of SAMPLE offers, how many the node tells of as its own."""

    async def searches() -> AsyncIterator[HolderSearch]:
        for number in range(0, offers, max(offers // SAMPLE, 1)):
            yield HolderSearch(f"{number:064x}")

    async with MarketClient(target) as client:
        found = [result async for result in client.find_many(searches())]
    return sum(any(holder.provider == peer_id for holder in result.holders) for result in found)


def main() -> None:
    """Runs it once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--offers", type=int, default=100_000)
    parser.add_argument("--nodes", type=int, default=8)
    parser.add_argument("--batch", type=int, default=1000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=".") as place, ExitStack() as stack:
        directory = Path(place)
        nodes = [stack.enter_context(start(directory, "node-0"))]
        nodes[0].wait_ready()
        for number in range(1, given.nodes):
            nodes.append(stack.enter_context(start(directory, f"node-{number}", nodes[0].address)))
            nodes[-1].wait_ready()
        holder = nodes[1]
        before = [processor_s(node.process.pid) for node in nodes]
        client_before = time.process_time()
        took, reached, fewest = asyncio.run(register(holder.ready["grpc"], given.offers, given.batch))
        client_s = time.process_time() - client_before
        used = [processor_s(node.process.pid) - b for node, b in zip(nodes, before, strict=True)]
        print(f"{given.offers} offers, {given.nodes} nodes: {took:.2f} s, {given.offers / took:.0f} offers/s")
        print(f"{reached} met their quorum, with {fewest} acknowledgements at least")
        others = [seconds for node, seconds in zip(nodes, used, strict=True) if node is not holder]
        print(
            f"processor: client {client_s:.1f} s, holder {used[1]:.1f} s, others {sum(others):.1f} s in all"
        )
        for name, node in (("holder", holder), ("another", nodes[0])):
            now, highest = memory_mib(node.process.pid)
            print(f"memory of the {name}: {now:.0f} MiB, at most {highest:.0f} MiB")
        holder.kill()
        began = time.perf_counter()
        again = stack.enter_context(start(directory, holder.name, nodes[0].address))
        again.wait_ready()
        took, used_s = time.perf_counter() - began, processor_s(again.process.pid)
        print(f"killed and started again: ready after {took:.2f} s, {used_s:.2f} s of processor")
        own = asyncio.run(served(again.ready["grpc"], again.ready["peer_id"], given.offers))
        print(f"  of {min(SAMPLE, given.offers)} offers looked for there, {own} are found")
        print("  " + next(line for line in again.log().splitlines() if "offers kept" in line))


if __name__ == "__main__":
    main()
