"""Whole nodes in virtual time: every `NodeCore` behind the one pump, with a disk, and faults between actions.

Requests take a seeded time each way; a disk takes its own. A node may be killed before any of its actions:
what was not written by then is gone, and it starts again from its disk, as a process does.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from random import Random

from fastmarket.config import NodeConfig
from fastmarket.core.commands import Bootstrap, Command
from fastmarket.core.driving import Driver, pump
from fastmarket.core.events import (
    BugFound,
    Event,
    Finished,
    PeerDisconnected,
    PeerIdentified,
    Persist,
    Progress,
)
from fastmarket.core.node import NodeCore
from fastmarket.errors import PeerFault
from fastmarket.formats.choice import Choice, FailureKind
from fastmarket.formats.identity import Identity, PeerId
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.events import SendRequest
from fastmarket.kad.records.shares import NEARBY
from fastmarket.offers.model.offer import Offer, OfferKey
from fastmarket.offers.store.changes import AnyChange, Displaced

START = 1_700_000_000.0


class Killed(Exception):
    """The process of a node ended between two actions."""


@dataclass
class Disk:
    """What survives a node: the offers written, in the order of the changes. `takes_s` is the time of a
    write; `fault` makes writes fail."""

    takes_s: float = 0.005
    fault: str = ""
    offers: dict[OfferKey, tuple[Offer, bool]] = field(default_factory=dict)

    def write(self, changes: Sequence[AnyChange]) -> None:
        """All of them, or the process would not have been told so."""
        for change in changes:
            for offer in change.offers:
                if isinstance(change, Displaced):
                    self.offers.pop(offer.key, None)
                else:
                    self.offers[offer.key] = (offer, change.own)


@dataclass
class Addresses:
    """An `AddressBook` of what identify told."""

    known: dict[PeerId, tuple[Multiaddr, ...]] = field(default_factory=dict)

    def addrs(self, peer_id: PeerId, now: float | None = None) -> tuple[Multiaddr, ...]:
        return self.known.get(peer_id, ())

    def hints_until(self, peer_id: PeerId) -> float:
        return float("inf")


class VirtualNode(Driver):
    """One node and its surroundings. `kill_at`: the number of the action before which its process ends."""

    def __init__(self, network: VirtualNetwork, number: int, config: NodeConfig) -> None:
        self.network = network
        self.identity = Identity.from_seed(sha256(b"node %d" % number).digest())
        addr = Multiaddr.from_text(f"/ip4/10.{number}.0.1/tcp/{4000 + number}")
        self.info = PeerInfo(self.identity.peer_id, (addr,))
        self.config = config
        self.disk = Disk()
        self.is_up = False
        self.kill_at: int | None = None
        self.action_count = 0
        self.events: list[Event] = []
        self.finished: dict[int, Finished] = {}
        self.progress: dict[int, list[object]] = {}
        self.lives = 0
        self._random = Random(number)
        self.boot()

    def boot(self) -> None:
        """Starts the process: offers come from the disk, before anyone can connect."""
        network = self.network
        self.lives += 1
        self.addresses = Addresses()
        self.connected: set[PeerId] = set()
        self.core = core = NodeCore(
            self.identity, self.config, self.addresses, now=network.now, entropy=self._random.randbytes
        )
        core.engine.set_local_addrs(self.info.addrs)
        own_seqs = [offer.seq for offer, own in self.disk.offers.values() if own]
        for offer, own in self.disk.offers.values():
            core.offers.restore(offer.envelope, own, network.now)
        core.offers.own.seq_floor = max(own_seqs, default=0)
        core.keep_changes()
        self._armed: float | None = None
        self.is_up = True

    @property
    def protocols(self) -> frozenset[str]:
        """As identify lists them."""
        if not self.config.server_mode:
            return frozenset()
        return frozenset({self.config.kad.protocol, self.config.offers.protocol})

    def start(self, command: Command) -> int:
        """Begins a command."""
        operation = self.core.start(command, self.network.now)
        self.turn()
        return operation

    def run(self, command: Command, within_s: float = 60.0) -> Finished:
        """A command to its end, and the network with it."""
        operation = self.start(command)
        self.network.run(lambda: operation in self.finished or not self.is_up, within_s)
        return self.finished.get(operation) or Finished(operation, fault=Killed())

    def kill(self) -> None:
        """The process ends; peers notice that their connections are gone."""
        if self.is_up:
            self.is_up = False
            for other in self.network.nodes.values():
                if other.is_up and self.info.peer_id in other.connected:
                    other.connected.discard(self.info.peer_id)
                    other.core.handle_peer(PeerDisconnected(self.info.peer_id), self.network.now)
                    other.turn()

    def turn(self) -> None:
        """Carries out what the node wants, and arms its timer."""
        if not self.is_up:
            return
        try:
            pump(self.core, self, self.network.now)
        except Killed:
            self.kill()
            return
        when = self.core.next_timer()
        if self._armed is None or when < self._armed:
            self._armed = when
            life = self.lives
            self.network.at(when, lambda: self._on_timer(when, life))

    def _on_timer(self, when: float, life: int) -> None:
        if self.is_up and life == self.lives and self._armed == when:
            self._armed = None
            self.core.handle_timer(self.network.now)
            self.turn()

    def _count_action(self) -> None:
        if self.action_count == self.kill_at:
            raise Killed
        self.action_count += 1

    # -- Driver

    def send(self, request: SendRequest) -> None:
        self._count_action()
        _Exchange(self.network, self, request).leave()

    def persist(self, action: Persist) -> None:
        self._count_action()
        life = self.lives

        def written() -> None:
            if not self.is_up or life != self.lives:
                return
            if not self.disk.fault:
                self.disk.write(action.changes)
            self.core.handle_persisted(action.ticket, self.disk.fault, self.network.now)
            self.turn()

        self.network.at(self.network.now + self.disk.takes_s, written)

    def deliver(self, event: Event) -> None:
        self._count_action()
        self.events.append(event)
        if isinstance(event, Finished):
            self.finished[event.operation] = event
        elif isinstance(event, Progress):
            self.progress.setdefault(event.operation, []).append(event.item)
        elif isinstance(event, BugFound):
            raise event.error


class _Exchange:
    """One request on its way; exactly one outcome reaches its sender, if that still lives."""

    def __init__(self, network: VirtualNetwork, node: VirtualNode, request: SendRequest) -> None:
        self.network = network
        self.node = node
        self.request = request
        self.life = node.lives
        self.is_over = False

    def leave(self) -> None:
        network, target = self.network, self.network.nodes.get(self.request.peer.peer_id)
        network.at(self.request.deadline, lambda: self.fail(FailureKind.TIMEOUT))
        if target is None or not target.is_up:
            kind = FailureKind.UNREACHABLE if target is None else FailureKind.GONE
            network.at(network.later(), lambda: self.fail(kind))
        else:
            network.at(network.later(), lambda: self.arrive(target))

    def arrive(self, target: VirtualNode) -> None:
        network, sender = self.network, self.node.identity.peer_id
        if not target.is_up:
            network.at(network.later(), lambda: self.fail(FailureKind.GONE))
            return
        network.meet(self.node, target)
        choice = next((one for one in self.request.choices if one.protocol in target.protocols), None)
        if choice is None:
            network.at(network.later(), lambda: self.fail(FailureKind.REFUSED))
            return
        try:
            reply = target.core.responders[choice.protocol](sender, choice.payload, network.now, NEARBY)
        except PeerFault:
            network.at(network.later(), lambda: self.fail(FailureKind.RESET))
            return
        if target.core.is_turn_wanted:
            target.turn()
        self._answer(choice, reply)

    def _answer(self, choice: Choice, reply: bytes | None) -> None:
        if reply is not None or not choice.expects_reply:
            payload = reply or b""
            self.network.at(self.network.later(), lambda: self.succeed(choice.protocol, payload))

    def succeed(self, protocol: str, payload: bytes) -> None:
        if self._end():
            node = self.node
            node.core.handle_reply(self.request.request_id, protocol, payload, self.network.now)
            node.turn()

    def fail(self, kind: FailureKind) -> None:
        if self._end():
            self.node.core.handle_failure(self.request.request_id, kind, self.network.now)
            self.node.turn()

    def _end(self) -> bool:
        first, self.is_over = not self.is_over, True
        return first and self.node.is_up and self.life == self.node.lives


class VirtualNetwork:
    """Nodes by peer id, what is still to happen in order of time, and the clock."""

    def __init__(self, seed: int = 1, config: NodeConfig | None = None) -> None:
        self.now = START
        self.config = config or NodeConfig()
        self.nodes: dict[PeerId, VirtualNode] = {}
        self._random = Random(seed)
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._sequence = 0

    def add(self, config: NodeConfig | None = None) -> VirtualNode:
        """A node that knows no others."""
        node = VirtualNode(self, len(self.nodes) + 1, config or self.config)
        self.nodes[node.identity.peer_id] = node
        return node

    def grow(self, count: int) -> list[VirtualNode]:
        """More nodes, joined by way of the first."""
        nodes = [self.add() for _ in range(count)]
        first = next(iter(self.nodes.values()))
        for node in nodes:
            if node is not first:
                self.join(node, first)
        return nodes

    def join(self, node: VirtualNode, seed: VirtualNode) -> None:
        """Bootstraps."""
        assert node.run(Bootstrap([seed.info], 30.0)).fault is None

    def meet(self, one: VirtualNode, other: VirtualNode) -> None:
        """A connection: both sides identify each other."""
        for a, b in ((one, other), (other, one)):
            if b.info.peer_id not in a.connected:
                a.connected.add(b.info.peer_id)
                a.addresses.known[b.info.peer_id] = b.info.addrs
                a.core.handle_peer(PeerIdentified(b.info, b.protocols), self.now)
                a.turn()

    def later(self) -> float:
        """When what leaves now arrives."""
        return self.now + self._random.uniform(0.005, 0.05)

    def at(self, when: float, event: Callable[[], None]) -> None:
        """Schedules."""
        self._sequence += 1
        heapq.heappush(self._heap, (max(when, self.now), self._sequence, event))

    def run(self, until: Callable[[], bool], within_s: float = 60.0) -> None:
        """Until the condition holds; AssertionError if it does not in virtual `within_s` seconds."""
        end = self.now + within_s
        while not until():
            assert self._step(end), "the condition never came true"

    def rest(self, seconds: float) -> None:
        """Lets time pass."""
        end = self.now + seconds
        while self._step(end):
            pass
        self.now = end

    def _step(self, end: float) -> bool:
        if not self._heap or self._heap[0][0] > end:
            return False
        self.now, _, event = heapq.heappop(self._heap)
        event()
        return True
