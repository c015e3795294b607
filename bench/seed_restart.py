"""The node that everybody joined by is killed, and started again with the same identity.

    python -m bench.seed_restart [--json FILE]

Eight servers, each with an offer; the first, by which the others joined, is killed with SIGKILL and started
again with the same data directory and port, and no bootstrap peer. Nobody else is restarted or told.
Measured: the time from its `ready` until it is connected with all others, until a newcomer that joins by it
is, and whether every offer is found from everywhere.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from bench.local_network import (
    DEADLINE_S,
    FREE_PORTS,
    Mark,
    Report,
    command,
    connected_peers,
    market,
    prices,
    register_all,
    until,
)
from fastmarket.cli.processes import ServerProcess

SERVERS = 8
LIMIT_S = 3.0


def start_seed(home: Path, port: str, directory: Path, name: str) -> ServerProcess:
    """A server that keeps its identity and peers; joins nobody by a bootstrap peer."""
    listen = f"/ip4/127.0.0.1/tcp/{port}"
    return ServerProcess(name, ("-p", "0", "-l", listen, "--data-dir", str(home)), directory)


def port_of(server: ServerProcess) -> str:
    """The TCP port that other nodes reach it at."""
    return server.address.split("/")[4]


async def wait_saved(home: Path, count: int) -> None:
    """Until so many peers are on its disk."""

    async def saved() -> bool:
        try:
            return len(json.loads((home / "peers.json").read_text("utf-8"))["peers"]) >= count
        except FileNotFoundError:
            return False

    await until(saved)


async def wait_connected(server: ServerProcess, others: Sequence[ServerProcess]) -> float:
    """Until it is connected with all of them; seconds."""
    wanted = {other.ready["peer_id"] for other in others}

    async def connected() -> bool:
        return wanted <= await connected_peers(server)

    return await until(connected)


async def not_found(servers: Sequence[ServerProcess], contents: Sequence[str]) -> list[str]:
    """What any of them does not find for the price it was registered with (1 each)."""
    missing = []
    for server in servers:
        async with market(server) as stub:
            for content in contents:
                if await prices(stub, content) != [1]:
                    missing.append(f"{content} at {server.name}")
    return missing


async def _measured(directory: Path, stack: ExitStack) -> Report:
    home = directory / "home"
    seed = stack.enter_context(start_seed(home, "0", directory, "seed"))
    seed.wait_ready()
    others = []
    for number in range(1, SERVERS):
        join = (*FREE_PORTS, "-b", seed.address)
        others.append(stack.enter_context(ServerProcess(f"server-{number}", join, directory)))
    for server in others:
        server.wait_ready()
    contents = [f"of {server.name}" for server in (seed, *others)]
    for server, content in zip((seed, *others), contents, strict=True):
        await register_all(server, [content])
    await wait_saved(home, len(others))

    seed.kill()
    began = time.monotonic()
    again = stack.enter_context(start_seed(home, port_of(seed), directory, "seed-again"))
    again.wait_ready()
    ready_s = time.monotonic() - began
    all_s = await wait_connected(again, others)
    newcomer = stack.enter_context(ServerProcess("newcomer", (*FREE_PORTS, "-b", again.address), directory))
    newcomer.wait_ready(DEADLINE_S)
    met_s = await wait_connected(newcomer, [again, *others])
    missing = await not_found([again, *others, newcomer], contents)
    figures = {
        "servers": SERVERS,
        "killed until ready again s": ready_s,
        "ready until connected with all others s": all_s,
        "newcomer's ready until it is, too s": met_s,
    }
    marks = [
        Mark("restarted node connected with all others", all_s, LIMIT_S, "s"),
        Mark("newcomer by it connected with all", met_s, LIMIT_S, "s"),
        Mark("searches that miss an offer", len(missing), 0, ""),
    ]
    return Report("restart of the bootstrap node", figures, marks)


def measure() -> Report:
    """Starts the servers, measures, ends them."""
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        return asyncio.run(_measured(Path(directory), stack))


if __name__ == "__main__":
    sys.exit(command(__doc__, measure))
