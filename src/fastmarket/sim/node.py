"""One simulated node: the whole of the shipped node, driven in virtual time as the network drives it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from random import Random
from typing import Any, Final

from fastmarket.config import KadConfig, NodeConfig
from fastmarket.core.commands import Command
from fastmarket.core.driving import Driver, pump
from fastmarket.core.events import (
    AnnouncingPostponed,
    BugFound,
    ClockDiffers,
    Event,
    Finished,
    JobEnded,
    KnownAs,
    OffersRefused,
    PeerDisconnected,
    PeerIdentified,
    Persist,
    Progress,
)
from fastmarket.core.node import NodeCore
from fastmarket.formats.choice import Choice, FailureKind
from fastmarket.formats.identity import PeerId
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.events import SendRequest
from fastmarket.kad.jobs import Job
from fastmarket.native.sim_net import Carrier, Port
from fastmarket.offers.store.changes import AnyChange
from fastmarket.sim.disk import SimDisk
from fastmarket.sim.population import Population


class NodeState(Enum):
    """What a node does with what comes; scenarios set it."""

    UP = "up"
    SILENT = "silent"  # its machine takes packets, the process says nothing: SIGSTOP, a dead host
    DOWN = "down"  # refuses connections: the process is gone


class Nature(Enum):
    """What a node is, for its whole life."""

    SERVER = "server"
    CLIENT = "client"  # behind NAT: asks only, cannot be dialled, stands in nobody's table
    HOSTILE = "hostile"  # acknowledges what it is given, drops it, and names its like alone


class Observer:
    """Is told how a command goes that was started with it, or what a node does by itself."""

    __slots__ = ()

    def on_progress(self, item: object, now: float) -> None:
        """It found something, or met its quorum."""

    def on_finished(self, event: Finished, now: float) -> None:
        """It has ended for its caller."""

    def on_job_ended(self, event: JobEnded, now: float) -> None:
        """A job that it began has ended: of an announcement, long after its quorum."""

    def on_gone(self) -> None:
        """The node is gone before its end: `on_finished` does not come."""


NOBODY_WATCHES: Final = Observer()


class Conduct:
    """How a node answers; where the network has one for it, in the place of the node's own answers."""

    __slots__ = ()

    def answer(self, node: SimNode, sender: Port, choice: Choice, now: float) -> bytes | None:
        """The reply to a request, None: there is none. Raises PeerFault for what ends the stream."""
        return node.respond(sender, choice, now)


class KnownAddresses:
    """Where a node's peers may be reached, as they said themselves (`core.answers.AddressBook`)."""

    __slots__ = ("_told",)

    def __init__(self) -> None:
        self._told: dict[bytes, PeerInfo] = {}  # by raw id

    def learn(self, peer: PeerInfo) -> bool:
        """What identify told; whether it is other than before."""
        before = self._told.get(peer.peer_id.raw)
        self._told[peer.peer_id.raw] = peer
        return before is not peer and (before is None or before.addrs != peer.addrs)

    def addrs(self, peer_id: PeerId, now: float | None = None) -> Sequence[Multiaddr]:
        """Those of a peer that was connected once."""
        told = self._told.get(peer_id.raw)
        return () if told is None else told.addrs

    def hints_until(self, peer_id: PeerId) -> float:
        """Nothing here is hearsay."""
        return float("inf")


_UP = NodeState.UP  # to ask the Enum's class for it takes longer than all else (CPython 3.11)


class NodeStates:
    """How it stands with every node: the exceptions from a server that is up. Scenarios change these."""

    __slots__ = ("natures", "sides", "slow", "states")

    def __init__(self, carrier: Carrier) -> None:
        self.natures: dict[int, Nature] = {}
        self.states: dict[int, NodeState] = carrier.states
        self.slow = carrier.slow
        self.sides = carrier.sides  # of a partition; nobody else is heard across it

    def nature(self, number: int) -> Nature:
        """What it is."""
        return self.natures.get(number, Nature.SERVER)

    def is_up(self, number: int) -> bool:
        """Whether it says anything."""
        return not self.states or self.states.get(number, _UP) is _UP

    def is_honest_server(self, number: int) -> bool:
        """Whether it does what it should."""
        return self.is_up(number) and self.nature(number) is Nature.SERVER

    def is_answering(self, number: int) -> bool:
        """Whether lookups ought to find it; they cannot tell who is hostile."""
        return self.is_up(number) and self.nature(number) is not Nature.CLIENT

    def is_cut(self, one: int, other: int) -> bool:
        """Whether a partition lies between the two."""
        return bool(self.sides) and self.sides.get(one) != self.sides.get(other)


class SimSurroundings:
    """What a node needs of the network it is in."""

    __slots__ = ()

    population: Population
    kad: KadConfig
    random: Random
    scheduler: Carrier
    standing: NodeStates
    protocols: frozenset[str]
    no_protocols: frozenset[str]
    conducts: dict[int, Conduct]
    observers: dict[int, Observer]
    disks: dict[int, SimDisk]
    disk_random: Random

    def config(self, number: int, client: bool) -> NodeConfig:
        """That of a node."""
        raise NotImplementedError

    def disk_delay(self) -> float:
        """Seconds that a write takes."""
        raise NotImplementedError


class SimNode(Driver):
    """The node, its connections, and its disk if it has one."""

    __slots__ = (
        "_addresses",
        "_armed",
        "_conduct",
        "_disk",
        "_network",
        "_observer",
        "_observers",
        "core",
        "number",
        "port",
    )

    def __init__(self, network: SimSurroundings, number: int, client: bool) -> None:
        """Its table is empty; the network fills it. Offers that its disk holds are taken up."""
        population, now = network.population, network.scheduler.now
        info = population.infos[number]
        self.number = number
        self._network = network
        self._addresses = KnownAddresses()
        self.core = NodeCore(
            population.identity(number),
            network.config(number, client),
            self._addresses,
            now=now,
            entropy=network.random.randbytes,
        )
        """The shipped node."""
        if not client:
            self.core.engine.set_local_addrs(info.addrs)
        protocols = network.no_protocols if client else network.protocols
        self.port = Port(number, info.peer_id, population.block(number), protocols, self)
        """Where requests and replies come in."""
        self._conduct = network.conducts.get(number)
        self._observer = network.observers.get(number, NOBODY_WATCHES)
        self._observers: dict[int, Observer] = {}
        self._armed: float | None = None
        self._disk = network.disks.get(number)
        if self._disk is not None:
            self._disk.restore(self.core, now)
            self.core.keep_changes()

    @property
    def info(self) -> PeerInfo:
        """As others know it once identified."""
        return self.core.engine.local

    # --- what scenarios want of it

    def settle(self) -> None:
        """Its table was filled: it knows what the first lookup of a bootstrap would tell."""
        engine = self.core.engine
        local = engine.local.peer_id
        closest = engine.closest(local.raw, self._network.kad.k)
        engine.knowledge.size.learn(local.key, [peer.peer_id.key for peer in closest])

    def start(self, command: Command, observer: Observer = NOBODY_WATCHES) -> int:
        """Begins a command; its number. Raises CallerFault."""
        number = self.core.start(command, self._network.scheduler.now, observer)
        return self._begun(number, observer)

    def start_job(self, job: Job, observer: Observer = NOBODY_WATCHES) -> int:
        """As `start`, for a job that no command makes."""
        number = self.core.start_job(job, self._network.scheduler.now, observer)
        return self._begun(number, observer)

    def cancel(self, number: int) -> None:
        """The caller of a command is gone."""
        self.core.cancel(number, self._network.scheduler.now)
        self.pump()

    def abandon(self) -> None:
        """Its process ends, and so does whatever it was at."""
        self.port.gone = True
        if self._disk is not None:
            self._disk.crash(self._network.disk_random)
        observers, self._observers = self._observers, {}
        for observer in observers.values():
            observer.on_gone()

    # --- what the network brings

    def identified(self, peer: SimNode) -> None:
        """A connection came up, and identify has told who is at its other end."""
        info, now = peer.info, self._network.scheduler.now
        if self._addresses.learn(info):
            self.core.caches.invalidate(info.peer_id)
        self.core.handle_peer(PeerIdentified(info, peer.port.protocols), now)
        self.pump()

    def disconnected(self, peer_id: PeerId) -> None:
        """The connection to a peer has ended."""
        self.core.handle_peer(PeerDisconnected(peer_id), self._network.scheduler.now)
        self.pump()

    def timer(self, when: float) -> None:
        """The moment `when` has come, unless the node is gone or mute; a timer armed again since is somebody
        else's."""
        network = self._network
        if self._armed != when or self.port.gone or not network.standing.is_up(self.number):
            return
        self._armed = None
        self.core.handle_timer(network.scheduler.now)
        self.pump()

    def persisted(self, ticket: int, changes: Sequence[AnyChange]) -> None:
        """The disk is done with these changes, unless the process has ended."""
        if self.port.gone:
            return
        assert self._disk is not None
        self._disk.write(changes)
        if self._network.standing.is_up(self.number):
            self.core.handle_persisted(ticket, "", self._network.scheduler.now)
            self.pump()

    # --- what the carrier brings

    def answer(self, sender: Port, choice: Choice, now: float) -> bytes | None:
        """The reply to a request; the turn that it calls for has been taken. Raises PeerFault."""
        core = self.core
        try:
            if self._conduct is not None:
                return self._conduct.answer(self, sender, choice, now)
            return core.responders[choice.protocol](sender.peer_id, choice.payload, now, sender.block)
        finally:
            if (
                core.engine.routing.is_timer_moved or core.offers.is_timer_moved
            ):  # `is_turn_wanted`, without a call
                self.pump()

    def respond(self, sender: Port, choice: Choice, now: float) -> bytes | None:
        """The node's own answer."""
        return self.core.responders[choice.protocol](sender.peer_id, choice.payload, now, sender.block)

    def received(self, request_id: int, protocol: str, payload: bytes, now: float) -> None:
        """The reply to one of its requests."""
        self.core.handle_reply(request_id, protocol, payload, now)
        self.pump()

    def failed(self, request_id: int, kind: FailureKind, now: float) -> None:
        """There will be no reply."""
        self.core.handle_failure(request_id, kind, now)
        self.pump()

    # --- Driver

    def pump(self) -> None:
        """Carries out what the node wants, then arms its timer."""
        scheduler = self._network.scheduler
        pump(self.core, self, scheduler.now)
        wanted = self.core.next_timer()
        if self._armed is None or wanted < self._armed:
            self._armed = wanted
            scheduler.at(wanted, self.timer, wanted)

    def send(self, request: SendRequest) -> None:
        self._network.scheduler.send(self.port, request)

    def persist(self, action: Persist) -> None:
        assert self._disk is not None
        scheduler = self._network.scheduler
        done_at = self._disk.begin(action.changes, scheduler.now, self._network.disk_delay())
        scheduler.at(done_at, self.persisted, action.ticket, action.changes)

    def deliver(self, event: Event) -> None:
        _DELIVERIES[type(event)](self, event)

    # --- events

    def _on_progress(self, event: Progress) -> None:
        observer = self._observers.get(event.operation)
        if observer is not None:
            observer.on_progress(event.item, self._network.scheduler.now)

    def _on_finished(self, event: Finished) -> None:
        observer = self._observers.pop(event.operation, None)
        if observer is not None:
            observer.on_finished(event, self._network.scheduler.now)

    def _on_job_ended(self, event: JobEnded) -> None:
        observer = event.tag if isinstance(event.tag, Observer) else self._observer
        observer.on_job_ended(event, self._network.scheduler.now)

    def _on_bug(self, event: BugFound) -> None:
        raise event.error  # in virtual time nothing has to go on

    def _ignore(self, event: Event) -> None:
        """For the operator of a node."""

    def _begun(self, number: int, observer: Observer) -> int:
        self._observers[number] = observer
        self.pump()
        return number


_DELIVERIES: Mapping[type, Callable[[SimNode, Any], None]] = {
    Progress: SimNode._on_progress,
    Finished: SimNode._on_finished,
    JobEnded: SimNode._on_job_ended,
    BugFound: SimNode._on_bug,
    AnnouncingPostponed: SimNode._ignore,
    ClockDiffers: SimNode._ignore,
    OffersRefused: SimNode._ignore,
    KnownAs: SimNode._ignore,
}


def table_random(seed: int, number: int) -> Random:
    """What a node's table is drawn with: the same whenever and in whatever scenario it is built."""
    return Random(seed << 32 | number)
