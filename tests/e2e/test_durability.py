"""What a server acknowledged is there after SIGKILL; a full disk costs registrations, not the node."""

from __future__ import annotations

import asyncio
import os
import random
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from fastmarket.cli.processes import ServerProcess
from fastmarket.market.grpc_client import MarketClient
from fastmarket.offers.metadata import FileMetadata
from fastmarket.pb import market_pb2, market_pb2_grpc
from tests.conftest import Run

pytestmark = pytest.mark.e2e
ROUNDS = int(os.environ.get("FASTMARKET_CHAOS_ROUNDS", "8"))
CALLERS = 8
DEADLINE_S = 20.0
TERMS = FileMetadata("192.0.2.1", 4000, 5)


def server(name: str, directory: Path, *more: str) -> ServerProcess:
    arguments = ("-p", "0", "-l", "/ip4/127.0.0.1/tcp/0", "--data-dir", str(directory / "data"), *more)
    return ServerProcess(name, arguments, directory)


def user(price: int) -> market_pb2.User:
    return market_pb2.User(id=b"me", name="Ann", ip="192.0.2.1", port=4000, price=price)


def stub(channel: grpc.aio.Channel) -> Any:
    return market_pb2_grpc.MarketStub(channel)  # type: ignore[no-untyped-call]


async def prices(market: Any, content: str) -> list[int]:
    reply = await market.CheckHolders(market_pb2.CheckHoldersRequest(fileHash=content), timeout=DEADLINE_S)
    return [holder.price for holder in reply.holders]


async def register(market: Any, content: str, price: int) -> None:
    request = market_pb2.RegisterFileRequest(user=user(price), fileHash=content)
    await market.RegisterFile(request, timeout=DEADLINE_S)


async def one_round(running: ServerProcess, acknowledged: dict[str, int], chance: random.Random) -> None:
    """Checks what was acknowledged before, then registers until the server is killed in the midst of it."""
    async with grpc.aio.insecure_channel(running.ready["grpc"]) as channel:
        market = stub(channel)
        for content, price in acknowledged.items():
            found = await prices(market, content)
            assert found, f"{content} was acknowledged and is gone"
            assert found[0] >= price, f"{content} went back to an older price"
            acknowledged[content] = found[0]  # a change under way when it was killed may have made it

        async def caller(number: int) -> None:
            for step in range(10_000):
                content = f"{number} {chance.randrange(50)}"
                price = acknowledged.get(content, 0) + 1 + step
                try:
                    await register(market, content, price)
                except grpc.aio.AioRpcError:
                    return
                acknowledged[content] = price

        callers = [asyncio.create_task(caller(number)) for number in range(CALLERS)]
        await asyncio.wait(callers, timeout=chance.uniform(0.01, 0.3))
        running.kill()
        await asyncio.wait(callers, timeout=DEADLINE_S)


def test_sigkill_at_any_moment_loses_nothing_acknowledged(run: Run[None], tmp_path: Path) -> None:
    chance = random.Random(20)
    acknowledged: dict[str, int] = {}
    for number in range(ROUNDS):
        with server(f"round-{number}", tmp_path) as running:
            running.wait_ready()
            run(one_round(running, acknowledged, chance))
            assert "Traceback" not in running.log()
    assert len(acknowledged) > CALLERS


def test_a_second_node_names_the_first_and_the_offers_outlive_both(run: Run[None], tmp_path: Path) -> None:
    async def registered(address: str) -> None:
        async with grpc.aio.insecure_channel(address) as channel:
            await register(stub(channel), "kept", 7)

    async def checked(address: str) -> None:
        async with grpc.aio.insecure_channel(address) as channel:
            assert await prices(stub(channel), "kept") == [7]

    with server("first", tmp_path) as first:
        first.wait_ready()
        run(registered(first.ready["grpc"]))
        with server("second", tmp_path) as second:
            assert second.wait() != 0
            assert f"in use by another node (process {first.process.pid})" in second.log()
        assert first.terminate() == 0
    with server("third", tmp_path) as third:
        third.wait_ready()
        run(checked(third.ready["grpc"]))
        assert "1 offers kept, 1 of them ours" in third.log()


@pytest.mark.parametrize("nap", ["stopped", "killed"])
def test_a_storer_that_slept_through_a_withdrawal_cannot_bring_the_offer_back(
    run: Run[None], tmp_path: Path, nap: str
) -> None:
    """It shows its stale copy, out of memory or from its disk; another storer's tombstone overrules that."""

    def node(name: str, *more: str) -> ServerProcess:
        place = tmp_path / name
        place.mkdir(exist_ok=True)
        return server(name, place, *more)

    async def scenario(stack: ExitStack) -> None:
        holder = stack.enter_context(node("holder"))
        holder.wait_ready()
        joining = ("--bootstrap", holder.address)
        sleeper, awake, buyer = (
            stack.enter_context(node(n, *joining)) for n in ("sleeper", "awake", "buyer")
        )
        for one in (sleeper, awake, buyer):
            one.wait_ready()
        async with (
            MarketClient(holder.ready["grpc"]) as at_holder,
            MarketClient(buyer.ready["grpc"]) as at_buyer,
        ):
            done = await at_holder.register("gone", TERMS, user_id=b"me")
            assert done.acknowledged == done.asked == 3
            if nap == "stopped":
                sleeper.process.send_signal(signal.SIGSTOP)
            else:
                assert sleeper.terminate() == 0  # it writes the offers of others before it goes
            withdrawn = await at_holder.withdraw("gone", user_id=b"me")
            assert withdrawn.acknowledged >= withdrawn.wanted
            if nap == "stopped":
                sleeper.process.send_signal(signal.SIGCONT)
            else:
                sleeper = stack.enter_context(node("sleeper", "--bootstrap", buyer.address))
                sleeper.wait_ready()
            for _ in range(20):
                assert await at_buyer.find_holders("gone") == []
        assert "Traceback" not in "".join(one.log() for one in (holder, sleeper, awake, buyer))

    with ExitStack() as stack:
        run(scenario(stack))


@contextmanager
def full_disk(pid: int) -> Iterator[None]:
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


@pytest.mark.skipif(sys.platform != "linux", reason="prlimit(2) is Linux's")
def test_a_full_disk(run: Run[None], tmp_path: Path) -> None:
    async def main(running: ServerProcess) -> None:
        async with grpc.aio.insecure_channel(running.ready["grpc"]) as channel:
            market = stub(channel)
            await register(market, "before", 1)
            with full_disk(running.process.pid):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await register(market, "during", 2)
                assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
                assert "offers.db" in str(caught.value.details())
                assert await prices(market, "before") == [1], "reads go on"
            await register(market, "after", 3)

    async def after(running: ServerProcess) -> None:
        async with grpc.aio.insecure_channel(running.ready["grpc"]) as channel:
            assert await prices(stub(channel), "before") == [1]
            assert await prices(stub(channel), "after") == [3]

    # The log of the server is a file, too; it may not have grown by then.
    with server("full", tmp_path, "--log-level", "error") as running:
        running.wait_ready()
        run(main(running))
        running.kill()
    with server("later", tmp_path) as running:
        running.wait_ready()
        run(after(running))


def test_a_damaged_database_is_named_and_left_alone(tmp_path: Path) -> None:
    with server("first", tmp_path) as running:
        running.wait_ready()
        running.terminate()
    path = tmp_path / "data" / "offers.db"
    path.write_bytes(b"not a database" * 100)
    with server("second", tmp_path) as running:
        assert running.wait() == 1
        assert f"cannot read {path}" in running.log()
        assert "Traceback" not in running.log()
    assert path.read_bytes() == b"not a database" * 100
