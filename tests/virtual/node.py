"""One whole node: its `NodeCore` behind the one pump, its disk, and its process, which may be killed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, TypeAlias

from fastmarket.config import NodeConfig
from fastmarket.core.commands import Command
from fastmarket.core.driving import Driver, pump
from fastmarket.core.events import (
    BugFound,
    Event,
    Finished,
    JobEnded,
    PeerDisconnected,
    PeerIdentified,
    Persist,
    Progress,
)
from fastmarket.core.node import NodeCore
from fastmarket.core.operations import JobOwner
from fastmarket.formats.identity import PeerId
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.engine import Engine
from fastmarket.kad.events import SendRequest
from fastmarket.kad.jobs import Job
from fastmarket.kad.records.shares import NEARBY
from fastmarket.offers.protocol import OfferProtocol, Wanted
from tests.virtual.conditions import State
from tests.virtual.disk import Disk
from tests.virtual.exchange import Exchange
from tests.virtual.values import addr_of, identity

if TYPE_CHECKING:
    from tests.virtual.network import VirtualNetwork

Answer: TypeAlias = Callable[[PeerId, str, bytes, float], bytes | None]
"""`(sender, protocol, request, now)` -> the reply; None: there is none. Raises PeerFault."""


class Killed(Exception):
    """The process of a node ended between two actions."""


@dataclass
class Addresses:
    """An `AddressBook` of what identify told."""

    known: dict[PeerId, tuple[Multiaddr, ...]] = field(default_factory=dict)

    def addrs(self, peer_id: PeerId, now: float | None = None) -> tuple[Multiaddr, ...]:
        return self.known.get(peer_id, ())

    def hints_until(self, peer_id: PeerId) -> float:
        return float("inf")


class Announced(JobOwner):
    """What came of an announcement that a test began."""

    def __init__(self) -> None:
        self.progress: list[object] = []
        self.result: object = None
        self.is_over = False

    def on_progress(self, item: object, now: float) -> None:
        self.progress.append(item)

    def on_result(self, result: object, now: float) -> None:
        self.result, self.is_over = result, True


class VirtualNode(Driver):
    """One node and its surroundings. `kill_at`: the number of the action before which its process ends.
    `plain`: a standard libp2p node, which speaks Kademlia alone. Without a disk nothing is kept."""

    def __init__(
        self, network: VirtualNetwork, number: int, config: NodeConfig, *, plain: bool, disk: Disk | None
    ) -> None:
        self.network = network
        self.number = number
        self.identity = identity(number)
        self.info = PeerInfo(self.identity.peer_id, (addr_of(number),))
        self.config = config
        self.plain = plain
        self._disk = disk
        self.kill_at: int | None = None
        self.action_count = 0
        self.events: list[Event] = []
        self.finished: dict[int, Finished] = {}
        self.finished_at: dict[int, float] = {}
        self.progress: dict[int, list[object]] = {}
        self.served: list[str] = []
        """The protocol of each request that came."""
        self.answer: Answer = self.respond
        """What it answers; a test may put in something else."""
        self.lives = 0
        self._random = Random(f"{network.seed} {number}")
        self._armed: float | None = None
        self.boot()

    # -- the process

    def boot(self) -> None:
        """Starts the process: offers come from the disk, before anyone can connect."""
        now = self.network.now
        self.lives += 1
        self.addresses = Addresses()
        self.connected: set[PeerId] = set()
        self.core = core = NodeCore(
            self.identity, self.config, self.addresses, now=now, entropy=self._random.randbytes
        )
        core.engine.set_local_addrs(self.info.addrs)
        if self._disk is not None:
            self._disk.restore(core, now)
            core.keep_changes()
        self._armed = None
        self._state = State.UP

    def kill(self) -> None:
        """The process ends; peers notice that their connections are gone."""
        if self._state is not State.DOWN:
            self._state = State.DOWN
            for other in self.network.nodes.values():
                if self.info.peer_id in other.connected:
                    other.disconnected(self.info.peer_id)

    @property
    def state(self) -> State:
        """What it does with what comes. A test may set it: then peers notice only what they run into."""
        return self._state

    @state.setter
    def state(self, state: State) -> None:
        self._state = state
        self.turn()

    @property
    def is_up(self) -> bool:
        """Whether it answers and acts."""
        return self._state is State.UP

    # -- what a test looks into

    @property
    def peer_id(self) -> PeerId:
        return self.identity.peer_id

    @property
    def disk(self) -> Disk:
        assert self._disk is not None
        return self._disk

    @property
    def engine(self) -> Engine:
        return self.core.engine

    @property
    def offers(self) -> OfferProtocol:
        return self.core.offers

    @property
    def protocols(self) -> frozenset[str]:
        """As identify lists them."""
        if not self.config.server_mode:
            return frozenset()
        kad = self.config.kad.protocol
        return frozenset({kad} if self.plain else {kad, self.config.offers.protocol})

    @property
    def known(self) -> set[PeerId]:
        """Peers in the table."""
        return {contact.info.peer_id for contact in self.engine.contacts()}

    def ended(self, kind: str) -> list[JobEnded]:
        """The jobs of a class that have ended so far."""
        return [event for event in self.events if isinstance(event, JobEnded) and event.kind == kind]

    # -- what a test does with it

    def start(self, command: Command) -> int:
        """Begins a command."""
        operation = self.core.start(command, self.network.now)
        self.turn()
        return operation

    def run(self, command: Command, within_s: float = 120.0) -> Finished:
        """A command to its end, and the network with it."""
        return self._run(self.start(command), within_s)

    def start_job(self, job: Job) -> int:
        """Begins a job that no command makes."""
        operation = self.core.start_job(job, self.network.now)
        self.turn()
        return operation

    def run_job(self, job: Job, within_s: float = 120.0) -> object:
        """Such a job to its end; its result."""
        finished = self._run(self.start_job(job), within_s)
        assert finished.fault is None, finished.fault
        return finished.result

    def announce(self, wanted: Wanted) -> Announced:
        """Begins an announcement; its end goes back into its schedule."""
        announced = Announced()
        self.core.announce(wanted, announced, self.network.now)
        self.turn()
        return announced

    def run_announcement(self, wanted: Wanted, within_s: float = 120.0) -> Announced:
        """An announcement to the end of its job, whatever its quorum."""
        announced = self.announce(wanted)
        self.network.run(lambda: announced.is_over, within_s)
        return announced

    def cancel(self, operation: int) -> None:
        """Whoever began it is gone."""
        self.core.cancel(operation, self.network.now)
        self.turn()

    def respond(self, sender: PeerId, protocol: str, request: bytes, now: float) -> bytes | None:
        """Its own answer."""
        return self.core.responders[protocol](sender, request, now, NEARBY)

    def _run(self, operation: int, within_s: float) -> Finished:
        self.network.run(lambda: operation in self.finished or self._state is State.DOWN, within_s)
        return self.finished.get(operation) or Finished(operation, fault=Killed())

    # -- what the network brings

    def identified(self, other: VirtualNode) -> None:
        """A connection came up, and identify has told who is at its other end."""
        peer_id = other.info.peer_id
        self.connected.add(peer_id)
        if self.addresses.known.get(peer_id) != other.info.addrs:
            self.addresses.known[peer_id] = other.info.addrs
            self.core.caches.invalidate(peer_id)
        self.core.handle_peer(PeerIdentified(other.info, other.protocols), self.network.now)
        self.turn()

    def disconnected(self, peer_id: PeerId) -> None:
        """The last connection to a peer ended."""
        self.connected.discard(peer_id)
        if self.is_up:
            self.core.handle_peer(PeerDisconnected(peer_id), self.network.now)
            self.turn()

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
        self._check_nothing_missed(when)
        if self._armed is None or when < self._armed:
            self._armed = when
            life = self.lives
            self.network.at(when, lambda: self._on_timer(when, life))

    def _check_nothing_missed(self, when: float) -> None:
        """A node that looks at all its parts again wants nothing more, and nothing earlier."""
        core, now = self.core, self.network.now
        core.touch()
        assert not [*core.poll_actions(now), *core.poll_events(now)]
        assert core.next_timer() == when

    def _on_timer(self, when: float, life: int) -> None:
        if life == self.lives and self._armed == when:
            self._armed = None
            if self.is_up:
                self.core.handle_timer(self.network.now)
                self.turn()

    def _count_action(self) -> None:
        if self.action_count == self.kill_at:
            raise Killed
        self.action_count += 1

    # -- Driver

    def send(self, request: SendRequest) -> None:
        self._count_action()
        Exchange(self.network, self, request).leave()

    def persist(self, action: Persist) -> None:
        self._count_action()
        life, disk = self.lives, self.disk

        def written() -> None:
            if not self.is_up or life != self.lives:
                return
            if not disk.fault:
                disk.write(action.changes)
            self.core.handle_persisted(action.ticket, disk.fault, self.network.now)
            self.turn()

        self.network.at(self.network.now + disk.takes_s, written)

    def deliver(self, event: Event) -> None:
        self._count_action()
        self.events.append(event)
        if isinstance(event, Finished):
            self.finished[event.operation] = event
            self.finished_at[event.operation] = self.network.now
        elif isinstance(event, Progress):
            self.progress.setdefault(event.operation, []).append(event.item)
        elif isinstance(event, BugFound):
            raise event.error
