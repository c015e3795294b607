"""Blocks between Kubo and a node of ours over Bitswap, each of them once as seller and once as buyer."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from fastmarket.exchange.bitswap.client import BlockAbsent, BlockSent, BlockThere
from fastmarket.formats.cid import Cid, Codec
from fastmarket.formats.unixfs.profile import UNIXFS_V0_2015, UNIXFS_V1_2025, CidProfile
from fastmarket.offers.model.metadata import FileMetadata
from interop.kubo.conftest import Kubo, Kubos
from interop.kubo.seller import JOB_S, Seller, selling

MIB = 1 << 20
TEST_S = 120.0
ABSENT = str(Cid(1, Codec.RAW, b"\x12\x20" + bytes(32)))


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scenario, TEST_S))


def some(size: int, seed: str = "") -> bytes:
    return hashlib.shake_128(f"{seed}{size}".encode()).digest(size)


async def ipfs(kubo: Kubo, *words: str) -> bytes:
    """A command, while our node goes on working."""
    return await asyncio.to_thread(kubo.ipfs, *words)


async def got(kubo: Kubo, cid: object, tmp_path: Path) -> bytes:
    """What `ipfs get` writes."""
    await ipfs(kubo, "get", "--progress=false", "-o", str(tmp_path / "got"), str(cid))
    return (tmp_path / "got").read_bytes()


@pytest.mark.parametrize("profile", [UNIXFS_V0_2015, UNIXFS_V1_2025], ids=lambda profile: profile.name)
@pytest.mark.parametrize("size", [0, 1, 262_144, 5 * MIB + 1, 60 * MIB])
def test_kubo_gets_a_file_of_a_node_that_it_is_connected_to(
    kubo: Kubo, tmp_path: Path, size: int, profile: CidProfile
) -> None:
    async def scenario() -> None:
        async with selling() as seller:
            data = some(size)
            cid = seller.goods.put_file(data, profile)
            await ipfs(kubo, "swarm", "connect", seller.address)
            assert await got(kubo, cid, tmp_path) == data

    run(scenario())


@pytest.mark.parametrize("how", ["provides", "offers"])
def test_kubo_finds_a_seller_by_its_provider_record(kubos: Kubos, tmp_path: Path, how: str) -> None:
    async def scenario() -> None:
        async with selling() as seller:
            hub = await asyncio.to_thread(kubos.start)
            await seller.join(hub.address)
            buyer = await asyncio.to_thread(kubos.start, hub)
            data = some(3 * MIB, how)
            cid = seller.goods.put_file(data)
            if how == "provides":
                await seller.node.provide(cid.multihash, deadline_s=JOB_S)
            else:
                await offered(seller, cid)
            assert await got(buyer, cid, tmp_path) == data

    run(scenario())


async def offered(seller: Seller, cid: Cid) -> None:
    """As a price of 0 is registered by gRPC: nodes that do not know offers get a provider record."""
    free = FileMetadata("127.0.0.1", 4000, 0)
    await seller.node.register_offer(cid.multihash, b"user", "seller", free, JOB_S, cid.form)


def test_kubo_gets_single_blocks_by_any_cid_of_them(kubo: Kubo) -> None:
    async def scenario() -> None:
        async with selling() as seller:
            await ipfs(kubo, "swarm", "connect", seller.address)
            for size in (1, 1024, 1025, 2 * MIB):
                block = some(size)
                cid = Cid(1, Codec.RAW, seller.goods.put(block))
                assert await ipfs(kubo, "block", "get", str(cid)) == block
            node = seller.goods.put(b"\x0a\x04\x08\x02\x18\x00")
            for form in (Cid(0, Codec.DAG_PB, node), Cid(1, Codec.DAG_PB, node), Cid(1, Codec.RAW, node)):
                await ipfs(kubo, "repo", "gc")
                assert await ipfs(kubo, "block", "get", str(form)) == seller.goods.blocks[node]

    run(scenario())


def test_kubo_is_not_given_what_costs_something(kubo: Kubo) -> None:
    async def scenario() -> None:
        async with selling() as seller:
            multihash = seller.goods.put(some(100))
            seller.goods.priced.add(multihash)
            await ipfs(kubo, "swarm", "connect", seller.address)
            words = ("block", "get", "--timeout=3s", str(Cid(1, Codec.RAW, multihash)))
            done = await asyncio.to_thread(kubo.try_ipfs, *words)
            assert done.returncode != 0
            assert seller.exchange.server.totals.absent > 0
            assert seller.exchange.server.totals.blocks == 0

    run(scenario())


def test_we_get_blocks_of_kubo(kubo: Kubo) -> None:
    async def scenario() -> None:
        async with selling() as buyer:
            address = kubo.address
            for size in (1, 1024, 256 * 1024, 1 * MIB, 2 * MIB - 256):
                options = ("--cid-version=1", f"--chunker=size-{max(size, 1)}")
                cid = kubo.add(some(size), *options)
                outcome = await buyer.ask(address, cid)
                assert isinstance(outcome, BlockSent)
                assert outcome.block == some(size)
            assert isinstance(await buyer.ask(address, ABSENT), BlockAbsent)
            assert isinstance(await buyer.ask(address, ABSENT, only_presence=True), BlockAbsent)
            assert isinstance(await buyer.ask(address, cid, only_presence=True), BlockThere)

    run(scenario())


def test_we_get_the_empty_block_which_kubo_has_and_never_sends(kubo: Kubo) -> None:
    async def scenario() -> None:
        async with selling() as buyer:
            cid = kubo.ipfs("block", "put", "--cid-codec=raw", stdin=b"").decode().strip()
            outcome = await buyer.ask(kubo.address, cid)
            assert isinstance(outcome, BlockSent)
            assert outcome.block == b""

    run(scenario())


def test_we_get_many_blocks_of_kubo_at_once(kubo: Kubo) -> None:
    async def scenario() -> None:
        async with selling() as buyer:
            root = kubo.add(some(40 * MIB), "--cid-version=1")
            cids = kubo.ipfs("refs", "-r", root).decode().split()
            outcomes = await asyncio.gather(*(buyer.ask(kubo.address, cid) for cid in cids))
            parts = [outcome.block for outcome in outcomes if isinstance(outcome, BlockSent)]
            assert len(parts) == len(cids) == 160
            assert b"".join(parts) == some(40 * MIB)

    run(scenario())
