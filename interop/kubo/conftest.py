"""Kubo itself, built from its Go module; its daemons run here on loopback, in a network of their own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
BUILD_DEADLINE_S = 1800.0  # the first time a thousand packages are compiled
READY_S = 60.0
COMMAND_DEADLINE_S = 60.0
POLL_S = 0.05
LOOPBACK = "/ip4/127.0.0.1/tcp/0"


@dataclass(frozen=True)
class Kubo:
    """One daemon, and its repository."""

    program: Path
    repository: Path

    def ipfs(self, *words: str, stdin: bytes | None = None, deadline_s: float = COMMAND_DEADLINE_S) -> bytes:
        """What a command prints; it must succeed."""
        done = self.try_ipfs(*words, stdin=stdin, deadline_s=deadline_s)
        assert done.returncode == 0, done
        return done.stdout

    def try_ipfs(
        self, *words: str, stdin: bytes | None = None, deadline_s: float = COMMAND_DEADLINE_S
    ) -> subprocess.CompletedProcess[bytes]:
        """A command that may fail."""
        return subprocess.run(
            [self.program, *words],
            env={**os.environ, "IPFS_PATH": str(self.repository)},
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            timeout=deadline_s,
            check=False,
        )

    def add(self, data: bytes, *options: str) -> str:
        """The CID under which Kubo has the bytes from now on."""
        return self.ipfs("add", "-Q", *options, stdin=data).decode().strip()

    @property
    def pid(self) -> int:
        """The daemon's."""
        return int((self.repository / "pid").read_text())

    @property
    def address(self) -> str:
        """Where to dial it, with /p2p."""
        found: str = json.loads(self.ipfs("id"))["Addresses"][0]
        return found

    @property
    def gateway(self) -> str:
        """The URL of its gateway."""
        return (self.repository / "gateway").read_text().strip().rstrip("/")

    @property
    def rpc(self) -> str:
        """The URL of its API."""
        _, _, host, _, port = (self.repository / "api").read_text().strip().split("/")
        return f"http://{host}:{port}/api/v0"

    def kill(self) -> None:
        """Ends its daemon at once."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)


class Kubos:
    """Starts daemons; they end with the test."""

    def __init__(self, program: Path, directory: Path, stack: ExitStack) -> None:
        self._program = program
        self._directory = directory
        self._stack = stack
        self._count = 0

    def start(
        self,
        join: Kubo | None = None,
        *,
        provides: bool = True,
        settings: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Kubo:
        """A node alone in its network, or in that of `join`. It takes and tells addresses on loopback.
        `settings`: of its configuration, besides."""
        kubo = Kubo(self._program, self._directory / f"kubo-{self._count}")
        self._count += 1
        kubo.ipfs("init", "--profile=test")
        kubo.ipfs("bootstrap", "rm", "--all")
        if join is not None:
            kubo.ipfs("bootstrap", "add", join.address)
        for name, value in {
            "Addresses.Swarm": [LOOPBACK],
            "Addresses.API": LOOPBACK,
            "Addresses.Gateway": LOOPBACK,
            "Routing.Type": "dht",
            "Routing.LoopbackAddressesOnLanDHT": True,
            "Discovery.MDNS.Enabled": False,
            "AutoTLS.Enabled": False,
            "Provide.Enabled": provides,
            "Swarm.Transports.Network.QUIC": False,
            **(settings or {}),
        }.items():
            kubo.ipfs("config", "--json", name, json.dumps(value))
        log = (kubo.repository / "daemon.log").open("wb")
        daemon = subprocess.Popen(
            [self._program, "daemon"],
            env={**os.environ, "IPFS_PATH": str(kubo.repository), **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        log.close()
        (kubo.repository / "pid").write_text(str(daemon.pid))
        self._stack.callback(_end, daemon)
        deadline = time.monotonic() + READY_S
        while b"Daemon is ready" not in (said := (kubo.repository / "daemon.log").read_bytes()):
            running = daemon.poll() is None and time.monotonic() < deadline
            assert running, said.decode(errors="replace")
            time.sleep(POLL_S)
        return kubo


def _end(daemon: subprocess.Popen[bytes]) -> None:
    if daemon.poll() is None:
        os.killpg(daemon.pid, signal.SIGKILL)
    daemon.wait()


def build_kubo() -> Path:
    """The program. The module replaces go-libp2p by a fork; as a dependency of ours it is built with the
    release."""
    program = HERE / "build" / "ipfs"
    done = subprocess.run(
        ["nice", "-n", "10", "go", "build", "-p", "1", "-o", program, "github.com/ipfs/kubo/cmd/ipfs"],
        cwd=HERE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=BUILD_DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, f"Kubo does not build:\n{done.stdout}"
    return program


@pytest.fixture(scope="session")
def kubo_program() -> Path:
    """Built once."""
    if shutil.which("go") is None:
        pytest.skip("no go here, so no Kubo")
    return build_kubo()


@pytest.fixture
def kubos(kubo_program: Path, tmp_path: Path) -> Iterator[Kubos]:
    """Daemons of one test."""
    with ExitStack() as stack:
        yield Kubos(kubo_program, tmp_path, stack)


@pytest.fixture
def kubo(kubos: Kubos) -> Kubo:
    """A daemon alone in its network."""
    return kubos.start()
