"""Blocks between Helia and a node of ours over Bitswap."""

from __future__ import annotations

import asyncio
import hashlib
from base64 import b64encode
from collections.abc import Coroutine
from typing import Any

import pytest

from fastmarket.exchange.bitswap.client import BlockAbsent, BlockSent
from fastmarket.formats.cid import Cid, Codec
from fastmarket.formats.unixfs.profile import UNIXFS_V0_2015, UNIXFS_V1_2025, CidProfile
from interop.helia.conftest import helia
from interop.kubo.seller import JOB_S, selling

TEST_S = 120.0
MIB = 1 << 20
POLL_S = 0.05
ABSENT = str(Cid(1, Codec.RAW, b"\x12\x20" + bytes(32)))


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scenario, TEST_S))


def some(size: int) -> bytes:
    return hashlib.shake_128(b"%d" % size).digest(size)


@pytest.mark.parametrize("profile", [UNIXFS_V0_2015, UNIXFS_V1_2025], ids=lambda profile: profile.name)
@pytest.mark.parametrize("size", [1, 1000, 5 * MIB + 1, 30 * MIB])
def test_helia_gets_a_file_of_a_node_that_it_is_connected_to(size: int, profile: CidProfile) -> None:
    async def scenario() -> None:
        async with selling() as seller, helia() as buyer:
            cid = seller.goods.put_file(some(size), profile)
            await buyer.call("connect", addr=seller.address)
            assert await buyer.cat(cid) == some(size)

    run(scenario())


def test_helia_finds_a_seller_by_its_provider_record() -> None:
    async def scenario() -> None:
        async with selling() as hub, selling() as seller, helia() as buyer:
            await seller.join(hub.address)
            cid = seller.goods.put_file(some(3 * MIB))
            await seller.node.provide(cid.multihash, deadline_s=JOB_S)
            await buyer.call("connect", addr=hub.address)
            assert await buyer.cat(cid) == some(3 * MIB)

    run(scenario())


def test_a_stream_of_ours_that_was_silent_for_too_long_is_no_trouble() -> None:
    async def scenario() -> None:
        async with selling() as seller, helia() as buyer:
            first, second = (seller.goods.put_file(some(size)) for size in (1000, 2000))
            await buyer.call("connect", addr=seller.address)
            assert await buyer.cat(first) == some(1000)
            streams = seller.node.host.streams
            while any(streams._streams.values()):  # noqa: ASYNC110 - there is no event for the last one's end
                await asyncio.sleep(POLL_S)
            assert await buyer.cat(second) == some(2000)

    run(scenario())


def test_we_get_blocks_of_helia() -> None:
    async def scenario() -> None:
        async with selling() as buyer, helia() as seller:
            for size in (1, 1000, 1025, MIB):
                cid = (await seller.call("add", data=b64encode(some(size)).decode()))["cid"]
                outcome = await buyer.ask(seller.address, cid)
                assert isinstance(outcome, BlockSent)
                assert outcome.block == some(size)
            assert isinstance(await buyer.ask(seller.address, ABSENT), BlockAbsent)

    run(scenario())
