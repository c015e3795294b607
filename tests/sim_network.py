"""A network of engines in virtual time: seeded latency and loss, no clock, the same seed gives the same run.

It imitates the shell: a request implies a connection, and a connection that both sides identify each other
with their listen addresses.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from random import Random

from fastmarket.config import KadConfig
from fastmarket.errors import PeerFault
from fastmarket.formats.choice import FailureKind
from fastmarket.formats.identity import PeerId
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.engine import Engine, Mode
from fastmarket.kad.events import JobFault, JobFinished, JobProgress, SendRequest
from fastmarket.kad.jobs import Job

START = 1_700_000_000.0


def peer_id_of(number: int | str) -> PeerId:
    """A peer id out of nothing but a number."""
    return PeerId.from_bytes(b"\x12\x20" + hashlib.sha256(f"peer {number}".encode()).digest())


def addr_of(number: int) -> Multiaddr:
    """A listen address of its own."""
    return Multiaddr.from_text(f"/ip4/10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}/tcp/16899")


def peer_info_of(number: int) -> PeerInfo:
    """The number as a peer with an address."""
    return PeerInfo(peer_id_of(number), (addr_of(number),))


class State(Enum):
    """What a node does with what comes."""

    UP = "up"
    SILENT = "silent"  # takes connections and says nothing: SIGSTOP
    DOWN = "down"  # refuses connections: SIGKILL


@dataclass(frozen=True)
class Conditions:
    """Of the network: one-way latency in seconds, share of requests or replies lost."""

    latency_s: tuple[float, float] = (0.010, 0.080)
    loss: float = 0.0
    identify_delay_s: float = 0.0  # identify ends this long after the first request went out


class SimNode:
    """One engine and its surroundings."""

    def __init__(self, network: SimNetwork, number: int, mode: Mode) -> None:
        self.network = network
        self.number = number
        self.info = peer_info_of(number)
        self.state = State.UP
        entropy = Random(f"{network.seed} {number}").randbytes
        self.engine = Engine(network.config, self.info.peer_id, now=network.now, entropy=entropy)
        self.engine.mode = mode
        self.engine.set_local_addrs(self.info.addrs)
        self.connected: set[PeerId] = set()
        self.results: dict[int, object] = {}
        self.finished_at: dict[int, float] = {}
        self.progress: list[tuple[int, object]] = []
        self.answered = 0  # requests
        self.answer: Callable[[PeerId, bytes, float], bytes | None] | None = None  # instead of the engine's
        self.armed: float | None = None

    @property
    def protocols(self) -> frozenset[str]:
        """As identify lists them."""
        return frozenset({self.network.config.protocol} if self.engine.mode is Mode.SERVER else ())

    @property
    def known(self) -> set[PeerId]:
        """Peers in the table."""
        return {contact.info.peer_id for contact in self.engine.contacts()}

    def start(self, job: Job) -> int:
        """Run a job from now on."""
        job_id = self.engine.start(job, self.network.now)
        self.network.pump(self)
        return job_id

    def run(self, job: Job, within_s: float = 120.0) -> object:
        """Run a job to its end, the network with it; its result."""
        job_id = self.start(job)
        self.network.run(lambda: job_id in self.results, within_s)
        return self.results[job_id]

    def connect(self, other: SimNode) -> None:
        """Both sides connect and identify each other at once."""
        self.network.identify(self, other)


class SimNetwork:
    """Nodes, events in order of time, and the virtual clock."""

    def __init__(
        self, seed: int, conditions: Conditions | None = None, config: KadConfig | None = None
    ) -> None:
        self.seed = seed
        self.config = config or KadConfig()
        self.conditions = conditions or Conditions()
        self.random = Random(seed)
        self.now = START
        self.nodes: dict[PeerId, SimNode] = {}
        self.sent = 0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._sequence = 0
        self._digest = hashlib.sha256()

    @property
    def trace_hash(self) -> str:
        """Of every request and outcome so far, with their times."""
        return self._digest.hexdigest()

    def add(self, mode: Mode = Mode.SERVER) -> SimNode:
        """One more node, unconnected."""
        node = SimNode(self, len(self.nodes), mode)
        self.nodes[node.info.peer_id] = node
        return node

    def grow(self, count: int) -> list[SimNode]:
        """`count` more nodes that all bootstrap from the first one at once; run until all are done."""
        nodes = [self.add() for _ in range(count)]
        first = next(iter(self.nodes.values()))
        jobs = [
            (node, node.start(node.engine.bootstrap([first.info]))) for node in nodes if node is not first
        ]
        self.run(lambda: all(job in node.results for node, job in jobs))
        return nodes

    def run(self, until: Callable[[], bool], within_s: float = 120.0) -> None:
        """Until the condition holds; AssertionError when it does not within virtual `within_s` seconds."""
        end = self.now + within_s
        while not until():
            assert self._step(end), "the condition never came true"

    def rest(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while self._step(end):
            pass
        self.now = end

    def _step(self, end: float) -> bool:
        if not self._events or self._events[0][0] > end:
            return False
        self.now, _, event = heapq.heappop(self._events)
        event()
        return True

    def at(self, delay_s: float, event: Callable[[], None]) -> None:
        """Schedule."""
        self._sequence += 1
        heapq.heappush(self._events, (self.now + delay_s, self._sequence, event))

    def pump(self, node: SimNode) -> None:
        """What a shell does after every call of the engine."""
        for action in node.engine.poll_actions():
            self._send(node, action)
        for event in node.engine.poll_events():
            if isinstance(event, JobFinished):
                node.results[event.job_id] = event.result
                node.finished_at[event.job_id] = self.now
            elif isinstance(event, JobProgress):
                node.progress.append((event.job_id, event.item))
            elif isinstance(event, JobFault):
                raise event.error
        wanted = node.engine.next_timer()
        if wanted is not None and (node.armed is None or wanted < node.armed):
            node.armed = wanted
            self.at(max(wanted - self.now, 0.0), lambda: self._timer(node, wanted))

    def identify(self, a: SimNode, b: SimNode) -> None:
        """Both learn each other's listen addresses and protocols."""
        for one, other in ((a, b), (b, a)):
            if other.info.peer_id not in one.connected:
                one.connected.add(other.info.peer_id)
                one.engine.on_peer_identified(other.info, other.protocols, self.now)
                self.pump(one)

    # --- private

    def _timer(self, node: SimNode, when: float) -> None:
        if node.armed == when:
            node.armed = None
            if node.state is State.UP:
                node.engine.handle_timer(self.now)
                self.pump(node)

    def _latency(self) -> float:
        return self.random.uniform(*self.conditions.latency_s)

    def _log(self, what: str, node: SimNode, request_id: int) -> None:
        self._digest.update(f"{self.now!r} {what} {node.number} {request_id}\n".encode())

    def _send(self, node: SimNode, action: SendRequest) -> None:
        self.sent += 1
        self._log("send", node, action.request_id)
        request = _Exchange(self, node, action)
        target = self.nodes.get(action.peer.peer_id)
        self.at(action.deadline - self.now, lambda: request.fail(FailureKind.TIMEOUT))
        known = target is not None and (
            target.info.peer_id in node.connected or set(target.info.addrs) & set(action.peer.addrs)
        )
        if target is None or not known or target.state is State.DOWN:
            node.connected.discard(action.peer.peer_id)
            gone = target is not None and target.state is State.DOWN
            kind = FailureKind.GONE if gone else FailureKind.UNREACHABLE
            self.at(self._latency(), lambda: request.fail(kind))
        elif target.state is State.UP:
            delay = self._latency()
            if target.info.peer_id not in node.connected:
                dialled, delay = delay * 2, delay * 3
                late = self.conditions.identify_delay_s
                self.at((delay if late else dialled) + late, lambda: self.identify(node, target))
            if self.random.random() >= self.conditions.loss:
                self.at(delay, lambda: request.arrive(target))


class _Exchange:
    """One request on its way; exactly one outcome reaches the engine."""

    def __init__(self, network: SimNetwork, node: SimNode, action: SendRequest) -> None:
        self.network = network
        self.node = node
        self.action = action
        self.over = False

    def arrive(self, target: SimNode) -> None:
        network, choice = self.network, None
        if target.state is not State.UP:
            return
        choice = next((choice for choice in self.action.choices if choice.protocol in target.protocols), None)
        if choice is None:
            network.at(network._latency(), lambda: self.fail(FailureKind.REFUSED))
            return
        target.answered += 1
        protocol, answer = choice.protocol, target.answer or target.engine.handle_request
        try:
            reply = answer(self.node.info.peer_id, choice.payload, network.now)
        except PeerFault:
            network.at(network._latency(), lambda: self.fail(FailureKind.RESET))
            return
        network.pump(target)
        if not choice.expects_reply:
            reply = b""
        if reply is not None and network.random.random() >= network.conditions.loss:
            payload = reply
            network.at(network._latency(), lambda: self.succeed(protocol, payload))

    def succeed(self, protocol: str, payload: bytes) -> None:
        if self._end("reply"):
            self.node.engine.handle_reply(self.action.request_id, protocol, payload, self.network.now)
            self.network.pump(self.node)

    def fail(self, kind: FailureKind) -> None:
        if self._end(kind.value):
            self.node.engine.handle_failure(self.action.request_id, kind, self.network.now)
            self.network.pump(self.node)

    def _end(self, what: str) -> bool:
        first, self.over = not self.over, True
        if first:
            self.network._log(what, self.node, self.action.request_id)
        return first and self.node.state is State.UP
