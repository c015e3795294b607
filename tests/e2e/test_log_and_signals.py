"""A log that nobody reads, a log of strangers' probes, and SIGHUP: real processes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, aclosing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from fastmarket.cli.processes import READY_DEADLINE_S, environment, executable
from fastmarket.errors import NodeFault
from fastmarket.market.grpc_client import MarketClient
from fastmarket.offers.model.metadata import FileMetadata
from fastmarket.web.media_types import IPNS_RECORD
from tests.certificates import Authority
from tests.e2e.conftest import LOOPBACK, Run, Servers
from tests.e2e.test_server import STOP_WITHIN_S, eventually

PROBES = (
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nwrong",
    b"\xff" * 64,
    b"",
)


@contextmanager
def unread(*arguments: str) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, Any]]]:
    """A server whose stderr is a pipe that nobody reads, filled to the last byte before it starts."""
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    try:
        while True:
            os.write(write_end, bytes(4096))
    except BlockingIOError:
        os.set_blocking(write_end, True)
    process = subprocess.Popen(
        [*executable("fastmarket-server"), *LOOPBACK, "--ephemeral", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=write_end,
        env=environment(),
    )
    os.close(write_end)
    late = threading.Timer(READY_DEADLINE_S, process.kill)
    late.start()
    try:
        assert process.stdout is not None
        yield process, json.loads(process.stdout.readline().removeprefix(b"ready "))
    finally:
        late.cancel()
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
        os.close(read_end)


def test_a_log_that_nobody_reads_stops_nothing(run_client: Run) -> None:
    with unread("--log-level", "debug", "--metrics-port", "0") as (process, ready):
        port = ready["grpc"].rpartition(":")[2]
        listening = int(ready["listen"][0].split("/")[4])

        for _ in range(50):  # each stranger is a line at level debug
            with socket.create_connection(("127.0.0.1", listening), 10) as stranger:
                stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
        text = httpx.get(f"http://{ready['metrics']}/metrics", timeout=10).text
        assert "fastmarket_log_lines_dropped_total 0.0" in text, "there is room for some"
        assert run_client("-p", port, "id").status == 0
        process.terminate()
        assert process.wait(STOP_WITHIN_S) == 0


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_every_line_of_a_json_log_is_json(servers: Servers, tmp_path: Path, tls: bool) -> None:
    options = ["--log-format", "json", "--http-port", "0", "--metrics-port", "0"]
    if tls:
        pair = Authority(tmp_path).issue("server")
        options += ["--tls-cert", str(pair.cert), "--tls-key", str(pair.key)]
    server = servers.start(*options)
    places = [server.ready[name] for name in ("grpc", "http", "metrics")]
    places.append("127.0.0.1:" + server.address.split("/")[4])
    before = len(server.log().splitlines())
    for place in places:
        host, _, port = place.rpartition(":")
        for sent in PROBES * 10:
            with socket.create_connection((host, int(port)), 10) as stranger:
                stranger.sendall(sent)
                stranger.shutdown(socket.SHUT_WR)
                stranger.settimeout(10)
                try:
                    while stranger.recv(1000):
                        pass
                except OSError:
                    continue
    assert server.terminate() == 0
    lines = server.log().splitlines()
    assert all(json.loads(line)["message"] for line in lines)
    assert len(lines) - before < len(PROBES), "not a line for each probe"


def test_hangup_reads_tokens_and_level_again(servers: Servers, tmp_path: Path) -> None:
    first, second = "a" * 20, "b" * 20
    tokens, toml = tmp_path / "tokens", tmp_path / "node.toml"
    tokens.touch(0o600)
    tokens.write_text(f"read {first}\n")
    toml.write_text('log-level = "info"\n')
    server = servers.start("--tokens", str(tokens), "--config", str(toml))

    async def get_node(token: str) -> None:
        async with MarketClient(f"localhost:{server.port}", token=token) as client:
            await client.get_node()

    def allowed(token: str) -> bool:
        try:
            asyncio.run(get_node(token))
        except NodeFault:  # UNAUTHENTICATED
            return False
        return True

    assert (allowed(first), allowed(second)) == (True, False)
    told = hang_up(server)
    tokens.write_text(f"read {second}\n")
    toml.write_text('log-level = "warning"\nmode = "client"\n')
    told("restart needed to apply mode")
    assert (allowed(first), allowed(second)) == (False, True)
    # Wrong files change nothing.
    tokens.write_text("nonsense\n")
    told("nothing changed: --tokens: ")
    tokens.write_text(f"read {first}\n")
    toml.write_text('log-level = "loud"\n')
    told(f"nothing changed: {toml}: log-level")
    assert (allowed(first), allowed(second)) == (False, True)
    assert server.log().count("reloaded tokens") == 0, "at level warning"
    assert server.terminate() == 0


def test_a_token_taken_back_is_good_for_nothing_more(servers: Servers, tmp_path: Path) -> None:
    """Neither for calls that go on, nor for writes over HTTP."""
    old, new, kept = "o" * 20, "n" * 20, "k" * 20
    tokens = tmp_path / "tokens"
    tokens.touch(0o600)
    tokens.write_text(f"write {old}\nread {kept}\n")
    server = servers.start("--tokens", str(tokens), "--http-port", "0")
    name = f"http://{server.ready['http']}/routing/v1/ipns/{server.ready['peer_id']}"

    def status(token: str) -> int:
        sent = {"Authorization": f"Bearer {token}", "Content-Type": IPNS_RECORD}
        return httpx.put(name, content=b"no record", headers=sent, timeout=10).status_code

    async def watched() -> None:
        async with AsyncExitStack() as stack:
            watches = []
            for token in (old, kept):
                client = await stack.enter_async_context(
                    MarketClient(f"localhost:{server.port}", token=token)
                )
                watch = await stack.enter_async_context(aclosing(client.watch_holders("a", interval_s=1)))
                await anext(watch)
                watches.append(asyncio.ensure_future(anext(watch)))
            assert (status(old), status(new)) == (400, 401)
            tokens.write_text(f"write {new}\nread {kept}\n")
            hang_up(server)("SIGHUP: ")
            assert (status(old), status(new)) == (401, 400)
            with pytest.raises(NodeFault, match="revoked"):
                await asyncio.wait_for(watches[0], 10)
            async with MarketClient(f"localhost:{server.port}", token=new) as client:
                await client.register("a", FileMetadata("192.0.2.1", 4000, 1))
            assert (await asyncio.wait_for(watches[1], 10)).present, "the other one goes on"

    asyncio.run(watched())
    assert server.terminate() == 0


def hang_up(server: Any) -> Callable[[str], None]:
    def told(expected: str) -> None:
        server.process.send_signal(signal.SIGHUP)
        eventually(20, lambda: expected in server.log())

    return told


def test_hangup_while_it_starts_ends_nothing(servers: Servers) -> None:
    server = servers.launch(*LOOPBACK, "--ephemeral")
    eventually(20, lambda: _survives_hangup(server.process.pid))
    server.process.send_signal(signal.SIGHUP)
    assert server.wait_ready()
    server.process.send_signal(signal.SIGHUP)
    assert server.terminate() == 0


def _survives_hangup(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    masks = [int(line.split()[1], 16) for line in status.splitlines() if line[:6] in ("SigIgn", "SigCgt")]
    return any(mask & 1 for mask in masks)


def test_a_fault_at_the_start_reaches_stderr_behind_the_log(servers: Servers) -> None:
    server = servers.launch(*LOOPBACK, "--ephemeral", "--log-level", "debug", "-l", "/ip4/203.0.113.1/tcp/0")
    assert server.wait() == 2
    assert server.log().splitlines()[-1].startswith("fastmarket-server: --listen: ")


def test_a_bug_at_the_start_reaches_stderr_whole(tmp_path: Path) -> None:
    code = (
        "import sys; from fastmarket.cli import logs; import logging\n"
        "logs.set_up('info', sys.argv[1]); logging.getLogger('fastmarket').info('first')\n"
        "raise ZeroDivisionError('the bug')"
    )
    for form in ("text", "json"):
        done = subprocess.run([sys.executable, "-c", code, form], capture_output=True, text=True, check=False)
        lines = done.stderr.splitlines()
        assert "first" in lines[0]
        assert "Traceback" in lines[1]
        assert "the bug" in lines[-1]
        assert form == "text" or all(json.loads(line) for line in lines)
