"""Nodes that come back: by the peers they knew, and with the identity others know."""

from __future__ import annotations

import asyncio
import json
from contextlib import ExitStack
from pathlib import Path

from bench.local_network import DEADLINE_S, register_all
from bench.seed_restart import not_found, port_of, wait_connected, wait_saved
from fastmarket.cli.processes import ServerProcess
from fastmarket.storage.directory import KEY_FILE
from tests.conftest import Run
from tests.e2e.conftest import Servers


def at_port(port: str, home: Path) -> tuple[str, ...]:
    return ("-p", "0", "-l", f"/ip4/127.0.0.1/tcp/{port}", "--data-dir", str(home))


def restarted(servers: Servers, killed: ServerProcess, home: Path) -> ServerProcess:
    """With the same data directory and port; joins by nobody named."""
    again = servers.launch(*at_port(port_of(killed), home))
    again.wait_ready()
    assert again.ready["peer_id"] == killed.ready["peer_id"]
    return again


def test_the_network_heals_when_the_bootstrap_node_is_killed_and_back(
    servers: Servers, run: Run[None], tmp_path: Path
) -> None:
    home = tmp_path / "home"
    seed = servers.start("--data-dir", str(home))
    others = [servers.start(join=seed) for _ in range(4)]
    contents = [f"of {server.name}" for server in (seed, *others)]

    async def scenario() -> None:
        for server, content in zip((seed, *others), contents, strict=True):
            await register_all(server, [content])
        await wait_saved(home, len(others))
        seed.kill()
        again = restarted(servers, seed, home)
        assert again.ready["bootstrapped"] is True
        await wait_connected(again, others)
        newcomer = servers.start(join=again)
        await wait_connected(newcomer, [again, *others])
        assert await not_found([again, *others, newcomer], contents) == []

    run(scenario(), 4 * DEADLINE_S)


def test_with_nothing_but_its_identity_it_meets_all_once_one_of_them_asks_it(
    servers: Servers, run: Run[None], tmp_path: Path
) -> None:
    home, bare = tmp_path / "home", tmp_path / "bare"
    seed = servers.start("--data-dir", str(home))
    others = [servers.start(join=seed) for _ in range(4)]

    async def scenario() -> None:
        await register_all(others[0], ["content"])
        seed.kill()
        bare.mkdir(mode=0o700)
        (home / KEY_FILE).rename(bare / KEY_FILE)
        again = restarted(servers, seed, bare)
        assert again.ready["bootstrapped"] is None
        await not_found([others[1]], ["nothing anywhere"])  # any search comes by it
        await wait_connected(again, others)
        newcomer = servers.start(join=again)
        await wait_connected(newcomer, [again, *others])
        assert await not_found([again, *others, newcomer], ["content"]) == []

    run(scenario(), 4 * DEADLINE_S)


def test_a_node_comes_back_though_its_bootstrap_node_is_gone(
    servers: Servers, run: Run[None], tmp_path: Path
) -> None:
    seed = servers.start()
    others = [servers.start(join=seed) for _ in range(2)]
    home = tmp_path / "home"
    node = servers.start("--data-dir", str(home), join=seed)

    async def scenario() -> None:
        await register_all(others[0], ["content"])
        seed.kill()
        assert await asyncio.to_thread(node.terminate) == 0
        saved = json.loads((home / "peers.json").read_text("utf-8"))
        wanted = {server.ready["peer_id"] for server in (seed, *others)}
        assert {peer["id"] for peer in saved["peers"]} == wanted
        again = servers.start("--data-dir", str(home), join=seed)
        assert again.ready["bootstrapped"] is True
        await wait_connected(again, others)
        assert await not_found([again], ["content"]) == []
        assert "1 of 1 bootstrap peer did not answer" in again.log()

    run(scenario(), 4 * DEADLINE_S)


def test_a_damaged_file_of_peers_is_named_and_the_node_starts(
    servers: Servers, run: Run[None], tmp_path: Path
) -> None:
    seed = servers.start()
    home = tmp_path / "home"
    node = servers.start("--data-dir", str(home), join=seed)
    assert node.terminate() == 0
    file = home / "peers.json"
    file.write_bytes(file.read_bytes()[:-40])
    again = servers.start("--data-dir", str(home), join=seed)
    assert again.ready["bootstrapped"] is True
    assert str(file) in again.log()
    assert (home / "peers.json.damaged").exists()
    assert again.terminate() == 0
    assert json.loads(file.read_text("utf-8"))["peers"]


def test_a_node_whose_former_peers_are_gone_starts_alone(servers: Servers, tmp_path: Path) -> None:
    home = tmp_path / "home"
    with ExitStack() as stack:
        seed = stack.enter_context(servers.start())
        node = servers.start("--data-dir", str(home), join=seed)
        assert node.terminate() == 0
    again = servers.start("--data-dir", str(home))
    assert again.ready["bootstrapped"] is False
    assert "1 peer of an earlier run did not answer; serving alone, will retry" in again.log()
    assert "bootstrap peer" not in again.log(), "it never had any"
    assert "WARNING" not in again.log()
