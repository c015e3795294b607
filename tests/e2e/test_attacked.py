"""A real server under all attacks of `bench.attacked` at once, a small part of each; and one short of
descriptors."""

from __future__ import annotations

import asyncio
import json
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from bench.attacked import Size, run
from bench.local_network import percentile
from fastmarket.cli.processes import environment, executable
from fastmarket.pb import market_pb2, market_pb2_grpc

LIMIT = "256MB"
MOST_MIB = 256e6 / (1 << 20)
MOST_TIMES = 30.0  # of the idle median: behind a flood that goes first it is a thousand times as much
DESCRIPTORS = 200
STRANGERS = 300  # on each port: more than the process may have open
DEADLINE_S = 60.0


@pytest.mark.skipif(sys.platform != "linux", reason="attackers come from several addresses of 127.0.0.0/8")
def test_all_attacks_at_once_leave_honest_callers_their_answers() -> None:
    idle, attacked, more = run(Size(0.05, 6.0, ("deaf", "callers", "silent")), ("--memory-limit", LIMIT))
    assert not idle.failures
    assert not attacked.failures
    assert attacked.peak_rss_mib <= MOST_MIB
    for kind in ("find", "health"):
        assert percentile(attacked.ms[kind], 0.5) <= MOST_TIMES * percentile(idle.ms[kind], 0.5)
    assert more["after: failed calls"] == 0
    assert more["tracebacks"] == 0
    assert more["exit status"] == 0


@contextmanager
def short_of_descriptors(directory: Path) -> Iterator[tuple[dict[str, Any], Path]]:
    """A server that may have few descriptors, and its log."""
    log = directory / "log"
    ports = ("-p", "0", "-l", "/ip4/127.0.0.1/tcp/0", "--http-port", "0", "--metrics-port", "0")
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [
                *(sys.executable, "-c"),
                "import os, resource, sys; most = int(sys.argv[1]);"
                "resource.setrlimit(resource.RLIMIT_NOFILE, (most, most));"
                "os.execv(sys.argv[2], sys.argv[2:])",
                *(str(DESCRIPTORS), *executable("fastmarket-server"), *ports),
                *("--content-port", "0", "--data-dir", str(directory / "data")),
            ],
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=environment(),
        )
    assert process.stdout is not None
    try:
        word, _, ready = process.stdout.readline().partition(b" ")
        assert word == b"ready", log.read_text()
        yield json.loads(ready), log
    finally:
        process.terminate()
        process.wait(DEADLINE_S)
        process.stdout.close()


def strangers(stack: ExitStack, port: int) -> None:
    """Connections from another address, each with the first byte of something."""
    for _ in range(STRANGERS):
        sock = stack.enter_context(socket.socket())
        sock.settimeout(DEADLINE_S)
        try:
            sock.bind(("127.9.0.1", 0))
            sock.connect(("127.0.0.1", port))
            sock.sendall(b"G")
        except ConnectionError:
            pass  # closed at once


@pytest.mark.skipif(sys.platform != "linux", reason="another address of 127.0.0.0/8, and its descriptors")
def test_strangers_cannot_take_the_descriptors_of_disk_and_operators(run: Any, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))

    async def operate(ready: dict[str, Any]) -> None:
        async with asyncio.timeout(DEADLINE_S), grpc.aio.insecure_channel(ready["grpc"]) as channel:
            stub = market_pb2_grpc.MarketStub(channel)  # type: ignore[no-untyped-call]
            user = market_pb2.User(id=b"u", name="Ann", ip="192.0.2.1", port=4000, price=1)
            offer = market_pb2.RegisterFileRequest(user=user, fileHash="kept")
            await stub.RegisterFile(offer, wait_for_ready=True)
            found = await stub.CheckHolders(market_pb2.CheckHoldersRequest(fileHash="kept"))
            assert [holder.price for holder in found.holders] == [1]
            host, _, port = ready["metrics"].rpartition(":")
            for path in (b"/healthz", b"/metrics"):
                reader, writer = await asyncio.open_connection(host, int(port))
                writer.write(b"GET %b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % path)
                assert b" 200 " in await reader.readline()
                writer.close()

    try:
        with short_of_descriptors(tmp_path) as (ready, log), ExitStack() as stack:
            listen = int(ready["listen"][0].split("/")[4])
            others = (ready["grpc"], ready["http"], ready["metrics"], ready["content"].rstrip("/"))
            for port in (listen, *(int(one.rpartition(":")[2]) for one in others)):
                strangers(stack, port)
            run(operate(ready), DEADLINE_S)
            files = len(list(Path(f"/proc/{ready['pid']}/fd").iterdir()))
            assert files < DESCRIPTORS
            assert "Too many open files" not in log.read_text()
            assert "Traceback" not in log.read_text()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
