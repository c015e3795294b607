"""The gRPC services of a real server beside an empty grpc.aio handler: `pytest bench/bench_market.py`.

The server is `fastmarket-server` as it is installed, alone, so that what it knows itself is all there is.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench import load
from bench.local_network import FREE_PORTS
from bench.processes import Served, cpu_s, rss_mb, served
from bench.ratio import Mark, report
from bench.served import EMPTY_STREAM, EMPTY_UNARY
from fastmarket.cli.processes import ServerProcess
from fastmarket.config import NodeConfig
from fastmarket.pb import market_pb2
from fastmarket.pb.fastmarket.v1 import market_pb2 as v1

TURNS = 3
ALIKE = 3
CALLS, AT_ONCE, CALL_TURNS = 400, 16, 24  # short turns: some of them fall between what others do
FILES, FILES_A_MESSAGE = 4_000, 1_000
NODES_ASKED = 20_000
KAD = NodeConfig().kad.protocol
DEADLINE_S = 60.0
FIND_BATCH = "/fastmarket.v1.Market/FindHoldersBatch"
EMPTY = "an empty grpc.aio handler"
CONTENTS = [f"content {number}" for number in range(100)]


@contextmanager
def market_server() -> Iterator[ServerProcess]:
    """Alone in its network."""
    with (
        tempfile.TemporaryDirectory() as directory,
        ServerProcess("alone", FREE_PORTS, Path(directory)) as server,
    ):
        server.wait_ready()
        yield server


def _listing(content: str, price: int) -> v1.RegisterFileRequest:
    return v1.RegisterFileRequest(content=content, user_id=b"u", ip="192.0.2.1", port=4000, price=price)


async def _register(target: str, contents: Sequence[str]) -> int:
    """Over one stream; the number of answers. The offers are kept whether or not a network has them."""

    async def messages() -> AsyncIterator[bytes]:
        for start in range(0, len(contents), FILES_A_MESSAGE):
            part = contents[start : start + FILES_A_MESSAGE]
            files = [_listing(content, price) for price, content in enumerate(part, 1)]
            yield v1.RegisterFilesRequest(files=files).SerializeToString()

    async with grpc.aio.insecure_channel(target) as channel:
        answers = channel.stream_stream("/fastmarket.v1.Market/RegisterFiles")(messages(), timeout=DEADLINE_S)
        return sum([len(v1.RegisterFilesResponse.FromString(raw).files) async for raw in answers])


async def _calls(target: str, pid: int, path: str, bodies: Sequence[bytes]) -> dict[str, float]:
    """Unary calls, `AT_ONCE` under way."""
    async with grpc.aio.insecure_channel(target) as channel:
        call = channel.unary_unary(path)
        await call(bodies[0])
        waiting, took = iter(bodies), []

        async def caller() -> None:
            for body in waiting:
                began = time.perf_counter()
                await call(body, timeout=DEADLINE_S)
                took.append(time.perf_counter() - began)

        before, began = cpu_s(pid), time.perf_counter()
        await asyncio.gather(*(caller() for _ in range(AT_ONCE)))
        elapsed, used = time.perf_counter() - began, cpu_s(pid) - before
    took.sort()
    return {
        "per_s": len(took) / elapsed,
        "server_cpu_us": used / len(took) * 1e6,
        "p50_ms": took[len(took) // 2] * 1e3,
        "p99_ms": took[len(took) * 99 // 100] * 1e3,
    }


async def _checked(target: str, bodies: Sequence[bytes]) -> None:
    """That every answer has its holder."""
    async with grpc.aio.insecure_channel(target) as channel:
        call = channel.unary_unary("/market.Market/CheckHolders")
        for body in dict.fromkeys(bodies):
            assert len(market_pb2.HoldersResponse.FromString(await call(body)).holders) == 1


async def _stream(target: str, pid: int, path: str, bodies: Sequence[bytes], items: int) -> dict[str, float]:
    """All messages over one stream, each answered by one."""

    async def messages() -> AsyncIterator[bytes]:
        for body in bodies:
            yield body

    async with grpc.aio.insecure_channel(target) as channel:
        before, began = cpu_s(pid), time.perf_counter()
        async for _ in channel.stream_stream(path)(messages(), timeout=DEADLINE_S):
            pass
        elapsed, used = time.perf_counter() - began, cpu_s(pid) - before
    return {"items_per_s": items / elapsed, "server_cpu_us": used / items * 1e6}


Run = Callable[[], Coroutine[Any, Any, dict[str, float]]]


def _in_turn(
    benchmark: BenchmarkFixture, ours: Run, ceiling: Run, turns: int = TURNS
) -> list[dict[str, float]]:
    """The best of each figure over the turns of either side."""
    found: list[tuple[dict[str, float], dict[str, float]]] = []

    async def turn() -> None:
        found.append((await ours(), await ceiling()))

    benchmark.pedantic(lambda: asyncio.run(turn()), rounds=turns)
    best = []
    for side in zip(*found, strict=True):
        pick = {name: (max if name.endswith("per_s") else min) for name in side[0]}
        best.append({name: round(choose(run[name] for run in side), 3) for name, choose in pick.items()})
    benchmark.extra_info |= {"ours": best[0], "empty": best[1]}
    return best


@pytest.mark.short
def test_check_holders_known_here(benchmark: BenchmarkFixture) -> None:
    """By the server's CPU; `rate_ratio` and `p99_ratio` are what a caller sees of it.

    Of three processes each in turn: how one happens to lie in memory is worth a tenth.
    """
    bodies = [market_pb2.CheckHoldersRequest(fileHash=content).SerializeToString() for content in CONTENTS]
    bodies *= CALLS // len(bodies)
    with ExitStack() as stack:
        servers = [stack.enter_context(market_server()) for _ in range(ALIKE)]
        empties = cycle([stack.enter_context(served("grpc")) for _ in range(ALIKE)])
        for server in servers:
            asyncio.run(_register(server.ready["grpc"], CONTENTS))
            asyncio.run(_checked(server.ready["grpc"], bodies))
        turns = cycle(servers)

        async def known() -> dict[str, float]:
            server = next(turns)
            path = "/market.Market/CheckHolders"
            return await _calls(server.ready["grpc"], server.process.pid, path, bodies)

        async def empty() -> dict[str, float]:
            server = next(empties)
            return await _calls(server.hello["grpc"], server.pid, EMPTY_UNARY, bodies)

        ours, ceiling = _in_turn(benchmark, known, empty, CALL_TURNS)
    benchmark.extra_info["rate_ratio"] = round(ours["per_s"] / ceiling["per_s"], 3)
    benchmark.extra_info["p99_ratio"] = round(ours["p99_ms"] / ceiling["p99_ms"], 3)
    report(benchmark, ours["server_cpu_us"], ceiling["server_cpu_us"], EMPTY, Mark(0.9, "of its rate"))


@pytest.mark.parametrize("fresh_s", ["0", "60"])
def test_check_holders_in_a_network(benchmark: BenchmarkFixture, fresh_s: str) -> None:
    """Of a node among eight, registered at another: searched each time, or told again (`--fresh`)."""
    bodies = [market_pb2.CheckHoldersRequest(fileHash=content).SerializeToString() for content in CONTENTS]
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        empty = stack.enter_context(served("grpc"))
        first = stack.enter_context(ServerProcess("first", FREE_PORTS, Path(directory)))
        first.wait_ready()
        join = (*FREE_PORTS, "-b", first.address)
        for number in range(6):
            stack.enter_context(ServerProcess(f"{number}", join, Path(directory))).wait_ready()
        asked = stack.enter_context(ServerProcess("asked", (*join, "--fresh", fresh_s), Path(directory)))
        asked.wait_ready()
        asyncio.run(_register(first.ready["grpc"], CONTENTS))
        asyncio.run(_checked(asked.ready["grpc"], bodies))
        path, pid = "/market.Market/CheckHolders", asked.process.pid
        ours, ceiling = _in_turn(
            benchmark,
            lambda: _calls(asked.ready["grpc"], pid, path, bodies * 3),
            lambda: _calls(empty.hello["grpc"], empty.pid, EMPTY_UNARY, bodies * 3),
        )
    report(benchmark, ours["server_cpu_us"], ceiling["server_cpu_us"], EMPTY)


def test_register_files(benchmark: BenchmarkFixture) -> None:
    """One stream, 1,000 files a message, registered anew at each turn (a higher price)."""
    turn = iter(range(1_000))

    def messages() -> list[bytes]:
        price = next(turn) + 1
        return [
            v1.RegisterFilesRequest(
                files=[_listing(f"file {start + number}", price) for number in range(FILES_A_MESSAGE)]
            ).SerializeToString()
            for start in range(0, FILES, FILES_A_MESSAGE)
        ]

    with market_server() as server, served("grpc") as empty:
        ours, ceiling = _in_turn(
            benchmark,
            lambda: _stream(
                server.ready["grpc"],
                server.process.pid,
                "/fastmarket.v1.Market/RegisterFiles",
                messages(),
                FILES,
            ),
            lambda: _stream(empty.hello["grpc"], empty.pid, EMPTY_STREAM, messages(), FILES),
        )
    report(benchmark, ours["server_cpu_us"], ceiling["server_cpu_us"], "an empty stream of as many bytes")


def test_find_holders(benchmark: BenchmarkFixture) -> None:
    """A stream for each content: its messages are the holders. One after the other over one channel."""
    bodies = [v1.FindHoldersRequest(content=content).SerializeToString() for content in CONTENTS] * 5

    async def ours(target: str, pid: int) -> dict[str, float]:
        async with grpc.aio.insecure_channel(target) as channel:
            call = channel.unary_stream("/fastmarket.v1.Market/FindHolders")
            before, began = cpu_s(pid), time.perf_counter()
            for body in bodies:
                async for _ in call(body, timeout=DEADLINE_S):
                    pass
            elapsed, used = time.perf_counter() - began, cpu_s(pid) - before
        return {"items_per_s": len(bodies) / elapsed, "server_cpu_us": used / len(bodies) * 1e6}

    async def ceiling(empty: Served) -> dict[str, float]:
        return await _calls(empty.hello["grpc"], empty.pid, EMPTY_UNARY, bodies)

    with market_server() as server, served("grpc") as empty:
        target, pid = server.ready["grpc"], server.process.pid
        asyncio.run(_register(target, CONTENTS))
        found = _in_turn(benchmark, lambda: ours(target, pid), lambda: ceiling(empty))
    report(benchmark, found[0]["server_cpu_us"], found[1]["server_cpu_us"], EMPTY)


def test_calls_beside_requests(benchmark: BenchmarkFixture) -> None:
    """gRPC and the DHT on the one loop of a server: CheckHolders and FIND_NODE. As much CPU as apart?"""
    bodies = [market_pb2.CheckHoldersRequest(fileHash=content).SerializeToString() for content in CONTENTS]
    bodies *= 2_000 // len(bodies)
    nodes = load.find_nodes()
    best: dict[str, dict[str, float]] = {}

    def keep(name: str, found: dict[str, float]) -> None:
        if found["server_cpu_us"] <= best.get(name, found)["server_cpu_us"]:
            best[name] = found

    with market_server() as server:
        target, pid = server.ready["grpc"], server.process.pid
        addr = next(one for one in server.ready["listen"] if "/127.0.0.1/" in one)
        asyncio.run(_register(target, CONTENTS))
        calls = partial(_calls, target, pid, "/market.Market/CheckHolders", bodies)
        requests = partial(load.requests, pid, addr, KAD, nodes, total=NODES_ASKED, outstanding=64)

        async def turn() -> None:
            keep("calls", await calls())
            keep("requests", (await requests()).document())
            before = cpu_s(pid)
            called, asked = await asyncio.gather(calls(), requests())
            both = {"server_cpu_us": (cpu_s(pid) - before) * 1e6}
            keep(
                "both",
                both
                | {"calls_per_s": called["per_s"], "calls_p99_ms": called["p99_ms"]}
                | {"requests_per_s": asked.per_s, "requests_p99_ms": asked.p99_ms},
            )

        benchmark.pedantic(lambda: asyncio.run(turn()), rounds=TURNS)
    apart = len(bodies) * best["calls"]["server_cpu_us"] + NODES_ASKED * best["requests"]["server_cpu_us"]
    benchmark.extra_info |= best
    report(benchmark, best["both"]["server_cpu_us"], apart, "the CPU of as many of both, apart")


def test_find_holders_batch(benchmark: BenchmarkFixture) -> None:
    """One stream, 1,000 contents a message, each asked for once a turn; the answers are read, too."""
    contents = [f"batch {number}" for number in range(FILES)]
    messages = [
        v1.FindHoldersBatchRequest(
            id=start,
            searches=[
                v1.FindHoldersRequest(content=content)
                for content in contents[start : start + FILES_A_MESSAGE]
            ],
        ).SerializeToString()
        for start in range(0, FILES, FILES_A_MESSAGE)
    ]

    async def check(target: str) -> None:
        async def requests() -> AsyncIterator[bytes]:
            for message in messages:
                yield message

        async with grpc.aio.insecure_channel(target) as channel:
            answers = channel.stream_stream(FIND_BATCH)(requests(), timeout=DEADLINE_S)
            found = [one for raw in [raw async for raw in answers] for one in _found(raw)]
        assert [len(one.holders) for one in found] == [1] * FILES

    with market_server() as server, served("grpc") as empty:
        target, pid = server.ready["grpc"], server.process.pid
        asyncio.run(_register(target, contents))
        asyncio.run(check(target))
        ours, ceiling = _in_turn(
            benchmark,
            lambda: _stream(target, pid, FIND_BATCH, messages, FILES),
            lambda: _stream(empty.hello["grpc"], empty.pid, EMPTY_STREAM, messages, FILES),
        )
    benchmark.extra_info |= {"mark_items_per_s": 50_000, "holds": ours["items_per_s"] >= 50_000}
    report(benchmark, ours["server_cpu_us"], ceiling["server_cpu_us"], "an empty stream of as many bytes")


def _found(raw: bytes) -> Sequence[v1.FoundHolders]:
    return v1.FindHoldersBatchResponse.FromString(raw).found


@pytest.mark.short
def test_memory_of_an_idle_node(benchmark: BenchmarkFixture) -> None:
    """With gRPC on; MB in place of microseconds. The ceiling: a process that has imported the libraries."""

    def measure() -> tuple[float, float]:
        with market_server() as server, served("imports") as imports:
            return rss_mb(server.process.pid), rss_mb(imports.pid)

    ours, ceiling = benchmark.pedantic(measure, rounds=1)
    report(benchmark, ours, ceiling, "MB of a process that has the same imports")
    benchmark.extra_info["limit_mb"] = 45


@pytest.mark.short
def test_memory_of_a_further_node(benchmark: BenchmarkFixture) -> None:
    """In one process, listening and idle; beside the first one and its process."""
    count = 50

    def measure() -> dict[str, float]:
        with served("nodes", "--count", str(count)) as nodes:
            return dict(nodes.hello)

    hello = benchmark.pedantic(measure, rounds=1)
    further = (hello["all_mb"] - hello["first_mb"]) / (count - 1)
    report(benchmark, further, 0.5, "MB, the mark itself", Mark(1.0, "at most 0.5 MB"))
