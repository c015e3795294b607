"""Nodes of ours buy from Kubo's gateway over HTTP."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest

from fastmarket.cli.processes import ServerProcess, environment, executable
from fastmarket.exchange.fetching.order import FetchPlan, FetchProgress, FetchSummary
from fastmarket.market.grpc_client import MarketClient
from fastmarket.offers.model.metadata import FileMetadata, Way
from interop.files import MIB, free_port, put, put_many, some
from interop.kubo.conftest import Kubo, Kubos
from interop.servers import Servers, sent, sold

TEST_S = 120.0
PROFILES = {
    "v0": ("--cid-version=0",),
    "v1": ("--cid-version=1", "--raw-leaves", "--chunker=size-1048576", "--max-file-links=1024"),
}


def client(server: ServerProcess, *words: str) -> subprocess.CompletedProcess[str]:
    """`fastmarket-client` at a node."""
    return subprocess.run(
        [*executable("fastmarket-client"), "-p", server.port, *words],
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TEST_S,
        check=False,
    )


def offer(server: ServerProcess, kubo: Kubo, cid: str, *, price: int = 3, url: bool = False) -> None:
    """Registers Kubo's gateway by hand as a place of the content, at its address or as a URL."""
    port = int(kubo.gateway.rpartition(":")[2])
    terms = (
        FileMetadata("192.0.2.1", 9, price, ways=Way.HTTP, url=kubo.gateway)  # where nobody answers
        if url
        else FileMetadata("127.0.0.1", port, price, ways=Way.HTTP)
    )

    async def registered() -> None:
        async with MarketClient(server.ready["grpc"]) as market:
            await market.register(cid, terms, user_id=b"user", user_name="friend")

    asyncio.run(registered())


def fetched(server: ServerProcess, content: str, path: Path) -> FetchSummary:
    async def get() -> FetchSummary:
        async with MarketClient(server.ready["grpc"]) as market:
            return await market.fetch_to(content, path, timeout_s=TEST_S)

    return asyncio.run(get())


@pytest.mark.parametrize("url", [False, True], ids=["address", "url"])
@pytest.mark.parametrize("profile", PROFILES)
def test_a_node_gets_files_of_a_gateway_that_an_offer_names(
    kubo: Kubo, servers: Servers, tmp_path: Path, profile: str, url: bool
) -> None:
    buyer = servers.start()
    for size in (0, 1, 262_144, 5 * MIB + 1, 60 * MIB):
        cid = kubo.add(some(size), *PROFILES[profile])
        offer(buyer, kubo, cid, url=url)
        summary = fetched(buyer, cid, tmp_path / f"got-{size}")
        assert (tmp_path / f"got-{size}").read_bytes() == some(size)
        (share,) = summary.holders
        assert share.source == kubo.gateway
        assert share.bytes == size


def test_a_node_gets_files_below_directories_of_a_gateway(
    kubo: Kubo, servers: Servers, tmp_path: Path
) -> None:
    """A flat one, and a sharded one."""
    buyer = servers.start()
    names = put_many(tmp_path / "many")
    put(tmp_path / "many" / "sub" / "ä ö.ogg", some(3 * MIB))
    for profile in PROFILES.values():
        cid = kubo.ipfs("add", "-Q", "-r", *profile, str(tmp_path / "many")).decode().strip()
        offer(buyer, kubo, cid)
        got = tmp_path / f"got-{cid}"
        fetched(buyer, f"{cid}/{names[567]}", got)
        assert got.read_bytes() == names[567].encode()
        fetched(buyer, f"{cid}/sub/ä ö.ogg", tmp_path / f"deep-{cid}")
        assert (tmp_path / f"deep-{cid}").read_bytes() == some(3 * MIB)


def test_get_fetches_from_a_gateway(kubo: Kubo, servers: Servers, tmp_path: Path) -> None:
    """As people type it."""
    buyer = servers.start()
    cid = kubo.add(some(20 * MIB))
    offer(buyer, kubo, cid)
    done = client(buyer, "get", cid, "-y", "-o", str(tmp_path / "got"))
    assert done.returncode == 0, done
    assert (tmp_path / "got").read_bytes() == some(20 * MIB)


def test_gateways_and_sellers_share_a_fetch(kubos: Kubos, servers: Servers, tmp_path: Path) -> None:
    """Two of each; a gateway that has not the content sends 412 at once, and the others go on."""
    holder, empty = kubos.start(), kubos.start()
    path = put(tmp_path / "film", some(60 * MIB))
    buyer = servers.start()
    sellers = [servers.start("--content-port", "0", join=buyer) for _ in range(2)]
    cids = {asyncio.run(sold(seller, path, 3)) for seller in sellers}
    cids.add(holder.add(some(60 * MIB)))
    (cid,) = cids
    offer(sellers[0], holder, cid)
    offer(sellers[1], empty, cid)
    summary = fetched(buyer, cid, tmp_path / "got")
    assert (tmp_path / "got").read_bytes() == some(60 * MIB)
    shares = {share.source: share for share in summary.holders}
    assert shares[holder.gateway].bytes > 0
    assert shares[empty.gateway].bytes == 0
    assert all(asyncio.run(sent(seller)) > 0 for seller in sellers)


def test_a_gateway_that_dies_in_the_middle_is_left(kubos: Kubos, servers: Servers, tmp_path: Path) -> None:
    holder = kubos.start()
    path = put(tmp_path / "film", some(200 * MIB))
    buyer = servers.start()
    seller = servers.start("--content-port", "0", "--content-rate", "40MB", join=buyer)
    cid = asyncio.run(sold(seller, path, 3))
    assert holder.ipfs("add", "-Q", str(path)).decode().strip() == cid
    offer(seller, holder, cid)

    async def get() -> FetchSummary:
        async with MarketClient(buyer.ready["grpc"]) as market:

            def look(report: FetchPlan | FetchProgress) -> None:
                if isinstance(report, FetchProgress) and report.done > 20 * MIB:
                    holder.kill()

            return await market.fetch_to(cid, tmp_path / "got", on_report=look, timeout_s=TEST_S)

    summary = asyncio.run(get())
    assert (tmp_path / "got").read_bytes() == path.read_bytes()
    shares = {share.source: share for share in summary.holders}
    assert shares[holder.gateway].bytes > 0
    assert shares[holder.gateway].ended


def test_a_node_asks_a_provider_at_its_http_address(kubos: Kubos, servers: Servers, tmp_path: Path) -> None:
    """Kubo announces its gateway in its provider records, where it speaks no Bitswap."""
    hub = kubos.start()
    port = free_port()
    holder = kubos.start(
        hub,
        settings={
            "Addresses.Gateway": f"/ip4/127.0.0.1/tcp/{port}",
            "Addresses.AppendAnnounce": [f"/ip4/127.0.0.1/tcp/{port}/http"],
        },
    )
    buyer = servers.start(hub=hub.address)
    cid = holder.add(some(20 * MIB))
    summary = fetched(buyer, cid, tmp_path / "got")
    assert (tmp_path / "got").read_bytes() == some(20 * MIB)
    assert [share.source for share in summary.holders] == [f"http://127.0.0.1:{port}"]
