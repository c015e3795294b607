"""Fifty nodes in five processes that all join by one of them at the same moment.

    python -m bench.joining [--json FILE]

All nodes listen; then all but the first are told at once to join by it. Measured, for each node: the seconds
from that word until it knows 40 others, that is until they are connected, have said who they are, and stand
in its routing table or wait for a place in it (of 49 others, a bucket holds 20).
"""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import uvloop

from bench.local_network import Mark, Report, command, percentile
from fastmarket.cli.memory import GC_THRESHOLDS
from fastmarket.config import NodeConfig
from fastmarket.errors import DialFailed
from fastmarket.formats.identity import Identity, PeerId
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.net.dht_node import DhtNode

PROCESSES, NODES_EACH, KNOWN = 5, 10, 40
LIMIT_S = 3.0
DEADLINE_S = 60.0
WORKER = "--worker"


# --- a process with some nodes: it reads commands from its input, one a line, and answers each with one line


@dataclass
class _Watch:
    """A node, and when it knew enough others (seconds on the clock that all processes share)."""

    node: DhtNode
    enough: int
    at: float = 0.0
    done: asyncio.Event = field(default_factory=asyncio.Event)

    def on_peer_identified(self, peer: PeerInfo, protocols: frozenset[str], now: float) -> None:
        if not self.at and self.node.engine.routing.known_count() >= self.enough:
            self.at = time.monotonic()
            self.done.set()

    def on_peer_disconnected(self, peer_id: PeerId, now: float) -> None: ...

    def on_peer_unreachable(self, peer_id: PeerId, now: float) -> None: ...


async def _work(count: int, enough: int) -> None:
    config = NodeConfig()
    config = replace(config, host=replace(config.host, listen=()))
    watches = []
    for _ in range(count):
        node = DhtNode(Identity.from_seed(_entropy()), config)
        await node.listen(Multiaddr.from_text("/ip4/127.0.0.1/tcp/0"))
        watches.append(_Watch(node, enough))
        node.host.observers.append(watches[-1])
    _say([str(watch.node.listen_addrs[0]) for watch in watches])
    seed = Multiaddr.from_text(await _hear())
    assert seed.peer_id is not None
    peer = PeerInfo(seed.peer_id, (seed.without_peer(),))
    before_s = time.process_time()
    joining = [watch.node for watch in watches if watch.node.peer_id != seed.peer_id]
    ended = await asyncio.gather(*(_join(node, peer) for node in joining))
    try:
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.gather(*(watch.done.wait() for watch in watches))
    except TimeoutError:
        known = [watch.node.engine.routing.known_count() for watch in watches]
        linked = [len(watch.node.host.peers) for watch in watches]
        silent = [len(watch.node.engine.routing.unresponsive) for watch in watches]
        raise SystemExit(f"known {known}, connected {linked}, silent {silent}, {ended=}") from None
    _say(
        {
            "enough": [watch.at for watch in watches],
            "joined": ended,
            "cpu_s": time.process_time() - before_s,
        }
    )
    await _hear()  # everybody has had enough: what is known in the end
    _say(
        {
            "known": [watch.node.engine.routing.known_count() for watch in watches],
            "table": [watch.node.engine.table_size for watch in watches],
        }
    )
    await _hear()
    await asyncio.gather(*(watch.node.close() for watch in watches))


async def _join(node: DhtNode, seed: PeerInfo) -> float:
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                await node.bootstrap([seed], DEADLINE_S)
            except DialFailed as fault:  # the seed is too busy: tried again, as by a server
                print(fault, file=sys.stderr)
            else:
                return time.monotonic()


def _entropy() -> bytes:
    with open("/dev/urandom", "rb") as source:
        return source.read(32)


def _say(value: object) -> None:
    print(json.dumps(value), flush=True)


async def _hear() -> str:
    line = await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    return line.strip()


# --- the one that starts them


class Worker:
    """One such process."""

    def __init__(self, count: int, enough: int, log: Path) -> None:
        arguments = [sys.executable, "-m", "bench.joining", WORKER, str(count), str(enough)]
        with log.open("wb") as errors:
            self.process = subprocess.Popen(
                arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
            )
        self._log = log

    def tell(self, line: str) -> None:
        """A command."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def answer(self) -> Any:
        """The answer to it; raises RuntimeError with its last words."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(self._log.read_text("utf-8", "replace"))
        return json.loads(line)

    def kill(self) -> None:
        """Whatever it does."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


@contextmanager
def _workers(processes: int, each: int, enough: int) -> Iterator[list[Worker]]:
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        workers = []
        for number in range(processes):
            worker = Worker(each, enough, Path(directory) / f"worker-{number}.log")
            stack.callback(worker.kill)
            workers.append(worker)
        yield workers


@dataclass(frozen=True)
class Joined:
    """Of every node: seconds until it knew enough, until its bootstrap had ended, and whom it knew then."""

    enough_s: Sequence[float]
    joined_s: Sequence[float]
    known: Sequence[int]
    table: Sequence[int]
    cpu_s: float


def join(processes: int = PROCESSES, each: int = NODES_EACH, enough: int = KNOWN) -> Joined:
    """Raises RuntimeError when a node does not get to know `enough` others within a minute."""
    with _workers(processes, each, enough) as workers:
        addresses = [address for worker in workers for address in worker.answer()]
        began = time.monotonic()
        for worker in workers:
            worker.tell(addresses[0])
        first = [worker.answer() for worker in workers]
        for worker in workers:
            worker.tell("report")
        last = [worker.answer() for worker in workers]
        for worker in workers:
            worker.tell("end")
        for worker in workers:
            worker.process.wait(DEADLINE_S)
    return Joined(
        [at - began for answer in first for at in answer["enough"]],
        [at - began for answer in first for at in answer["joined"]],
        [known for answer in last for known in answer["known"]],
        [size for answer in last for size in answer["table"]],
        sum(answer["cpu_s"] for answer in first),
    )


def measure() -> Report:
    """As the marks want it."""
    joined = join()
    figures = {
        "nodes": len(joined.known),
        f"knows {KNOWN} others: p50 s": percentile(joined.enough_s, 0.5),
        f"knows {KNOWN} others: last s": max(joined.enough_s),
        "bootstrap returned: p50 s": percentile(joined.joined_s, 0.5),
        "bootstrap returned: last s": max(joined.joined_s),
        "known in the end, least": min(joined.known),
        "in the table in the end, least": min(joined.table),
        "CPU of all processes s": joined.cpu_s,
    }
    marks = [
        Mark(
            f"the last of {len(joined.known)} nodes knows {KNOWN} others", max(joined.enough_s), LIMIT_S, "s"
        ),
        Mark("others known in the end, least", min(joined.known), KNOWN, "nodes", least=True),
    ]
    return Report("joining at the same moment", figures, marks)


if __name__ == "__main__":
    if WORKER in sys.argv:
        gc.set_threshold(*GC_THRESHOLDS)  # as the server does
        uvloop.run(_work(*map(int, sys.argv[2:])))
        sys.exit(0)
    sys.exit(command(__doc__, measure))
