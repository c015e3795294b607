"""Nodes of ours as users run them, for the tests with other programs."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from fastmarket.cli.processes import ServerProcess
from fastmarket.market.client_goods import CidForming, SoldItem
from fastmarket.market.grpc_client import MarketClient

SERVER = ("--ephemeral", "-p", "0", "-l", "/ip4/127.0.0.1/tcp/0")
KUBO_LAN = ("--kad-prefix", "/ipfs/lan")  # Kubo's DHT of local networks


class Servers:
    """Starts nodes; they end with the test."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self._directory = directory
        self._stack = stack
        self._all: list[ServerProcess] = []

    def start(
        self,
        *arguments: str,
        hub: str = "",
        join: ServerProcess | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> ServerProcess:
        """One that is ready: alone, in the network of another (`join`), or in the one that `hub` is in, the
        address of a Kubo or a Helia."""
        words = [*SERVER, *arguments]
        if hub:
            words += [*KUBO_LAN, "-b", hub]
        if join is not None:
            words += ["-b", join.address]
        server = ServerProcess(f"server-{len(self._all)}", words, self._directory, environment)
        self._all.append(self._stack.enter_context(server))
        server.wait_ready()
        return server

    def check_logs(self) -> None:
        for server in self._all:
            assert "Traceback" not in server.log(), server.log()


async def sold(server: ServerProcess, path: Path, price: int, profile: str = "") -> str:
    """Sells a file, or a directory as one content; its CID."""
    async with MarketClient(server.ready["grpc"]) as market:
        sale = market.sell([str(path)], price, forming=CidForming(profile))
        events = [event async for event in sale]
    (item,) = (event for event in events if isinstance(event, SoldItem))
    assert item.cid, item
    return item.cid


async def sent(server: ServerProcess) -> int:
    """Bytes of its goods that left through its content port."""
    async with MarketClient(server.ready["grpc"]) as market:
        return sum([good.sent_bytes async for good in market.list_goods()])
