"""One simulated node: the shipped engine and offer protocol, driven as the real shell drives them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from enum import Enum
from random import Random
from typing import Protocol

from fastmarket.config import KadConfig, OfferConfig
from fastmarket.errors import Busy
from fastmarket.formats.choice import Choice
from fastmarket.formats.identity import PeerId
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.engine import Engine, Mode
from fastmarket.kad.events import JobFault, JobFinished, JobProgress
from fastmarket.kad.jobs import Job
from fastmarket.kad.records.put_job import PutResult
from fastmarket.native.sim_net import Carrier, Port
from fastmarket.offers.announce.sweep import SweepResult
from fastmarket.offers.model.offer import Offer, OfferTerms
from fastmarket.offers.protocol import Announcement, Handover, OfferProtocol, Sweep
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


@dataclass(frozen=True, slots=True)
class JobWatch:
    """Who wants to know about a job; both are called with what it is and when."""

    result: Callable[[object, float], None]
    progress: Callable[[object, float], None] = lambda item, now: None
    gone: Callable[[], None] = lambda: None
    """Told when the node is gone before the job has ended: there will be no result."""


class Surroundings(Protocol):
    """What a node needs of the network it is in."""

    population: Population
    kads: dict[int, KadConfig]
    kad: KadConfig
    offers: OfferConfig
    random: Random
    scheduler: Carrier

    def timer(self, node: SimNode, when: float) -> None:
        """A timer of that node has come."""


Answerer = Callable[[PeerId, Choice, float], bytes | None]


class SimNode:
    """The engine, the offers and the connections of one node."""

    __slots__ = (
        "_announcing",
        "_armed",
        "_hurried",
        "_network",
        "_offers",
        "_protocols",
        "_watches",
        "engine",
        "number",
        "port",
        "swept",
    )

    def __init__(self, network: Surroundings, number: int, client: bool) -> None:
        """Its table is empty; the network fills it."""
        info = network.population.infos[number]
        self.number = number
        kad = network.kads.get(number, network.kad)
        self.engine = Engine(kad, info.peer_id, now=network.scheduler.now, entropy=network.random.randbytes)
        self.engine.mode = Mode.CLIENT if client else Mode.SERVER
        if not client:
            self.engine.set_local_addrs(info.addrs)
        self._protocols = (
            frozenset() if client else frozenset({network.kad.protocol, network.offers.protocol})
        )
        self.port = port = Port(number, info.peer_id)
        """Where requests and replies come in."""
        port.protocols = self._protocols
        port.answer = self._answer
        port.answered = self._answered
        port.received = self.engine.receive_reply
        port.failed = self.engine.request_failed
        port.pump = self.pump
        self.swept: Callable[[SweepResult], None] = lambda result: None
        """Told how every sweep ended."""
        self._network = network
        self._offers: OfferProtocol | None = None
        self._watches: dict[int, JobWatch] = {}
        self._announcing: dict[int, Announcement | Sweep | Handover] = {}
        self._armed: float | None = None
        self._hurried = False
        self.engine.routing.on_hurry = self._hurry

    @property
    def answer(self) -> Answerer:
        """How requests are answered; raises PeerFault for what ends the stream."""
        return self.port.answer

    @answer.setter
    def answer(self, answer: Answerer) -> None:
        self.port.answer = answer

    @property
    def info(self) -> PeerInfo:
        """As others know it once identified."""
        return self.engine.local

    @property
    def protocols(self) -> Collection[str]:
        """As identify lists them."""
        return self._protocols

    @property
    def offers(self) -> OfferProtocol:
        """The offer protocol; it comes into being when first wanted."""
        if self._offers is None:
            network = self._network
            identity = network.population.identity(self.number)
            self._offers = OfferProtocol(identity, self.engine, network.offers)
            self._offers.neighbours(self.engine.table_size, network.scheduler.now)
        return self._offers

    # --- what scenarios want of it

    def settle(self) -> None:
        """Its table was filled: it knows what the first lookup of a bootstrap would tell."""
        local = self.engine.local.peer_id
        closest = self.engine.closest(local.raw, self._network.kad.k)
        self.engine.learnt.size.learn(local.key, [peer.peer_id.key for peer in closest])

    def start(self, job: Job, watch: JobWatch) -> int:
        """Run a job from now on. Raises Busy."""
        job_id = self.engine.start(job, self._network.scheduler.now)
        self._watches[job_id] = watch
        self.pump()
        return job_id

    def register(self, terms: OfferTerms, watch: JobWatch) -> Offer:
        """Announce an offer now and from now on; `watch` sees the first announcement."""
        announcement = self.offers.register(terms, self._network.scheduler.now)
        self._announce(announcement, watch)
        self.pump()
        return announcement.offer

    def register_many(self, many: Sequence[OfferTerms], watch: JobWatch) -> None:
        """Announce many offers at once, and from now on; `watch` sees the first sweep."""
        self._announce(self.offers.register_many(many, self._network.scheduler.now), watch)
        self.pump()

    def find(self, content: bytes, watch: JobWatch) -> None:
        """Look for a content's offers."""
        self.start(self.offers.find(content), watch)

    def abandon(self) -> None:
        """Its process ends, and so does whatever it was at."""
        self.port.gone = True
        watches, self._watches = self._watches, {}
        for watch in watches.values():
            watch.gone()

    # --- what the network brings

    def identified(self, peer: SimNode) -> None:
        """A connection came up, and identify has told who is at its other end."""
        now = self._network.scheduler.now
        self.engine.peer_identified(peer.info, peer.protocols, now)
        if self._offers is not None:
            self._offers.neighbours(self.engine.table_size, now)
        self.pump()

    def timer(self, when: float) -> None:
        """The moment `when` has come; a timer armed anew since is somebody else's."""
        if self._armed != when:
            return
        self._armed = None
        now = self._network.scheduler.now
        self.engine.handle_timer(now)
        if self._offers is not None:
            self._offers.handle_timer(now)
        self.pump()

    def _answered(self, choice: Choice) -> None:
        """A request was; a Kademlia one calls for no turn unless it set something off, as in the shell."""
        if self._hurried or choice.protocol != self._network.kad.protocol:
            self._hurried = False
            self.pump()

    def _hurry(self) -> None:
        self._hurried = True

    def pump(self) -> None:
        """Carry out what the engine and the offers want, then arm their timer."""
        network, engine = self._network, self.engine
        if self._offers is not None:
            for wanted_job in self._offers.poll_jobs(network.scheduler.now):
                self._announce(wanted_job, None)
        for action in engine.poll_actions():
            network.scheduler.send(self.port, action)
        for event in engine.poll_events():
            if isinstance(event, JobFinished):
                self._finished(event.job_id, event.result, network.scheduler.now)
            elif isinstance(event, JobProgress) and (watch := self._watches.get(event.job_id)):
                watch.progress(event.item, network.scheduler.now)
            elif isinstance(event, JobFault):
                raise event.error  # a bug: in virtual time nothing has to go on
        wanted = engine.next_timer()
        if self._offers is not None and (own := self._offers.next_timer()) is not None:
            wanted = own if wanted is None or own < wanted else wanted
        if wanted is not None and (self._armed is None or wanted < self._armed):
            self._armed = wanted
            network.scheduler.at(wanted, network.timer, self, wanted)

    # --- private

    def _answer(self, sender: PeerId, choice: Choice, now: float) -> bytes | None:
        if choice.protocol == self._network.offers.protocol:
            return self.offers.handle_request(sender, choice.payload, now)
        return self.engine.handle_request(sender, choice.payload, now)

    def _announce(self, wanted: Announcement | Sweep | Handover, watch: JobWatch | None) -> None:
        now = self._network.scheduler.now
        try:
            job_id = self.engine.start(wanted.job, now)
        except Busy:
            self._ended(wanted, None, now)
            return
        self._announcing[job_id] = wanted
        if watch is not None:
            self._watches[job_id] = watch

    def _ended(self, wanted: Announcement | Sweep | Handover, result: object, now: float) -> None:
        if isinstance(wanted, Sweep):
            assert result is None or isinstance(result, SweepResult)
            self.offers.swept(wanted, result, now)
            if result is not None:
                self.swept(result)
        elif isinstance(wanted, Handover):
            assert result is None or isinstance(result, int)
            self.offers.handed_over(wanted, result, now)
        else:
            assert result is None or isinstance(result, PutResult)
            self.offers.announced(wanted.offer, result, now)

    def _finished(self, job_id: int, result: object, now: float) -> None:
        wanted = self._announcing.pop(job_id, None)
        if wanted is not None:
            self._ended(wanted, result, now)
        watch = self._watches.pop(job_id, None)
        if watch is not None:
            watch.result(result, now)


def table_random(seed: int, number: int) -> Random:
    """What a node's table is drawn with: the same whenever and in whatever scenario it is built."""
    return Random(seed << 32 | number)
