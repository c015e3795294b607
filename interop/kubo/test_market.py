"""Kubo and nodes of ours as users run them: what is sold for nothing, and what Kubo has."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from fastmarket.cli.processes import ServerProcess
from fastmarket.market.client_goods import SoldItem
from fastmarket.market.grpc_client import MarketClient
from interop.kubo.conftest import Kubo, Kubos

MIB = 1 << 20
TEST_S = 120.0
SERVER = ("--ephemeral", "-p", "0", "-l", "/ip4/127.0.0.1/tcp/0", "--kad-prefix", "/ipfs/lan")


class Servers:
    """Starts nodes of ours in Kubo's DHT of local networks."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self._directory = directory
        self._stack = stack
        self._all: list[ServerProcess] = []

    def start(self, hub: Kubo, *arguments: str) -> ServerProcess:
        """Joined by a Kubo, ready."""
        name = f"server-{len(self._all)}"
        server = ServerProcess(name, (*SERVER, "-b", hub.address, *arguments), self._directory)
        self._all.append(self._stack.enter_context(server))
        server.wait_ready()
        return server

    def check_logs(self) -> None:
        for server in self._all:
            assert "Traceback" not in server.log(), server.log()


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    """Ended with the test; none may have hit a bug of ours."""
    with ExitStack() as stack:
        started = Servers(tmp_path, stack)
        yield started
        stack.close()
        started.check_logs()


def some(size: int) -> bytes:
    return hashlib.shake_128(b"%d" % size).digest(size)


async def sold(server: ServerProcess, path: Path, price: int) -> str:
    """The CID."""
    async with MarketClient(server.ready["grpc"]) as market:
        events = [event async for event in market.sell([str(path)], price)]
    (item,) = (event for event in events if isinstance(event, SoldItem))
    return item.cid


def test_kubo_gets_what_is_sold_for_nothing_found_by_its_provider_record(
    kubos: Kubos, servers: Servers, tmp_path: Path
) -> None:
    hub = kubos.start()
    seller = servers.start(hub, "--content-port", "0")
    buyer = kubos.start(hub)
    path = tmp_path / "film"
    path.write_bytes(some(20 * MIB))
    cid = asyncio.run(sold(seller, path, 0))
    buyer.ipfs("get", "--progress=false", "-o", str(tmp_path / "got"), cid)
    assert (tmp_path / "got").read_bytes() == some(20 * MIB)


def test_kubo_gets_nothing_of_what_has_a_price_over_bitswap(
    kubos: Kubos, servers: Servers, tmp_path: Path
) -> None:
    hub = kubos.start()
    seller = servers.start(hub, "--content-port", "0")
    path = tmp_path / "film"
    path.write_bytes(some(MIB))
    cid = asyncio.run(sold(seller, path, 7))
    hub.ipfs("swarm", "connect", seller.address)
    assert hub.try_ipfs("block", "get", "--timeout=3s", cid).returncode != 0


@pytest.mark.parametrize("selling", [False, True], ids=["only buys", "sells"])
def test_a_node_gets_a_file_of_kubo_found_by_its_provider_record(
    kubos: Kubos, servers: Servers, tmp_path: Path, selling: bool
) -> None:
    hub = kubos.start()
    buyer = servers.start(hub, *(("--content-port", "0") if selling else ()))
    holder = kubos.start(hub)
    cid = holder.add(some(20 * MIB))

    async def fetched() -> None:
        async with MarketClient(buyer.ready["grpc"]) as market:
            await market.fetch_to(cid, tmp_path / "got", timeout_s=TEST_S)

    asyncio.run(fetched())
    assert (tmp_path / "got").read_bytes() == some(20 * MIB)
