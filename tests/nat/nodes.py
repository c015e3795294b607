"""Real nodes in a lab: one that sells behind a router, one outside that buys."""

from __future__ import annotations

import subprocess
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from fastmarket.cli.processes import ServerProcess, environment, executable
from tests.nat.lab import STRANGER, Lab, wait_until

COMMAND_S = 60.0
READY_S = 60.0  # generous: what is measured is printed
CONTENT_PORT = 8080
ASKS = {"FASTMARKET_PORT_MAP": "auto"}


@dataclass
class Nodes:
    """Starts them in namespaces; ended with `stack`."""

    lab: Lab
    stack: ExitStack

    def start(self, place: str, *arguments: str, env: dict[str, str] | None = None) -> ServerProcess:
        through = self.lab.through(place)
        name = f"{place}-{time.monotonic_ns()}"
        arguments = ("-p", "0", "--ephemeral", *arguments)
        server = ServerProcess(name, arguments, self.lab.directory, env, through)
        self.stack.enter_context(server)
        server.wait_ready(READY_S)
        return server

    def stranger(self, address: str = f"/ip4/{STRANGER}") -> ServerProcess:
        return self.start("world", "-l", f"{address}/tcp/4001")

    def seller(self, stranger: ServerProcess, *arguments: str, host: str = "0.0.0.0") -> ServerProcess:
        """Nothing of the network is configured."""
        content = ("--content-port", str(CONTENT_PORT), "--content-host", host)
        return self.start("seller", "-b", stranger.address, *content, *arguments, env=ASKS)

    def client(self, place: str, server: ServerProcess, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [*self.lab.through(place), *executable("fastmarket-client"), "-p", server.port, *arguments]
        env = environment(FASTMARKET_CLIENT_DATA_DIR=str(self.lab.directory / "user"))
        return subprocess.run(
            command, capture_output=True, text=True, env=env, timeout=COMMAND_S, check=False
        )

    def sell(self, seller: ServerProcess, text: str) -> str:
        """The CID of a file with that text, which is sold for nothing."""
        path = self.lab.directory / f"file-{time.monotonic_ns()}"
        path.write_text(text)
        done = self.client("seller", seller, "sell", str(path), "--price", "0")
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def buys(self, buyer: ServerProcess, cid: str, text: str, place: str = "world") -> bool:
        path = Path(self.lab.directory / f"bought-{time.monotonic_ns()}")
        done = self.client(place, buyer, "get", cid, "--output", str(path))
        return done.returncode == 0 and path.read_text() == text


def wait_logged(server: ServerProcess, text: str, deadline_s: float = 30.0) -> float:
    """Seconds until its log had that."""
    return wait_until(lambda: text in server.log(), f"{text!r} in the log:\n{server.log()}", deadline_s)
