"""The Delegated Routing V1 API of real servers, as the clients of Helia (npm) and of Kubo (boxo) see it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest

from fastmarket.cli.processes import ServerProcess
from fastmarket.formats.cid import new_cidv0
from fastmarket.formats.identity import Identity
from fastmarket.pb import market_pb2

HERE = Path(__file__).parent
BUILD_DEADLINE_S = 300.0  # npm fetches some fifty packages
COMMAND_DEADLINE_S = 30.0
CALL_DEADLINE_S = 10.0
FREE_PORTS = ("-p", "0", "-l", "/ip4/127.0.0.1/tcp/0", "--http-port", "0", "--ephemeral")
SEED = bytes(range(32))  # of the key of a name
CONTENT = str(new_cidv0(b"asked for over HTTP"))


@pytest.fixture(scope="session", autouse=True)
def built() -> None:
    """What the lock file names, in node_modules."""
    if shutil.which("npm") is None:
        pytest.skip("no npm here, so no client from it")
    done = subprocess.run(
        ["npm", "ci", "--no-audit", "--no-fund"],
        cwd=HERE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=BUILD_DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServerProcess, ServerProcess]]:
    """Two servers: an offer was registered at the first, the second is asked over HTTP."""
    directory = tmp_path_factory.mktemp("servers")
    with ExitStack() as stack:
        holder = stack.enter_context(ServerProcess("holder", FREE_PORTS, directory))
        holder.wait_ready()
        asked = stack.enter_context(ServerProcess("asked", (*FREE_PORTS, "-b", holder.address), directory))
        asked.wait_ready()
        user = market_pb2.User(id=b"u", name="bob", ip="192.0.2.7", port=4000, price=5)
        with grpc.insecure_channel(holder.ready["grpc"]) as channel:
            register = channel.unary_unary("/market.Market/RegisterFile")
            request = market_pb2.RegisterFileRequest(user=user, fileHash=CONTENT)
            register(request.SerializeToString(), timeout=CALL_DEADLINE_S)
        yield holder, asked
        assert "Traceback" not in asked.log(), asked.log()


def node(server: ServerProcess, *words: str) -> list[str]:
    """The lines that the client of Helia printed."""
    return printed(["node", "client.mjs", f"http://{server.ready['http']}", *words], HERE)


def printed(command: list[str], where: Path) -> list[str]:
    done = subprocess.run(
        command, cwd=where, capture_output=True, text=True, timeout=COMMAND_DEADLINE_S, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def asked_for(server: ServerProcess, *words: str) -> list[dict[str, Any]]:
    """The records that the client of Helia was given."""
    return [json.loads(line) for line in node(server, *words)]


@pytest.fixture(scope="module")
def boxo(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[str]]:
    """Runs the client of Kubo; the lines it printed."""
    if shutil.which("go") is None:
        pytest.skip("no Go here, so no client of boxo")
    program = tmp_path_factory.mktemp("boxo") / "client"
    done = subprocess.run(
        ["go", "build", "-o", str(program), "."],
        cwd=HERE / "boxo",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=BUILD_DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout

    def run(server: ServerProcess, *words: str) -> list[str]:
        return printed([str(program), f"http://{server.ready['http']}", *words], HERE)

    return run


def test_helia_is_told_of_offers_when_it_asks_for_them(network: tuple[ServerProcess, ServerProcess]) -> None:
    holder, asked = network
    for filters in ([], ["unknown,transport-bitswap,transport-ipfs-gateway-http"]):
        assert asked_for(asked, "providers", CONTENT, *filters) == []
    (record,) = asked_for(asked, "providers", CONTENT, "fastmarket-offer")
    assert record["id"] == holder.ready["peer_id"]
    assert record["protocols"] == ["fastmarket-offer"]
    assert [f"{addr}/p2p/{record['id']}" for addr in record["addrs"]] == [holder.address]


def test_nobody_provides_it(network: tuple[ServerProcess, ServerProcess]) -> None:
    assert asked_for(network[1], "providers", str(new_cidv0(b"nobody has it"))) == []


def test_a_peer_is_found_by_its_id(network: tuple[ServerProcess, ServerProcess]) -> None:
    holder, asked = network
    (record,) = asked_for(asked, "peers", holder.ready["peer_id"])
    assert record["id"] == holder.ready["peer_id"]
    assert record["addrs"]


def test_the_closest_peers(network: tuple[ServerProcess, ServerProcess]) -> None:
    holder, asked = network
    assert [record["id"] for record in asked_for(asked, "closest", CONTENT)] == [holder.ready["peer_id"]]


def test_kubo_is_told_of_peers_and_not_of_offers(
    network: tuple[ServerProcess, ServerProcess], boxo: Callable[..., list[str]]
) -> None:
    holder, asked = network
    assert boxo(asked, "providers", CONTENT) == []
    (line,) = boxo(asked, "peers", holder.ready["peer_id"])
    record = json.loads(line)
    assert record["id"] == holder.ready["peer_id"]
    assert record["addrs"]
    (line,) = boxo(asked, "closest", CONTENT)
    assert json.loads(line)["id"] == holder.ready["peer_id"]


def test_a_name_that_kubo_publishes_is_found_by_way_of_another_server(
    network: tuple[ServerProcess, ServerProcess], boxo: Callable[..., list[str]]
) -> None:
    """... by Helia as well, which puts the same record in turn."""
    holder, asked = network
    where, later = f"/ipfs/{CONTENT}", f"/ipfs/{new_cidv0(b'later')}"
    (name,) = boxo(asked, "publish", SEED.hex(), where, "1")
    assert name.startswith("k51")
    assert boxo(holder, "resolve", name) == [where]
    boxo(holder, "publish", SEED.hex(), later, "2")
    assert boxo(asked, "resolve", name) == [later]
    peer_id = str(Identity.from_seed(SEED).peer_id)
    (record,) = node(holder, "resolve", peer_id)
    node(asked, "publish", peer_id, record)
    assert node(asked, "resolve", peer_id) == [record]
