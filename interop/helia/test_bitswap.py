"""Blocks between Helia and a node of ours over Bitswap."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import subprocess
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from fastmarket.exchange.bitswap.client import BlockAbsent, BlockSent
from fastmarket.formats.cid import Cid, Codec
from fastmarket.formats.unixfs.profile import UNIXFS_V0_2015, UNIXFS_V1_2025, CidProfile
from interop.kubo.seller import JOB_S, selling

HERE = Path(__file__).parent
NODE = (
    HERE / "node_modules" / "node" / "bin" / "node"
)  # from npm: Helia needs a newer one than many machines have
INSTALLED = HERE / "node_modules" / ".installed"
BUILD_DEADLINE_S = 600.0  # half a GiB of packages
MAX_LINE_BYTES = 64 << 20
TEST_S = 120.0
MIB = 1 << 20
POLL_S = 0.05
ABSENT = str(Cid(1, Codec.RAW, b"\x12\x20" + bytes(32)))


@pytest.fixture(scope="session", autouse=True)
def built() -> None:
    """What the lock file names, in node_modules."""
    if shutil.which("npm") is None:
        pytest.skip("no npm here, so no Helia from it")
    wanted = hashlib.sha256((HERE / "package-lock.json").read_bytes()).hexdigest()
    if INSTALLED.is_file() and INSTALLED.read_text() == wanted:
        return
    done = subprocess.run(
        ["npm", "ci", "--no-audit", "--no-fund"],
        cwd=HERE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=BUILD_DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    INSTALLED.write_text(wanted)


class Helia:
    """A running node, told what to do as node.mjs describes."""

    def __init__(self, process: asyncio.subprocess.Process, listen: list[str]) -> None:
        self._process = process
        self.address = listen[0]

    async def call(self, op: str, **arguments: str) -> dict[str, Any]:
        """What it answers."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"op": op, **arguments}).encode() + b"\n")
        answer: dict[str, Any] = json.loads(await self._process.stdout.readline())
        return answer

    async def cat(self, cid: object) -> bytes:
        """A file, fetched."""
        answer = await self.call("cat", cid=str(cid))
        assert "data" in answer, answer
        return b64decode(answer["data"])


@asynccontextmanager
async def helia() -> AsyncIterator[Helia]:
    """A fresh node."""
    process = await asyncio.create_subprocess_exec(
        NODE,
        "node.mjs",
        cwd=HERE,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=MAX_LINE_BYTES,
    )
    try:
        assert process.stdout is not None
        yield Helia(process, json.loads(await process.stdout.readline())["listen"])
    finally:
        process.kill()
        await process.wait()


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
