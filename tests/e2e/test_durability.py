"""What a server acknowledged is there after SIGKILL; a full disk costs registrations, not the node."""

from __future__ import annotations

import asyncio
import os
import random
import resource
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, aclosing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from fastmarket.cli.processes import ServerProcess
from fastmarket.errors import NetworkFault, QuorumFailed
from fastmarket.market.grpc_client import HolderSearch, Listing, MarketClient
from fastmarket.offers.model.metadata import FileMetadata
from fastmarket.pb import market_pb2, market_pb2_grpc
from tests.conftest import Run

pytestmark = pytest.mark.e2e
ROUNDS = int(os.environ.get("FASTMARKET_CHAOS_ROUNDS", "5"))
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


class Ledger:
    """What a server acknowledged, and what it was asked when it was killed: that may or may not have been."""

    def __init__(self) -> None:
        self.prices: dict[str, int] = {}
        self.withdrawn: set[str] = set()
        self.under_way: dict[str, set[int]] = {}  # 0: a withdrawal
        self.last = 0

    def check(self, content: str, found: list[int]) -> None:
        """What is found has to be what was acknowledged last, or one that was under way since."""
        maybe = self.under_way.pop(content, set())
        shown = found[0] if found else 0
        told = 0 if content in self.withdrawn else self.prices[content]
        assert shown == told or shown in maybe, f"{content}: {told} acknowledged, {shown} found, {maybe} open"
        self.note(content, shown)

    def note(self, content: str, price: int) -> None:
        if price:
            self.prices[content] = price
            self.withdrawn.discard(content)
        else:
            self.prices.pop(content, None)
            self.withdrawn.add(content)


async def one_round(running: ServerProcess, ledger: Ledger, chance: random.Random) -> None:
    """Checks what was acknowledged before, then registers and withdraws until the server is killed."""
    async with MarketClient(running.ready["grpc"]) as market:

        async def searches() -> AsyncIterator[HolderSearch]:
            for content in (*ledger.prices, *ledger.withdrawn):
                yield HolderSearch(content)

        async for result in market.find_many(searches()):
            assert not result.message
            ledger.check(result.search.content, [holder.price for holder in result.holders])
        assert not ledger.under_way, "every one of them was looked for"

        async def caller(number: int) -> None:
            while True:
                content = f"{number} {chance.randrange(50)}"
                ledger.last += 1
                price = 0 if content in ledger.prices and chance.random() < 0.3 else ledger.last
                ledger.under_way.setdefault(content, set()).add(price)
                try:
                    if price:
                        await market.register(content, replace(TERMS, price_per_mb=price), user_id=b"me")
                    else:
                        await market.withdraw(content, user_id=b"me")
                except NetworkFault:
                    # Never acknowledged: so it has to be looked for, too.
                    if content not in ledger.prices:
                        ledger.withdrawn.add(content)
                    return
                ledger.note(content, price)
                del ledger.under_way[content]

        callers = [asyncio.create_task(caller(number)) for number in range(CALLERS)]
        await asyncio.wait(callers, timeout=chance.uniform(0.01, 0.3))
        running.kill()
        done, _ = await asyncio.wait(callers, timeout=DEADLINE_S)
        for task in done:
            task.result()


def test_sigkill_at_any_moment_loses_nothing_acknowledged(run: Run[None], tmp_path: Path) -> None:
    """... and brings nothing back that was withdrawn. Each round restarts on what the one before left."""
    chance = random.Random(20)
    ledger = Ledger()
    for number in range(ROUNDS):
        with server(f"round-{number}", tmp_path) as running:
            running.wait_ready()
            run(one_round(running, ledger, chance))
            assert "Traceback" not in running.log()
    assert len(ledger.prices) > CALLERS
    assert ledger.withdrawn


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
        assert "restored 1 offer, 1 of them own" in third.log()


async def stored_by(*nodes: ServerProcess) -> None:
    """A registration returns at its quorum; the rest of the storers have it soon after."""
    for node in nodes:
        async with MarketClient(node.ready["grpc"]) as client:
            while not (await client.get_node()).offers:
                pass


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
            await at_holder.register("gone", TERMS, user_id=b"me")
            await stored_by(sleeper, awake, buyer)
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


def test_values_and_the_way_back_into_the_network_survive_a_restart(run: Run[None], tmp_path: Path) -> None:
    def node(name: str, *more: str) -> ServerProcess:
        place = tmp_path / name
        place.mkdir(exist_ok=True)
        return server(name, place, *more)

    async def scenario(stack: ExitStack) -> None:
        first = stack.enter_context(node("first"))
        first.wait_ready()
        second = stack.enter_context(node("second", "--bootstrap", first.address))
        second.wait_ready()
        async with MarketClient(second.ready["grpc"]) as client:
            assert (await client.put_record(b"ours", b"value")).acknowledged == 1
        async with MarketClient(first.ready["grpc"]) as client:
            await client.put_record(b"theirs", b"other value")
        assert second.terminate() == 0
        assert first.terminate() == 0
        again = stack.enter_context(node("second"))
        again.wait_ready()
        async with MarketClient(again.ready["grpc"]) as client:
            assert await client.get_record(b"ours") == b"value"
            assert await client.get_record(b"theirs") == b"other value"
        assert "Traceback" not in again.log()

    with ExitStack() as stack:
        run(scenario(stack))


def test_sigterm_under_load_lets_the_calls_in_flight_finish(run: Run[None], tmp_path: Path) -> None:
    acknowledged: list[str] = []

    def node(name: str, *more: str) -> ServerProcess:
        place = tmp_path / name
        place.mkdir(exist_ok=True)
        return server(name, place, *more)

    async def load(market: MarketClient, number: int) -> None:
        with suppress(NetworkFault):
            for step in range(100_000):
                acknowledged.append((await market.register(f"{number} {step}", TERMS, user_id=b"me")).cid)

    async def bulk(market: MarketClient) -> None:
        async def batches() -> AsyncIterator[list[Listing]]:
            for step in range(1000):
                yield [Listing(f"bulk {step} {number}", TERMS, b"me") for number in range(500)]

        with suppress(NetworkFault):
            async for outcomes in market.register_many(batches()):
                assert len(outcomes) == 500
                acknowledged.extend(outcome.cid for outcome in outcomes if not outcome.message)

    async def scenario(stack: ExitStack) -> None:
        serving = stack.enter_context(node("serving"))
        serving.wait_ready()
        others = [
            stack.enter_context(node(name, "--bootstrap", serving.address)) for name in ("awake", "asleep")
        ]
        for other in others:
            other.wait_ready()
        async with MarketClient(serving.ready["grpc"]) as market, AsyncExitStack() as watches:
            watch = await watches.enter_async_context(
                aclosing(market.watch_holders("anything", resume_s=0.0))
            )
            await anext(watch)
            loads = [asyncio.create_task(load(market, number)) for number in range(4)]
            loads.append(asyncio.create_task(bulk(market)))
            while len(acknowledged) < 600:  # noqa: ASYNC110 - no event tells of it
                await asyncio.sleep(0)
            others[1].process.send_signal(signal.SIGSTOP)
            # Of two storers one sleeps and is waited for: the call ends later, and by itself.
            slow = asyncio.create_task(market.register("slow", TERMS, user_id=b"me", timeout_s=1.0))
            await asyncio.sleep(0)  # now it is sent
            await market.get_node()  # ... and now it is with the server
            began = asyncio.get_running_loop().time()
            serving.process.send_signal(signal.SIGTERM)
            with suppress(QuorumFailed):
                await slow
            with pytest.raises(NetworkFault, match="the node is shutting down"):
                await anext(watch)
            assert await asyncio.to_thread(serving.wait, 5.0) == 0
            assert asyncio.get_running_loop().time() - began < 5.0
            for task in loads:
                await task
        log = serving.log()
        assert "Traceback" not in log, log
        with node("serving") as again:
            again.wait_ready()
            async with MarketClient(again.ready["grpc"]) as market:
                kept = {offer.content async for offer in market.list_offers()}
            assert not set(acknowledged) - kept

    with ExitStack() as stack:
        run(scenario(stack), 60.0)


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
