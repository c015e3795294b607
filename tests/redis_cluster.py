"""A Redis or Valkey Cluster of real processes on loopback, for as long as a test wants it."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import redis

PROGRAM = shutil.which("redis-server") or shutil.which("valkey-server")
SLOTS = 16384
DEADLINE_S = 30.0
# Short: a primary that is silent so long is replaced.
NODE_TIMEOUT_MS = 1000


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on."""
    with ExitStack() as stack:
        made = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [server.getsockname()[1] for server in made]


class EngineNode:
    """One process of the engine."""

    def __init__(self, directory: Path, port: int, bus_port: int) -> None:
        self.port = port
        self.bus_port = bus_port
        self._directory = directory
        self.process: subprocess.Popen[bytes] | None = None
        self._client = redis.Redis(port=port, socket_timeout=DEADLINE_S, decode_responses=True)

    def start(self) -> None:
        """It keeps its place in the cluster on disk, and nothing else."""
        assert PROGRAM is not None
        options = {
            "port": self.port,
            "bind": "127.0.0.1",
            "dir": self._directory,
            "cluster-enabled": "yes",
            "cluster-port": self.bus_port,
            "cluster-config-file": f"nodes-{self.port}.conf",
            "cluster-node-timeout": NODE_TIMEOUT_MS,
            "cluster-require-full-coverage": "no",
            "repl-diskless-sync-delay": 0,
            "save": "",
            "appendonly": "no",
        }
        words = [str(word) for name, value in options.items() for word in (f"--{name}", value)]
        self.process = subprocess.Popen([PROGRAM, *words], stdout=subprocess.DEVNULL)
        eventually(self.answers)

    def answers(self) -> bool:
        """Whether it can be asked."""
        try:
            return bool(self._client.ping())
        except redis.RedisError:
            return False

    def ask(self, *words: object) -> object:
        """One command, to this very node."""
        return self._client.execute_command(*words)

    def info(self) -> dict[str, str]:
        """CLUSTER INFO."""
        answer = self.ask("CLUSTER", "INFO")
        if isinstance(answer, dict):
            return {str(key): str(value) for key, value in answer.items()}
        return dict(line.split(":", 1) for line in str(answer).split() if ":" in line)

    def kill(self) -> None:
        """SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def freeze(self) -> None:
        """Its connections stay, and nothing answers."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)


class EngineCluster:
    """Primaries that share the slots, and `replicas` of each."""

    def __init__(self, directory: Path, primaries: int, replicas: int) -> None:
        ports = free_ports(2 * primaries * (1 + replicas))
        pairs = zip(ports[::2], ports[1::2], strict=True)
        self.nodes = [EngineNode(directory, port, bus) for port, bus in pairs]
        self.primaries = self.nodes[:primaries]
        self.url = "redis://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def form(self) -> None:
        """Starts and joins them."""
        for node in self.nodes:
            node.start()
        count, first = len(self.primaries), self.nodes[0]
        for index, node in enumerate(self.primaries):
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", index + 1)
            begin, end = index * SLOTS // count, (index + 1) * SLOTS // count - 1
            node.ask("CLUSTER", "ADDSLOTSRANGE", begin, end)
        for node in self.nodes[1:]:
            first.ask("CLUSTER", "MEET", "127.0.0.1", node.port, node.bus_port)
        eventually(
            lambda: all(node.info()["cluster_known_nodes"] == str(len(self.nodes)) for node in self.nodes)
        )
        for index, node in enumerate(self.nodes[count:]):
            of = str(self.primaries[index % count].ask("CLUSTER", "MYID"))
            eventually(lambda node=node, of=of: _replicates(node, of))
        eventually(lambda: all(node.info()["cluster_state"] == "ok" for node in self.nodes))
        eventually(lambda: all(map(_linked, self.nodes[count:])))

    def stop(self) -> None:
        """Kills every node."""
        for node in self.nodes:
            node.kill()

    def restart(self) -> None:
        """Every node anew, with nothing of what it held."""
        for node in self.nodes:
            node.start()
        eventually(lambda: all(node.info()["cluster_state"] == "ok" for node in self.nodes))


def _replicates(node: EngineNode, of: str) -> bool:
    try:
        node.ask("CLUSTER", "REPLICATE", of)
    except redis.RedisError:
        return False  # it has not heard of that one yet
    return True


def _linked(node: EngineNode) -> bool:
    """A replica that has its primary's state."""
    info = node.ask("INFO", "replication")
    return isinstance(info, dict) and info.get("master_link_status") == "up"


def eventually(true: Callable[[], bool], deadline_s: float = DEADLINE_S) -> None:
    """Asks again and again; fails after the deadline."""
    end = time.monotonic() + deadline_s
    while not true():
        assert time.monotonic() < end, "it does not come true"
        time.sleep(0.02)


@contextmanager
def engine_cluster(directory: Path, primaries: int = 3, replicas: int = 0) -> Iterator[EngineCluster]:
    """Formed, and ended whatever happens."""
    made = EngineCluster(directory, primaries, replicas)
    try:
        made.form()
        yield made
    finally:
        made.stop()
