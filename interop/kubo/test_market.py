"""Kubo and nodes of ours as users run them: what is sold for nothing, and what Kubo has."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from fastmarket.market.grpc_client import MarketClient
from interop.files import MIB, some
from interop.kubo.conftest import Kubos
from interop.servers import Servers, sold

TEST_S = 120.0


def test_kubo_gets_what_is_sold_for_nothing_found_by_its_provider_record(
    kubos: Kubos, servers: Servers, tmp_path: Path
) -> None:
    hub = kubos.start()
    seller = servers.start("--content-port", "0", hub=hub.address)
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
    seller = servers.start("--content-port", "0", hub=hub.address)
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
    buyer = servers.start(*(("--content-port", "0") if selling else ()), hub=hub.address)
    holder = kubos.start(hub)
    cid = holder.add(some(20 * MIB))

    async def fetched() -> None:
        async with MarketClient(buyer.ready["grpc"]) as market:
            await market.fetch_to(cid, tmp_path / "got", timeout_s=TEST_S)

    asyncio.run(fetched())
    assert (tmp_path / "got").read_bytes() == some(20 * MIB)
