"""The Delegated Routing V1 API of a real server, as a client from npm sees it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest

from fastmarket.cli.processes import ServerProcess
from fastmarket.formats.cid import new_cidv0
from fastmarket.pb import market_pb2

HERE = Path(__file__).parent
BUILD_DEADLINE_S = 300.0  # npm fetches some fifty packages
COMMAND_DEADLINE_S = 30.0
CALL_DEADLINE_S = 10.0
FREE_PORTS = ("-p", "0", "-l", "/ip4/127.0.0.1/tcp/0", "--http-port", "0", "--ephemeral")
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


def asked_for(server: ServerProcess, what: str, identity: str) -> list[dict[str, Any]]:
    """The records the client was given."""
    done = subprocess.run(
        ["node", "client.mjs", f"http://{server.ready['http']}", what, identity],
        cwd=HERE,
        capture_output=True,
        text=True,
        timeout=COMMAND_DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_an_offer_is_a_provider(network: tuple[ServerProcess, ServerProcess]) -> None:
    holder, asked = network
    (record,) = asked_for(asked, "providers", CONTENT)
    assert record["id"] == holder.ready["peer_id"]
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
