"""A thousand connections that say nothing, on each port in turn: everything else goes on."""

from __future__ import annotations

import resource
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import httpx
import pytest

from fastmarket.cli.processes import ServerProcess
from tests.e2e.conftest import Run, Servers

CROWD = 1000
SOFT_LIMIT = 400  # what the server is started with: too low for the crowd
HALF = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
DEADLINE_S = 20.0


@pytest.fixture(autouse=True)
def many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 3 * CROWD:
        pytest.skip("this process may not open that many files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2 * CROWD), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def lower_soft_limit(server: ServerProcess) -> None:
    """While it starts: before it has looked."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (SOFT_LIMIT, hard))


@pytest.mark.skipif(sys.platform != "linux", reason="prlimit")
@pytest.mark.parametrize(
    ("port", "sent"),
    [("grpc", b""), ("http", b""), ("http", HALF), ("metrics", b""), ("metrics", HALF)],
    ids=["grpc", "http", "http-half", "metrics", "metrics-half"],
)
def test_a_crowd_of_idle_connections_keeps_nobody_out(
    servers: Servers, run_client: Run, port: str, sent: bytes
) -> None:
    server = servers.launch(
        *("-p", "0", "-l", "/ip4/127.0.0.1/tcp/0", "--ephemeral", "--http-port", "0", "--metrics-port", "0")
    )
    lower_soft_limit(server)
    server.wait_ready()
    host, _, number = server.ready[port].rpartition(":")
    with ExitStack() as crowd:
        for _ in range(CROWD):
            idle = crowd.enter_context(socket.create_connection((host, int(number)), timeout=DEADLINE_S))
            with suppress(OSError):  # it had to give way already
                idle.sendall(sent)
        http = httpx.Client(timeout=DEADLINE_S)
        for path in ("/healthz", "/readyz", "/metrics"):
            assert http.get(f"http://{server.ready['metrics']}{path}").status_code == 200
        assert http.get(f"http://{server.ready['http']}/").status_code == 200
        http.close()
        third = servers.start(join=server)
        assert third.ready["bootstrapped"] is True
        if port != "grpc":
            assert run_client("-p", server.port, "peers", "--json").json["peers"]
