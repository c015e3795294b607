"""What becomes of the data directory under a running server, as its operator and its callers see it."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from fastmarket.cli.processes import ServerProcess
from fastmarket.errors import NetworkFault
from fastmarket.market.grpc_client import MarketClient
from fastmarket.offers.model.metadata import FileMetadata
from tests.e2e.conftest import Run, Servers
from tests.redis_cluster import eventually


def get(server: ServerProcess, page: str) -> tuple[int, str]:
    """Status and text of a page of the metrics port."""
    try:
        with urllib.request.urlopen(f"http://{server.ready['metrics']}{page}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def put_back(home: Path) -> None:
    """A backup, without stopping the node."""
    shutil.copyfile(home.with_name("saved"), home / "offers.db")


@pytest.mark.parametrize("lose", [shutil.rmtree, put_back])
def test_a_data_directory_that_goes_away_under_a_node(
    servers: Servers, run_client: Run, tmp_path: Path, lose: Callable[[Path], None]
) -> None:
    home = tmp_path / "home"
    server = servers.start("--data-dir", str(home), "--metrics-port", "0")
    assert "created identity " in server.log()
    sell = ("-p", server.port, "register", "--price", "1")
    with closing(sqlite3.connect(home / "offers.db")) as reader:
        reader.execute(f"VACUUM INTO '{home.with_name('saved')}'")
    assert run_client(*sell, "before").status == 0
    assert get(server, "/readyz") == (200, "ready\n")
    assert "fastmarket_storage_up 1.0" in get(server, "/metrics")[1]
    lose(home)
    eventually(lambda: get(server, "/readyz")[0] == 503)  # though nobody registers
    _, said = get(server, "/readyz")
    assert str(home) not in said, "which concerns nobody who may ask"
    assert "start it again" in said
    assert "fastmarket_storage_up 0.0" in get(server, "/metrics")[1]
    done = run_client(*sell, "after")
    assert done.status == 1
    assert "start it again" in done.err
    assert str(home) not in done.err
    assert f"(in {home})" in server.log()
    assert run_client("-p", server.port, "check", "before", "--json").json["holders"], (
        "lookups use the network only"
    )
    assert run_client("-p", server.port, "check", "after", "--json").json["holders"] == [], "nobody was told"
    assert server.log().count("registrations are refused: ") == 1
    assert server.terminate() == 0
    if lose is shutil.rmtree:
        assert not home.exists(), "nothing was made in its place"


def test_a_lost_key_is_told_at_the_next_start(servers: Servers, run_client: Run, tmp_path: Path) -> None:
    home = tmp_path / "home"
    first = servers.start("--data-dir", str(home))
    assert run_client("-p", first.port, "register", "a file", "--price", "1").status == 0
    assert first.terminate() == 0
    assert "signed with another key" not in servers.start("--data-dir", str(home)).log()
    servers.all[-1].terminate()
    (home / "identity.pem").unlink()
    again = servers.start("--data-dir", str(home))
    assert again.ready["peer_id"] != first.ready["peer_id"]
    assert "1 offer in" in again.log()
    assert "signed with another key than the one now in identity.pem" in again.log()


def test_who_holds_the_lock_is_named_and_nothing_needs_a_restart(
    servers: Servers, run_client: Run, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    server = servers.start("--data-dir", str(home), "--metrics-port", "0")
    with closing(sqlite3.connect(home / "offers.db", isolation_level=None)) as held:
        held.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        with pytest.raises(NetworkFault, match="the database is locked by another program"):
            asyncio.run(register(server, "meanwhile", 3.0))
        assert time.monotonic() - began < 10
        assert "locked by another program" in get(server, "/readyz")[1]
        held.execute("ROLLBACK")
    asyncio.run(register(server, "after", 10.0))
    assert get(server, "/readyz") == (200, "ready\n")
    assert len(run_client("-p", server.port, "offers", "--json").json["offers"]) == 2


async def register(server: ServerProcess, content: str, timeout_s: float) -> None:
    """By a caller who waits so long."""
    async with MarketClient(server.ready["grpc"]) as market:
        await market.register(content, FileMetadata("192.0.2.1", 80, 1), timeout_s=timeout_s)
