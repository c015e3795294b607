"""Kubo buys over HTTP from nodes of ours, found by way of their delegated routing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from fastmarket.cli.processes import ServerProcess
from fastmarket.formats.cid import Cid, Codec, sha256_multihash
from interop.files import MIB, PROFILES, free_port, put, put_many, put_music, some, tree
from interop.kubo.conftest import Kubos
from interop.servers import Servers, sent, sold
from tests.certificates import Authority

PRICE = 5  # so that not a byte comes over Bitswap
SHOP = ("--http-port", "0", "--content-port", "0")
MISSES, MISS_S = 150, 3  # contents that nobody has, and how long Kubo looks for each
JOB_S = 60.0
TOO_LONG = "--timeout=10s"  # for a fetch that has to fail: Kubo's search begins after a second


def asking(*routers: ServerProcess, **more: Any) -> Mapping[str, Any]:
    """The settings of a Kubo that asks these nodes of ours where contents are, and nobody else."""
    return {
        "Routing.Type": "delegated",  # of which Kubo says that it cannot provide
        "Provide.Enabled": False,
        "Routing.DelegatedRouters": [f"http://{router.ready['http']}" for router in routers],
        **more,
    }


@pytest.mark.parametrize("profile", PROFILES)
def test_kubo_gets_files_over_http(kubos: Kubos, servers: Servers, tmp_path: Path, profile: str) -> None:
    seller = servers.start(*SHOP)
    buyer = kubos.start(settings=asking(seller))
    before = 0
    for size in (0, 1, 262_144, 5 * MIB + 1, 60 * MIB):
        cid = asyncio.run(sold(seller, put(tmp_path / f"film-{size}", some(size)), PRICE, profile))
        got = tmp_path / f"got-{size}"
        buyer.ipfs("get", "--progress=false", "-o", str(got), cid)
        assert got.read_bytes() == some(size)
        after = asyncio.run(sent(seller))
        assert after - before >= size
        before = after


@pytest.mark.parametrize("profile", PROFILES)
def test_kubo_gets_directories_over_http(
    kubos: Kubos, servers: Servers, tmp_path: Path, profile: str
) -> None:
    seller = servers.start(*SHOP)
    buyer = kubos.start(settings=asking(seller))
    music = put_music(tmp_path / "music")
    cid = asyncio.run(sold(seller, music, PRICE, profile))
    buyer.ipfs("get", "--progress=false", "-o", str(tmp_path / "got"), cid)
    assert tree(tmp_path / "got") == tree(music)
    assert buyer.ipfs("cat", f"/ipfs/{cid}/b/c/3.ogg") == some(300_000, "b/c/3.ogg")


@pytest.mark.parametrize("profile", PROFILES)
def test_kubo_gets_a_sharded_directory_over_http(
    kubos: Kubos, servers: Servers, tmp_path: Path, profile: str
) -> None:
    seller = servers.start(*SHOP)
    buyer = kubos.start(settings=asking(seller))
    many = tmp_path / "many"
    names = put_many(many)
    cid = asyncio.run(sold(seller, many, PRICE, profile))
    assert len(buyer.ipfs("ls", "--size=false", "--resolve-type=false", cid).splitlines()) == len(names)
    assert buyer.ipfs("cat", f"/ipfs/{cid}/{names[567]}") == names[567].encode()
    buyer.ipfs("get", "--progress=false", "-o", str(tmp_path / "got"), cid)
    assert tree(tmp_path / "got") == tree(many)


@pytest.mark.parametrize("kind", ["delegated", "autoclient", "custom"])
def test_kubo_asks_a_router_that_does_not_sell_itself(
    kubos: Kubos, servers: Servers, tmp_path: Path, kind: str
) -> None:
    """... by each `Routing.Type` that Kubo has for it."""
    seller = servers.start("--content-port", "0")
    router = servers.start("--http-port", "0", join=seller)
    only = {"Type": "http", "Parameters": {"Endpoint": f"http://{router.ready['http']}"}}
    methods = ("find-providers", "find-peers", "get-ipns", "put-ipns", "provide")
    custom = {
        "Routing.Routers": {"ours": only},
        "Routing.Methods": {method: {"RouterName": "ours"} for method in methods},
    }
    settings = asking(router, **{"Routing.Type": kind}, **(custom if kind == "custom" else {}))
    buyer = kubos.start(settings=settings)
    cid = asyncio.run(sold(seller, put(tmp_path / "film", some(3 * MIB)), PRICE))
    assert buyer.ipfs("cat", cid) == some(3 * MIB)
    assert asyncio.run(sent(seller)) >= 3 * MIB


def test_kubo_gets_a_file_of_several_sellers(kubos: Kubos, servers: Servers, tmp_path: Path) -> None:
    """... one of them gone, though its offer is not."""
    path = put(tmp_path / "film", some(40 * MIB))
    gone = servers.start(*SHOP)
    sellers = [servers.start(*SHOP, join=gone) for _ in range(2)]
    for seller in (gone, *sellers):
        cid = asyncio.run(sold(seller, path, PRICE))
    gone.kill()
    buyer = kubos.start(settings=asking(*sellers))
    assert buyer.ipfs("cat", cid) == some(40 * MIB)
    assert sum(asyncio.run(sent(seller)) for seller in sellers) >= 40 * MIB


def test_kubo_prefers_http_for_what_is_free(kubos: Kubos, servers: Servers, tmp_path: Path) -> None:
    seller = servers.start(*SHOP)
    buyer = kubos.start(settings=asking(seller))
    cid = asyncio.run(sold(seller, put(tmp_path / "film", some(5 * MIB)), 0))
    assert buyer.ipfs("cat", cid) == some(5 * MIB)
    assert asyncio.run(sent(seller)) >= 5 * MIB


def test_kubo_is_told_by_404_what_is_sold_no_more(kubos: Kubos, servers: Servers, tmp_path: Path) -> None:
    seller = servers.start(*SHOP)
    buyer = kubos.start(settings=asking(seller))
    path = put(tmp_path / "film", some(3 * MIB))
    first, second = (
        asyncio.run(sold(seller, one, PRICE)) for one in (path, put(tmp_path / "other", some(2 * MIB)))
    )
    assert buyer.ipfs("cat", second) == some(2 * MIB)  # so it is connected
    path.write_bytes(some(3 * MIB, "changed"))
    assert buyer.try_ipfs("cat", TOO_LONG, first).returncode != 0
    again = asyncio.run(sold(seller, path, PRICE))
    assert buyer.ipfs("cat", again) == some(3 * MIB, "changed")


def test_kubo_that_asks_for_much_that_is_not_here_still_gets_what_is(
    kubos: Kubos, servers: Servers, tmp_path: Path
) -> None:
    """It asks a seller that it is connected to for whatever it looks for, and leaves after 100 times 404."""
    seller = servers.start(*SHOP)
    buyer = kubos.start(settings=asking(seller))
    first, second = (
        asyncio.run(sold(seller, put(tmp_path / f"film-{size}", some(size)), PRICE))
        for size in (MIB, 2 * MIB)
    )
    assert buyer.ipfs("cat", first) == some(MIB)

    def is_missing(number: int) -> bool:
        cid = Cid(1, Codec.RAW, sha256_multihash(b"%d" % number))
        url = f"{buyer.rpc}/block/get?arg={cid}&timeout={MISS_S}s"
        try:
            urlopen(Request(url, method="POST"), timeout=JOB_S).close()
        except HTTPError:
            return True
        return False

    with ThreadPoolExecutor(MISSES // 2) as threads:
        assert all(threads.map(is_missing, range(MISSES)))
    assert buyer.ipfs("cat", second) == some(2 * MIB)


class TestOverTls:
    """HTTP/2, as Kubo demands it of https."""

    @pytest.fixture
    def authority(self, tmp_path: Path) -> Authority:
        return Authority(tmp_path)

    @pytest.fixture
    def seller(self, authority: Authority, servers: Servers) -> ServerProcess:
        pair = authority.issue("seller")
        return servers.start(*SHOP, "--content-cert", str(pair.cert), "--content-key", str(pair.key))

    def test_kubo_gets_files(
        self, kubos: Kubos, servers: Servers, tmp_path: Path, authority: Authority, seller: ServerProcess
    ) -> None:
        buyer = kubos.start(settings=asking(seller), environment={"SSL_CERT_FILE": str(authority.ca)})
        for size in (0, 1, 60 * MIB):
            cid = asyncio.run(sold(seller, put(tmp_path / f"film-{size}", some(size)), PRICE))
            assert buyer.ipfs("cat", cid) == some(size)
        assert asyncio.run(sent(seller)) >= 60 * MIB

    def test_kubo_gets_them_unverified_if_it_is_told_to(
        self, kubos: Kubos, tmp_path: Path, seller: ServerProcess
    ) -> None:
        buyer = kubos.start(settings=asking(seller, **{"HTTPRetrieval.TLSInsecureSkipVerify": True}))
        cid = asyncio.run(sold(seller, put(tmp_path / "film", some(3 * MIB)), PRICE))
        assert buyer.ipfs("cat", cid) == some(3 * MIB)

    def test_kubo_gets_nothing_of_one_whose_certificate_it_does_not_know(
        self, kubos: Kubos, tmp_path: Path, seller: ServerProcess
    ) -> None:
        buyer = kubos.start(settings=asking(seller))
        cid = asyncio.run(sold(seller, put(tmp_path / "film", some(MIB)), PRICE))
        assert buyer.try_ipfs("cat", TOO_LONG, cid).returncode != 0
        assert asyncio.run(sent(seller)) == 0

    def test_kubo_finds_the_name_in_the_certificate(
        self, kubos: Kubos, servers: Servers, tmp_path: Path, authority: Authority
    ) -> None:
        """A seller that is told to be at a name of its own."""
        pair = authority.issue("named")
        port = free_port()
        seller = servers.start(
            "--http-port", "0", "--content-port", str(port), "--content-url", f"https://localhost:{port}",
            "--content-cert", str(pair.cert), "--content-key", str(pair.key),
        )  # fmt: skip
        buyer = kubos.start(settings=asking(seller), environment={"SSL_CERT_FILE": str(authority.ca)})
        cid = asyncio.run(sold(seller, put(tmp_path / "film", some(3 * MIB)), PRICE))
        assert buyer.ipfs("cat", cid) == some(3 * MIB)
