"""Servers behind one name as an operator runs them: processes, one of which is killed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.conftest import Run, Servers
from tests.redis_cluster import PROGRAM, EngineCluster, engine_cluster, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(PROGRAM is None, reason="no redis-server or valkey-server")]
SELL = (
    "--price",
    "3",
    "--username",
    "Ann",
    "--id",
    "ann",
    "--client-ip",
    "192.0.2.1",
    "--client-port",
    "9001",
)
FILE = "ab" * 32


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineCluster]:
    with engine_cluster(tmp_path_factory.mktemp("engine"), primaries=1) as engine:
        yield engine


def test_a_server_that_was_killed_is_answered_for(
    servers: Servers, run_client: Run, engine: EngineCluster
) -> None:
    first, second = (servers.start("--store", engine.url) for _ in range(2))
    assert first.ready["store"] == engine.url
    assert run_client("-p", first.port, "register", FILE, *SELL).status == 0
    first.kill()
    found = run_client("-p", second.port, "check", FILE)
    assert "Ann" in found.out
    assert "192.0.2.1:" in found.out
    assert run_client("-p", second.port, "register", FILE, *SELL, "--price", "2").status == 0
    found = run_client("-p", second.port, "check", FILE)
    assert found.out.count("Ann") == 1, "one offer, with the new price"
    assert second.terminate() == 0


def test_a_password_is_shown_nowhere(servers: Servers) -> None:
    with_secret = "redis://someone:geheim@127.0.0.1:1"
    server = servers.launch(
        "-p", "0", "-l", "/ip4/127.0.0.1/tcp/0", "--ephemeral", env={"FASTMARKET_STORE": with_secret}
    )
    assert server.wait_ready()["store"] == "redis://someone:***@127.0.0.1:1"
    eventually(lambda: "the shared store does not answer" in server.log())
    assert server.terminate() == 0
    assert "geheim" not in server.log()
