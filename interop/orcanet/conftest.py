"""Real servers, and the clients in Go and Rust, built here; without its toolchain a client is skipped."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fastmarket.cli.processes import ServerProcess

HERE = Path(__file__).parent
BUILD_DEADLINE_S = 900.0  # a cold Rust build fetches and compiles about a hundred crates
COMMAND_DEADLINE_S = 10.0  # a client gives up after one second itself
FREE_PORTS = ("-p", "0", "-l", "/ip4/127.0.0.1/tcp/0", "--ephemeral")


@dataclass(frozen=True)
class Client:
    """One of the two programs."""

    program: Path

    def call(self, server: ServerProcess, *arguments: str) -> dict[str, Any]:
        """Its line on stdout for one call, as an object."""
        done = subprocess.run(
            [self.program, "--server", f"127.0.0.1:{server.port}", *arguments],
            capture_output=True,
            text=True,
            timeout=COMMAND_DEADLINE_S,
            check=False,
        )
        assert done.returncode == 0, done
        outcome: dict[str, Any] = json.loads(done.stdout)
        return outcome

    def register(self, server: ServerProcess, content: str, **user: str | int) -> dict[str, Any]:
        """`user` holds the flags: id, id_hex, name, ip, port, price."""
        flags = [word for key, value in user.items() for word in (f"--{key.replace('_', '-')}", str(value))]
        return self.call(server, "register", *flags, content)

    def check(self, server: ServerProcess, content: str) -> dict[str, Any]:
        """What it makes of an answer to CheckHolders."""
        return self.call(server, "check", content)


def _built(tool: str, folder: str, command: tuple[str, ...], program: str) -> Client:
    if shutil.which(tool) is None:
        pytest.skip(f"no {tool} here, so no client in {folder}")
    # Niced: beside other work, and the servers under test answer within a second.
    done = subprocess.run(
        ["nice", "-n", "10", tool, *command],
        cwd=HERE / folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=BUILD_DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, f"{folder} does not build:\n{done.stdout}"
    return Client(HERE / folder / program)


@pytest.fixture(scope="session")
def go_client() -> Client:
    """`User.id` is bytes."""
    return _built("go", "go", ("build", "-o", "build/orcanet-go", "."), "build/orcanet-go")


@pytest.fixture(scope="session")
def rust_client() -> Client:
    """`User.id` is a string."""
    return _built("cargo", "rust", ("build", "--locked", "-j2"), "target/debug/orcanet-rust")


@pytest.fixture(params=["go", "rust"])
def client(request: pytest.FixtureRequest) -> Client:
    """Each of them in turn."""
    built: Client = request.getfixturevalue(f"{request.param}_client")
    return built


class Servers:
    """Starts `fastmarket-server` processes on free loopback ports."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self._directory = directory
        self._stack = stack
        self.all: list[ServerProcess] = []

    def start(self, join: ServerProcess | None = None) -> ServerProcess:
        """A node that serves; alone, or in the network of `join`."""
        bootstrap = () if join is None else ("-b", join.address)
        server = ServerProcess(f"server-{len(self.all)}", (*FREE_PORTS, *bootstrap), self._directory)
        self.all.append(self._stack.enter_context(server))
        server.wait_ready()
        return server

    def network(self) -> tuple[ServerProcess, ServerProcess, ServerProcess]:
        """Three nodes; the second and third have joined by the first."""
        first = self.start()
        return first, self.start(join=first), self.start(join=first)


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    """Ended with the test; none may have hit a bug of ours."""
    with ExitStack() as stack:
        started = Servers(tmp_path, stack)
        yield started
        stack.close()
        for server in started.all:
            assert "Traceback" not in server.log(), server.log()
            assert "unhandled" not in server.log(), server.log()


@pytest.fixture
def node(servers: Servers) -> ServerProcess:
    """A node alone in its network."""
    return servers.start()
