"""Nodes of ours as users run them: sellers with a content port, buyers, and `fastmarket-client get`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from bench.get.commands import Command, Ended, run
from fastmarket.cli.processes import ServerProcess, executable
from fastmarket.market.client_goods import SoldItem
from fastmarket.market.grpc_client import MarketClient

GET_DEADLINE_S = 600.0
SERVER = ("-p", "0", "-l", "/ip4/127.0.0.1/tcp/0")
SELLER = ("--content-port", "0")


class Network:
    """Nodes that have joined by the first."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.directory = directory
        self._stack = stack
        self._nodes: list[ServerProcess] = []

    def start(self, *arguments: str) -> ServerProcess:
        """One more, ready."""
        join = ("-b", self._nodes[0].address) if self._nodes else ()
        home = () if "--data-dir" in arguments else ("--ephemeral",)
        name = f"node-{len(self._nodes)}"
        node = ServerProcess(name, (*SERVER, *home, *join, *arguments), self.directory)
        self._nodes.append(self._stack.enter_context(node))
        node.wait_ready()
        return node

    @contextmanager
    def buyer(self) -> Iterator[ServerProcess]:
        """One that has joined, and leaves at the end."""
        join = ("--ephemeral", "-b", self._nodes[0].address)
        with ServerProcess("buyer", (*SERVER, *join), self.directory) as node:
            node.wait_ready()
            yield node
            if node.process.returncode is None:
                check_log(node)

    def seller(self, path: Path, *arguments: str) -> tuple[ServerProcess, str]:
        """One that sells the file for nothing, and the CID."""
        node = self.start(*SELLER, *arguments)
        return node, sell(node, path)

    def check_logs(self) -> None:
        """No node hit a bug of ours."""
        for node in self._nodes:
            check_log(node)


def check_log(node: ServerProcess) -> None:
    """It hit no bug of ours."""
    if "Traceback" in (log := node.log()):
        raise AssertionError(log)


def sell(node: ServerProcess, path: Path, price: int = 0) -> str:
    """The CID; the import is over then, and the offer stored."""

    async def sold() -> str:
        async with MarketClient(node.ready["grpc"]) as market:
            events = [event async for event in market.sell([str(path)], price)]
        (item,) = (event for event in events if isinstance(event, SoldItem))
        assert item.cid, item.message
        return item.cid

    return asyncio.run(sold())


def get_words(node: ServerProcess, cid: str, output: Path) -> list[str]:
    """`fastmarket-client get`."""
    home = output.parent / "client"
    words = [*executable("fastmarket-client"), "--port", node.port, "--data-dir", str(home)]
    return [*words, "get", cid, "--output", str(output), "--yes"]


def get(node: ServerProcess, cid: str, output: Path) -> Ended:
    """Runs it to its end. Raises CommandFailed."""
    return run(get_words(node, cid, output), GET_DEADLINE_S)


def begin_get(node: ServerProcess, cid: str, output: Path, log: IO[bytes]) -> Command:
    """Starts it."""
    return Command(get_words(node, cid, output), log)


def sent_bytes(node: ServerProcess) -> int:
    """Bytes of files that a seller has sent."""

    async def told() -> int:
        async with MarketClient(node.ready["grpc"]) as market:
            return sum([good.sent_bytes async for good in market.list_goods()])

    return asyncio.run(told())
