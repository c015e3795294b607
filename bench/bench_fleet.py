"""Servers behind one name: 1, 2 and 4 of them on one Redis Cluster of three nodes, all on loopback.

    python bench/bench_fleet.py [--seconds 8] [--servers 1,2,4]

Not part of `make bench`: it starts processes, and wants a machine with nothing else to do. On few cores
callers and the engine take their share of them, so beside the calls a second stands what a call costs the
servers: with a core for each, their number is what multiplies.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import grpc.aio

from fastmarket.cli.processes import ServerProcess
from fastmarket.pb import market_pb2, market_pb2_grpc
from tests.redis_cluster import EngineCluster, engine_cluster

CONTENTS = 2000  # files that are looked for; each has one holder
CALLERS = 2  # processes
AT_ONCE = 32  # calls of each of them
TICKS = os.sysconf("SC_CLK_TCK")
KINDS = ("look again", "look anew", "register")


def request_of(kind: str, number: int) -> tuple[str, Any]:
    """Method and message of one call. `look anew`: a content that nobody has read for long."""
    if kind == "register":
        user = market_pb2.User(id=b"me", name="Ann", ip="192.0.2.1", port=4000, price=number % 1000)
        return "RegisterFile", market_pb2.RegisterFileRequest(user=user, fileHash=f"new {number}")
    name = f"file {number % 100}" if kind == "look again" else f"file {number % CONTENTS}"
    return "CheckHolders", market_pb2.CheckHoldersRequest(fileHash=name)


def call_for(kind: str, addresses: list[str], seconds: float, seed: int) -> tuple[int, list[float]]:
    """One caller process: calls that succeeded, and a sample of their seconds."""
    return asyncio.run(_calls(kind, addresses, seconds, random.Random(seed)))


async def _calls(
    kind: str, addresses: list[str], seconds: float, rng: random.Random
) -> tuple[int, list[float]]:
    channels = [grpc.aio.insecure_channel(address) for address in addresses]
    stubs: list[Any] = [market_pb2_grpc.MarketStub(channel) for channel in channels]  # type: ignore[no-untyped-call]
    end = time.perf_counter() + seconds
    took: list[float] = []

    async def one(stub: Any) -> None:
        while (begun := time.perf_counter()) < end:
            method, message = request_of(kind, rng.randrange(10**9))
            await getattr(stub, method)(message, timeout=10)
            took.append(time.perf_counter() - begun)

    await asyncio.gather(*(one(stubs[place % len(stubs)]) for place in range(AT_ONCE)))
    for channel in channels:
        await channel.close()
    return len(took), rng.sample(took, min(len(took), 2000))


def cpu_s(pid: int) -> float:
    """Seconds of CPU a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


async def fill(address: str) -> None:
    """A holder for every content."""
    async with grpc.aio.insecure_channel(address) as channel:
        stub: Any = market_pb2_grpc.MarketStub(channel)  # type: ignore[no-untyped-call]
        for begin in range(0, CONTENTS, AT_ONCE):
            user = market_pb2.User(id=b"me", name="Ann", ip="192.0.2.1", port=4000, price=3)
            requests = (
                market_pb2.RegisterFileRequest(user=user, fileHash=f"file {number}")
                for number in range(begin, min(begin + AT_ONCE, CONTENTS))
            )
            await asyncio.gather(*(stub.RegisterFile(request) for request in requests))


def measure(engine: EngineCluster, count: int, seconds: float, pool: ProcessPoolExecutor) -> None:
    """Prints a line for each kind of call."""
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        servers: list[ServerProcess] = []
        for place in range(count):
            joins = ("-b", servers[0].address) if servers else ()
            words = ("-p", "0", "-l", "/ip4/127.0.0.1/tcp/0", "--ephemeral", "--store", engine.url, *joins)
            servers.append(stack.enter_context(ServerProcess(f"server-{place}", words, Path(directory))))
            servers[-1].wait_ready()
        addresses = [str(server.ready["grpc"]) for server in servers]
        asyncio.run(fill(addresses[0]))
        for kind in KINDS:
            before = sum(cpu_s(server.process.pid) for server in servers)
            running = [pool.submit(call_for, kind, addresses, seconds, seed) for seed in range(CALLERS)]
            results = [each.result() for each in running]
            spent = sum(cpu_s(server.process.pid) for server in servers) - before
            calls = sum(number for number, _ in results)
            took = sorted(second for _, sample in results for second in sample)
            line = {
                "servers": count,
                "kind": kind,
                "calls_per_s": round(calls / seconds),
                "server_cpu_us_per_call": round(spent / calls * 1e6),
                "p50_ms": round(took[len(took) // 2] * 1e3, 1),
                "p99_ms": round(took[len(took) * 99 // 100] * 1e3, 1),
            }
            print(json.dumps(line), flush=True)


def main() -> None:
    """All of it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--servers", default="1,2,4")
    told = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as directory,
        engine_cluster(Path(directory)) as engine,
        ProcessPoolExecutor(CALLERS, mp_context=get_context("spawn")) as pool,
    ):
        for count in map(int, told.servers.split(",")):
            for node in engine.nodes:
                node.ask("FLUSHALL")
            measure(engine, count, told.seconds, pool)


if __name__ == "__main__":
    main()
