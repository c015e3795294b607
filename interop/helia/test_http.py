"""Helia without libp2p buys over HTTP from nodes of ours, found by way of their delegated routing."""

from __future__ import annotations

import asyncio
from base64 import b64decode
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from fastmarket.cli.processes import ServerProcess
from interop.files import MIB, PROFILES, put, put_many, put_music, some
from interop.helia.conftest import helia
from interop.servers import Servers, sent, sold
from tests.certificates import Authority

PRICE = 5
SHOP = ("--http-port", "0", "--content-port", "0")
PROGRAM = "http.mjs"
ALONE = "cat-without-session"
TEST_S = 240.0


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scenario, TEST_S))


def router(server: ServerProcess) -> str:
    return f"http://{server.ready['http']}"


@pytest.mark.parametrize("profile", PROFILES)
def test_helia_gets_files_over_http(servers: Servers, tmp_path: Path, profile: str) -> None:
    seller = servers.start(*SHOP)

    async def scenario() -> None:
        async with helia(PROGRAM, router(seller)) as buyer:
            for size in (0, 1, 262_144, 5 * MIB + 1, 30 * MIB):
                cid = await sold(seller, put(tmp_path / f"film-{size}", some(size)), PRICE, profile)
                before = await sent(seller)
                assert await buyer.cat(cid) == some(size)
                assert await sent(seller) - before >= size

    run(scenario())


def test_helia_gets_a_range_of_a_file(servers: Servers, tmp_path: Path) -> None:
    seller = servers.start(*SHOP)

    async def scenario() -> None:
        async with helia(PROGRAM, router(seller)) as buyer:
            cid = await sold(seller, put(tmp_path / "film", some(30 * MIB)), PRICE)
            part = await buyer.cat(cid, offset=20 * MIB - 7, length=1000)
            assert part == some(30 * MIB)[20 * MIB - 7 :][:1000]
            assert await sent(seller) < MIB

    run(scenario())


@pytest.mark.parametrize("profile", PROFILES)
def test_helia_gets_files_below_directories(servers: Servers, tmp_path: Path, profile: str) -> None:
    """A flat one, and a sharded one."""
    seller = servers.start(*SHOP)
    music, many = put_music(tmp_path / "music"), tmp_path / "many"
    names = put_many(many)

    async def scenario() -> None:
        async with helia(PROGRAM, router(seller)) as buyer:
            cid = await sold(seller, music, PRICE, profile)
            assert (await buyer.call("ls", cid=cid))["names"] == ["a", "b", "empty"]
            assert await buyer.cat(cid, path="/b/c/3.ogg") == some(300_000, "b/c/3.ogg")
            assert await buyer.cat(cid, path="/b/ä ö.txt") == some(300_000, "b/ä ö.txt")
            assert await buyer.cat(cid, path="/empty") == b""
            cid = await sold(seller, many, PRICE, profile)
            assert sorted((await buyer.call("ls", cid=cid))["names"]) == names
            assert await buyer.cat(cid, path=f"/{names[567]}") == names[567].encode()

    run(scenario())


def test_helia_gets_a_file_of_the_seller_that_is_left(servers: Servers, tmp_path: Path) -> None:
    """Found by a router that sells nothing itself, which still knows the offer of one that is gone."""
    path = put(tmp_path / "film", some(10 * MIB))
    asked = servers.start("--http-port", "0")
    gone, there = (servers.start("--content-port", "0", join=asked) for _ in range(2))

    async def scenario() -> None:
        for seller in (gone, there):
            cid = await sold(seller, path, PRICE)
        gone.kill()
        async with helia(PROGRAM, router(asked)) as buyer:
            assert await buyer.cat(cid) == some(10 * MIB)
        assert await sent(there) >= 10 * MIB

    run(scenario())


def test_helia_gets_files_over_tls(servers: Servers, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue("seller")
    seller = servers.start(*SHOP, "--content-cert", str(pair.cert), "--content-key", str(pair.key))

    async def scenario() -> None:
        trusting = {"NODE_EXTRA_CA_CERTS": str(authority.ca)}
        cid = await sold(seller, put(tmp_path / "film", some(10 * MIB)), PRICE)
        async with helia(PROGRAM, router(seller)) as stranger:
            assert "error" in await stranger.call("cat", cid=cid)
        assert await sent(seller) == 0
        async with helia(PROGRAM, router(seller), environment=trusting) as buyer:
            assert await buyer.cat(cid) == some(10 * MIB)
        assert await sent(seller) >= 10 * MIB

    run(scenario())


def test_helia_without_a_session_gets_only_what_is_one_block(servers: Servers, tmp_path: Path) -> None:
    """It looks for providers of each block then; an offer is for a whole content."""
    seller = servers.start(*SHOP)

    async def scenario() -> None:
        async with helia(PROGRAM, router(seller)) as buyer:
            small = await sold(seller, put(tmp_path / "small", some(1000)), PRICE)
            large = await sold(seller, put(tmp_path / "large", some(MIB)), PRICE)
            assert b64decode((await buyer.call(ALONE, cid=small))["data"]) == some(1000)
            assert "any gateway" in (await buyer.call(ALONE, cid=large))["error"]

    run(scenario())
