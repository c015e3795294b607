"""A simulated node: the whole shipped node, driven in virtual time by the network."""

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
from fastmarket.formats.kad_key import RawKey, kad_key
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.events import SendRequest
from fastmarket.kad.jobs import Job
from fastmarket.native.sim_net import Carrier, Port
from fastmarket.offers.store.changes import AnyChange
from fastmarket.sim.disk import SimDisk
from fastmarket.sim.keyspace import KEY_BYTES
from fastmarket.sim.population import Population


class NodeState(Enum):
    """What a node does with incoming messages; set by scenarios."""

    UP = "up"
    SILENT = "silent"  # its machine receives packets, the process does not answer: SIGSTOP, a dead host
    DOWN = "down"  # refuses connections: the process is gone


class Nature(Enum):
    """The kind of a node, for its whole life."""

    SERVER = "server"
    CLIENT = "client"  # behind NAT: only queries, cannot be dialed, is in no table
    HOSTILE = "hostile"  # acknowledges requests to store, drops the data, names only its like


class Observer:
    """Learns about a command that was started with it, or about what a node does by itself."""

    __slots__ = ()

    def on_progress(self, item: object, now: float) -> None:
        """An item of progress, or the quorum."""

    def on_finished(self, event: Finished, now: float) -> None:
        """The command ended for its caller."""

    def on_job_ended(self, event: JobEnded, now: float) -> None:
        """One of its jobs ended; for an announcement, long after the quorum."""

    def on_gone(self) -> None:
        """The node has gone before the end; `on_finished` is not called."""


UNOBSERVED: Final = Observer()
SETTLED_BUCKETS: Final = 6  # in a network of 10,000 nodes some nine are not empty, and each is refreshed


class Conduct:
    """How a node answers, if not like the shipped one."""

    __slots__ = ()

    def answer(self, node: SimNode, sender: Port, choice: Choice, now: float) -> bytes | None:
        """The reply to a request; None: no reply. Raises PeerFault to reset the stream."""
        return node.respond(sender, choice, now)


class KnownAddresses:
    """Addresses of a node's peers, from identify (`core.answers.AddressBook`)."""

    __slots__ = ("_told",)

    def __init__(self) -> None:
        self._told: dict[bytes, PeerInfo] = {}  # by raw id

    def learn(self, peer: PeerInfo) -> bool:
        """Takes an identify; returns whether anything has changed."""
        raw = peer.peer_id.raw
        before = self._told.get(raw)
        self._told[raw] = peer
        return before is not peer and (before is None or before.addrs != peer.addrs)

    def addrs(self, peer_id: PeerId, now: float | None = None) -> Sequence[Multiaddr]:
        """Addresses of a peer that was connected before."""
        told = self._told.get(peer_id.raw)
        return () if told is None else told.addrs

    def hints_until(self, peer_id: PeerId) -> float:
        """Never: there is no hearsay here."""
        return float("inf")


# Looking up an Enum's member takes longer than everything else (CPython 3.11).
_UP: Final = NodeState.UP
_CLIENT: Final = Nature.CLIENT


class NodeStates:
    """The state of every node, as exceptions from a server that is up. Scenarios change them."""

    __slots__ = ("natures", "sides", "slow", "states")

    def __init__(self, carrier: Carrier) -> None:
        self.natures: dict[int, Nature] = {}
        self.states: dict[int, NodeState] = carrier.states
        self.slow = carrier.slow
        self.sides = carrier.sides  # of a partition; no messages cross it

    def nature(self, number: int) -> Nature:
        """The kind of a node."""
        return self.natures.get(number, Nature.SERVER)

    def is_up(self, number: int) -> bool:
        """Whether it answers at all."""
        return not self.states or self.states.get(number, _UP) is _UP

    def is_honest_server(self, number: int) -> bool:
        """Whether it behaves correctly."""
        return self.is_up(number) and self.nature(number) is Nature.SERVER

    def is_answering(self, number: int) -> bool:
        """Whether lookups should find it; they cannot tell malicious nodes apart."""
        return self.natures.get(number) is not _CLIENT and (not self.states or self.is_up(number))

    def is_cut(self, one: int, other: int) -> bool:
        """Whether a partition separates the two."""
        return bool(self.sides) and self.sides.get(one) != self.sides.get(other)


class SimSurroundings:
    """What a node needs from its network."""

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
        """The configuration of a node."""
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
        """The table is empty, to be filled by the network. Offers on its disk are restored."""
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
        """Where requests and replies arrive."""
        self._conduct = network.conducts.get(number)
        self._observer = network.observers.get(number, UNOBSERVED)
        self._observers: dict[int, Observer] = {}
        self._armed: float | None = None
        self._disk = network.disks.get(number)
        if self._disk is not None:
            self._disk.restore(self.core, now)
            self.core.keep_changes()

    @property
    def info(self) -> PeerInfo:
        """Its peer info, as others learn it from identify."""
        return self.core.engine.local

    # --- used by scenarios

    def settle(self, random: Random) -> None:
        """The table has been filled: sets what the lookups of a bootstrap would have learned, of its own key
        and of one in each of the first buckets."""
        engine, population, k = self.core.engine, self._network.population, self._network.kad.k
        local, size = engine.local.peer_id, engine.knowledge.size
        size.learn(local.key, [peer.peer_id.key for peer in engine.closest(local.raw, k)])
        for _ in range(SETTLED_BUCKETS):
            target = kad_key(RawKey(random.randbytes(KEY_BYTES)))
            closest = population.servers.closest(target, k)
            size.learn(target, [population.infos[one].peer_id.key for one in closest])

    def start(self, command: Command, observer: Observer = UNOBSERVED) -> int:
        """Starts a command and returns its number. Raises CallerFault."""
        number = self.core.start(command, self._network.scheduler.now, observer)
        return self._begun(number, observer)

    def start_job(self, job: Job, observer: Observer = UNOBSERVED) -> int:
        """Like `start`, for a job without a command."""
        number = self.core.start_job(job, self._network.scheduler.now, observer)
        return self._begun(number, observer)

    def cancel(self, number: int) -> None:
        """The caller of a command has gone."""
        self.core.cancel(number, self._network.scheduler.now)
        self.pump()

    def abandon(self) -> None:
        """The process ends, with everything in progress."""
        self.port.gone = True
        if self._disk is not None:
            self._disk.crash(self._network.disk_random)
        observers, self._observers = self._observers, {}
        for observer in observers.values():
            observer.on_gone()

    # --- events from the network

    def identified(self, peer: SimNode) -> None:
        """A connection is up, and the other end is identified."""
        info, now = peer.info, self._network.scheduler.now
        if self._addresses.learn(info):
            self.core.caches.invalidate(info.peer_id)
        self.core.handle_peer(PeerIdentified(info, peer.port.protocols), now)
        self.pump()

    def disconnected(self, peer_id: PeerId) -> None:
        """The connection to a peer ended."""
        self.core.handle_peer(PeerDisconnected(peer_id), self._network.scheduler.now)
        self.pump()

    def timer(self, when: float) -> None:
        """The timer for `when` fires, unless the node has gone or is silent; a timer that was replaced since
        is ignored."""
        network = self._network
        if self._armed != when or self.port.gone or not network.standing.is_up(self.number):
            return
        self._armed = None
        self.core.handle_timer(network.scheduler.now)
        self.pump()

    def persisted(self, ticket: int, changes: Sequence[AnyChange]) -> None:
        """The disk has written these changes, unless the process has ended."""
        if self.port.gone:
            return
        assert self._disk is not None
        self._disk.write(changes)
        if self._network.standing.is_up(self.number):
            self.core.handle_persisted(ticket, "", self._network.scheduler.now)
            self.pump()

    # --- events from the carrier

    def answer(self, sender: Port, choice: Choice, now: float) -> bytes | None:
        """The reply to a request, after the turn that it requires. Raises PeerFault."""
        try:
            if self._conduct is not None:
                return self._conduct.answer(self, sender, choice, now)
            return self.core.responders[choice.protocol](sender.peer_id, choice.payload, now, sender.block)
        finally:
            if self.core.turn.is_wanted:
                self.pump()

    def respond(self, sender: Port, choice: Choice, now: float) -> bytes | None:
        """The shipped node's answer."""
        return self.core.responders[choice.protocol](sender.peer_id, choice.payload, now, sender.block)

    def received(self, request_id: int, protocol: str, payload: bytes, now: float) -> None:
        """The reply to one of its requests."""
        self.core.handle_reply(request_id, protocol, payload, now)
        self.pump()

    def failed(self, request_id: int, kind: FailureKind, now: float) -> None:
        """One of its requests failed."""
        self.core.handle_failure(request_id, kind, now)
        self.pump()

    # --- Driver

    def pump(self) -> None:
        """Executes what the node wants, then arms its timer."""
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
        raise event.error  # a bug ends the run

    def _ignore(self, event: Event) -> None:
        """Only of interest to the operator of a real node."""

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
    """The random generator of a node's table: the same whenever and in whichever scenario it is built."""
    return Random(seed << 32 | number)
