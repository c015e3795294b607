"""Real servers, some of which hang: how long finding takes, and whether all is found.

`python bench/hung_servers.py` prints CheckHolders' p50 and p99 before and after a third of the servers is
stopped with SIGSTOP: they accept connections and never answer.
"""

from __future__ import annotations

import asyncio
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc.aio

from fastmarket.cli.processes import ServerProcess
from fastmarket.pb import market_pb2, market_pb2_grpc

FREE_PORTS = ("-p", "0", "-l", "/ip4/127.0.0.1/tcp/0", "--ephemeral")
SERVERS, HUNG, CONTENTS = 12, 4, 200
DEADLINE_S = 30.0


@dataclass(frozen=True)
class Searches:
    """What came of looking for every content once, one after the other."""

    wrong: list[str]
    seconds: list[float]

    def percentile(self, share: float) -> float:
        """Nearest rank, in ms."""
        return sorted(self.seconds)[min(len(self.seconds) - 1, int(share * len(self.seconds)))] * 1000


@contextmanager
def network(directory: Path, count: int = SERVERS) -> Iterator[list[ServerProcess]]:
    """Servers that have joined by the first."""
    with ExitStack() as stack:
        first = stack.enter_context(ServerProcess("server-0", FREE_PORTS, directory))
        first.wait_ready()
        started = [first]
        for number in range(1, count):
            join = (*FREE_PORTS, "-b", first.address)
            started.append(stack.enter_context(ServerProcess(f"server-{number}", join, directory)))
        for server in started[1:]:
            server.wait_ready()
        yield started


def hang(servers: Sequence[ServerProcess]) -> None:
    """The last HUNG of them, from now on."""
    for server in servers[-HUNG:]:
        server.process.send_signal(signal.SIGSTOP)


async def register_all(server: ServerProcess, contents: Sequence[str]) -> None:
    """An offer for each."""
    async with grpc.aio.insecure_channel(server.ready["grpc"]) as channel:
        stub: Any = market_pb2_grpc.MarketStub(channel)  # type: ignore[no-untyped-call]
        for price, content in enumerate(contents, 1):
            user = market_pb2.User(id=b"u", name="Ann", ip="192.0.2.1", port=4000, price=price)
            request = market_pb2.RegisterFileRequest(user=user, fileHash=content)
            await stub.RegisterFile(request, timeout=DEADLINE_S)


async def find_all(server: ServerProcess, contents: Sequence[str]) -> Searches:
    """Looks for each; right is the one holder with the price it registered."""
    searches = Searches([], [])
    async with grpc.aio.insecure_channel(server.ready["grpc"]) as channel:
        stub: Any = market_pb2_grpc.MarketStub(channel)  # type: ignore[no-untyped-call]
        for price, content in enumerate(contents, 1):
            began = time.perf_counter()
            request = market_pb2.CheckHoldersRequest(fileHash=content)
            reply = await stub.CheckHolders(request, timeout=DEADLINE_S)
            searches.seconds.append(time.perf_counter() - began)
            if [holder.price for holder in reply.holders] != [price]:
                searches.wrong.append(content)
    return searches


def main() -> None:
    """Prints both rounds."""
    contents = [f"content {number}" for number in range(CONTENTS)]
    with tempfile.TemporaryDirectory() as directory, network(Path(directory)) as servers:
        asyncio.run(register_all(servers[1], contents))
        for name in (f"all {SERVERS} answer", f"{HUNG} of {SERVERS} hang"):
            if name.endswith("hang"):
                hang(servers)
            found = asyncio.run(find_all(servers[2], contents))
            p50, p99 = found.percentile(0.5), found.percentile(0.99)
            print(
                f"{name:16} {len(found.wrong)} of {CONTENTS} wrong, p50 {p50:.1f} ms, p99 {p99:.1f} ms, "
                f"worst {max(found.seconds) * 1000:.1f} ms"
            )


if __name__ == "__main__":
    main()
