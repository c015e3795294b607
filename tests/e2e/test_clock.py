"""The system's clock a day ahead and a day behind, under a running node and at its start (libfaketime)."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from fastmarket.cli.processes import ServerProcess
from fastmarket.errors import QuorumFailed
from fastmarket.market.grpc_client import MarketClient
from fastmarket.offers.model.metadata import FileMetadata
from tests.conftest import Run

LIBRARIES = [path for path in Path("/usr/lib").glob("*/faketime/libfaketime.so.1") if path.exists()]
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(
        sys.platform != "linux" or not LIBRARIES or shutil.which("faketime") is None,
        reason="needs Debian's package faketime",
    ),
]
TERMS = FileMetadata("192.0.2.1", 4000, 1)
RIGHT, AHEAD, BEHIND = "+0", "+1d", "-1d"
Start = Callable[..., ServerProcess]


class Clock:
    """The clock of one node, moved by what stands in a file."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "clock"
        self.step(RIGHT)

    def step(self, offset: str) -> None:
        aside = self._file.with_suffix(".new")
        aside.write_text(offset)
        os.replace(aside, self._file)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "LD_PRELOAD": str(LIBRARIES[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",  # as a step of a real clock
            "DONT_FAKE_MONOTONIC": "1",
        }


def starter(stack: ExitStack, directory: Path, clock: Clock) -> Start:
    """Starts the holder, by that clock and on its data, or others by the right one."""

    def start(name: str, *more: str) -> ServerProcess:
        place = directory / name
        place.mkdir(exist_ok=True)
        arguments = ("-p", "0", "-l", "/ip4/127.0.0.1/tcp/0", "--data-dir", str(place / "data"), *more)
        env = clock.environment if name == "holder" else None
        started = stack.enter_context(ServerProcess(name, arguments, place, env))
        started.wait_ready()
        return started

    return start


async def offer(at: ServerProcess, price: int) -> None:
    async with MarketClient(at.ready["grpc"]) as client:
        await client.register("file", replace(TERMS, price_per_mb=price), user_id=b"me")


async def seen(at: ServerProcess) -> list[int]:
    async with MarketClient(at.ready["grpc"]) as client:
        return [holder.price for holder in await client.find_holders("file")]


def test_a_step_under_a_running_node_changes_nothing(run: Run[None], tmp_path: Path) -> None:
    clock = Clock(tmp_path)

    async def scenario(start: Start) -> None:
        other = start("other")
        holder = start("holder", "--bootstrap", other.address)
        await offer(holder, 1)
        for price, offset in ((2, AHEAD), (3, BEHIND), (4, RIGHT)):
            clock.step(offset)
            assert await seen(other) == await seen(holder) == [price - 1]
            await offer(holder, price)
            assert await seen(other) == await seen(holder) == [price]
        async with MarketClient(holder.ready["grpc"]) as client:
            clock.step(AHEAD)
            await client.withdraw("file", user_id=b"me")
            clock.step(BEHIND)
        assert await seen(other) == await seen(holder) == []
        assert holder.terminate() == 0

    with ExitStack() as stack:
        run(scenario(starter(stack, tmp_path, clock)))


def test_a_node_that_started_with_a_wrong_clock_recovers_with_the_right_one(
    run: Run[None], tmp_path: Path
) -> None:
    clock = Clock(tmp_path)

    async def scenario(start: Start) -> None:
        other = start("other")
        join = ("--bootstrap", other.address)
        holder = start("holder", *join)
        await offer(holder, 1)
        holder.kill()

        clock.step(AHEAD)
        holder = start("holder", *join)
        with pytest.raises(QuorumFailed):  # nobody takes what is signed tomorrow
            await offer(holder, 2)
        assert await seen(other) == [1]
        holder.kill()

        clock.step(RIGHT)
        holder = start("holder", *join)
        await offer(holder, 3)  # a later version than the one of tomorrow, and that of today
        assert await seen(other) == await seen(holder) == [3]
        holder.kill()

        clock.step(BEHIND)
        holder = start("holder", *join)
        await offer(holder, 4)
        assert await seen(other) == await seen(holder) == [4]
        async with MarketClient(holder.ready["grpc"]) as client:
            await client.withdraw("file", user_id=b"me")
        assert await seen(other) == await seen(holder) == []
        holder.kill()

        for offset in (AHEAD, RIGHT):
            clock.step(offset)
            holder = start("holder", *join)
            assert await seen(other) == await seen(holder) == []
            holder.kill()

    with ExitStack() as stack:
        run(scenario(starter(stack, tmp_path, clock)), 60.0)
