"""Whole nodes in virtual time: every `NodeCore` behind the one pump, with a disk, and faults between actions.

The same seed gives the same run. As on the network, a request implies a connection, and a connection that
both sides identify each other. A node may be killed before any of its actions: what was not written by then
is gone, and it starts again from its disk, as a process does.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from random import Random

from fastmarket.config import KadConfig, NodeConfig, OfferConfig
from fastmarket.core.commands import Bootstrap
from fastmarket.formats.identity import PeerId
from tests.virtual.conditions import IMMEDIATE, Conditions
from tests.virtual.disk import Disk
from tests.virtual.node import VirtualNode
from tests.virtual.values import START


class VirtualNetwork:
    """Nodes by peer id, what is still to happen in order of time, and the clock. `kept`: nodes have disks."""

    def __init__(
        self,
        seed: int = 1,
        conditions: Conditions | None = None,
        config: NodeConfig | None = None,
        *,
        kept: bool = True,
    ) -> None:
        self.seed = seed
        self.conditions = conditions or Conditions()
        self.config = config or NodeConfig()
        self.kept = kept
        self.now = START
        self.nodes: dict[PeerId, VirtualNode] = {}
        self.sent = 0
        self._random = Random(seed)
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._sequence = 0
        self._digest = sha256()

    @classmethod
    def immediate(cls, *, kad: KadConfig | None = None, offers: OfferConfig | None = None) -> VirtualNetwork:
        """Without latency and disks: all that does not wait for time happens at once."""
        config = NodeConfig()
        config = replace(config, kad=kad or config.kad, offers=offers or config.offers)
        return cls(7, IMMEDIATE, config, kept=False)

    @property
    def trace_hash(self) -> str:
        """Of every request and outcome so far, with their times."""
        return self._digest.hexdigest()

    # -- nodes

    def add(
        self, config: NodeConfig | None = None, *, plain: bool = False, client: bool = False
    ) -> VirtualNode:
        """A node that knows no others."""
        config = config or self.config
        if client:
            config = replace(config, server_mode=False)
        disk = Disk() if self.kept else None
        node = VirtualNode(self, len(self.nodes) + 1, config, plain=plain, disk=disk)
        self.nodes[node.info.peer_id] = node
        return node

    def grow(self, count: int) -> list[VirtualNode]:
        """More nodes, which all bootstrap from the first one at once; run until all are done."""
        nodes = [self.add() for _ in range(count)]
        first = next(iter(self.nodes.values()))
        begun = [(node, node.start(Bootstrap([first.info], 30.0))) for node in nodes if node is not first]
        self.run(lambda: all(operation in node.finished for node, operation in begun))
        return nodes

    def mesh(self, count: int, *, plain: int = 0) -> list[VirtualNode]:
        """`count` nodes of which the last `plain` are standard ones, all acquainted."""
        nodes = [self.add(plain=index >= count - plain) for index in range(count)]
        self.acquaint(*nodes)
        return nodes

    def join(self, node: VirtualNode, seed: VirtualNode) -> None:
        """Bootstraps."""
        assert node.run(Bootstrap([seed.info], 30.0)).fault is None

    def acquaint(self, *nodes: VirtualNode) -> None:
        """All given are connected to all others given, as though they had joined long ago."""
        for node in nodes:
            node.core.is_joining = True
        for node in nodes:
            for other in nodes:
                if node is not other:
                    self.meet(node, other)

    def meet(self, one: VirtualNode, other: VirtualNode) -> None:
        """A connection: both sides identify each other."""
        for a, b in ((one, other), (other, one)):
            if b.info.peer_id not in a.connected and a.is_up and b.is_up:
                a.identified(b)

    # -- time

    def at(self, when: float, event: Callable[[], None]) -> None:
        """Schedules."""
        self._sequence += 1
        heapq.heappush(self._heap, (max(when, self.now), self._sequence, event))

    def after(self, seconds: float, event: Callable[[], None]) -> None:
        """As `at`, from now on."""
        self.at(self.now + seconds, event)

    def run(self, until: Callable[[], bool], within_s: float = 120.0) -> None:
        """Until the condition holds; AssertionError if it does not in virtual `within_s` seconds."""
        end = self.now + within_s
        while not until():
            assert self._step(end), "the condition never came true"

    def settle(self) -> None:
        """All that can happen without time passing."""
        while self._step(self.now):
            pass

    def rest(self, seconds: float) -> None:
        """Lets time pass."""
        self.move_to(self.now + seconds)

    def move_to(self, when: float) -> None:
        """Lets time pass until then."""
        while self._step(when):
            pass
        self.now = max(self.now, when)

    def _step(self, end: float) -> bool:
        if not self._heap or self._heap[0][0] > end:
            return False
        self.now, _, event = heapq.heappop(self._heap)
        event()
        return True

    # -- what requests meet with

    def latency(self) -> float:
        """One way, for what leaves now."""
        return self._random.uniform(*self.conditions.latency_s)

    def is_lost(self) -> bool:
        """Whether what leaves now does not arrive."""
        return self._random.random() < self.conditions.loss

    def log(self, what: str, node: VirtualNode, request_id: int) -> None:
        """For `trace_hash`."""
        self._digest.update(f"{self.now!r} {what} {node.number} {request_id}\n".encode())
