"""A network in memory: real engines and offer protocols, requests delivered in virtual time."""

from __future__ import annotations

import heapq
from collections import defaultdict
from dataclasses import dataclass, field
from hashlib import sha256
from random import Random

from fastmarket.config import KadConfig, OfferConfig
from fastmarket.errors import PeerFault
from fastmarket.formats.choice import FailureKind
from fastmarket.formats.identity import Identity, PeerId
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.engine import Engine
from fastmarket.kad.events import JobFault, JobFinished, JobProgress, SendRequest
from fastmarket.kad.jobs import Job
from fastmarket.offers.model.metadata import FileMetadata
from fastmarket.offers.model.offer import OfferTerms
from fastmarket.offers.protocol import OfferProtocol

START = 1_700_000_000.0
CONTENT = b"\x12\x20" + sha256(b"content").digest()


def identity(n: int) -> Identity:
    return Identity.from_seed(sha256(b"peer %d" % n).digest())


def terms(price: int = 5, *, content: bytes = CONTENT, user: bytes = b"u", port: int = 4000) -> OfferTerms:
    return OfferTerms(content, user, "someone", FileMetadata("192.0.2.7", port, price))


@dataclass
class MemoryNode:
    """`offers` None: a standard libp2p node. `alive` False: gone. `silent`: takes requests, never answers."""

    identity: Identity
    engine: Engine
    offers: OfferProtocol | None
    info: PeerInfo
    alive: bool = True
    silent: bool = False
    progress: dict[int, list[object]] = field(default_factory=lambda: defaultdict(list))
    results: dict[int, object] = field(default_factory=dict)
    served: list[str] = field(default_factory=list)

    @property
    def peer_id(self) -> PeerId:
        return self.identity.peer_id

    @property
    def protocols(self) -> list[str]:
        return [self.engine.config.protocol, *([self.offers.config.protocol] if self.offers else [])]

    def answer(self, sender: PeerId, protocol: str, payload: bytes, now: float) -> bytes | None:
        self.served.append(protocol)
        if self.offers is not None and protocol == self.offers.config.protocol:
            return self.offers.handle_request(sender, payload, now)
        return self.engine.handle_request(sender, payload, now)


class MemoryNetwork:
    """Delivery is immediate; time passes only where everybody waits for it."""

    def __init__(self, *, kad: KadConfig | None = None, offers: OfferConfig | None = None) -> None:
        self.now = START
        self.nodes: dict[PeerId, MemoryNode] = {}
        self._kad = kad or KadConfig()
        self._offers = offers or OfferConfig()
        self._random = Random(7)
        self._lost: list[tuple[float, int, MemoryNode, int]] = []

    def add(self, *, plain: bool = False) -> MemoryNode:
        """A node that knows nobody."""
        n = len(self.nodes) + 1
        who = identity(n)
        engine = Engine(self._kad, who.peer_id, now=self.now, entropy=self._random.randbytes)
        info = PeerInfo(who.peer_id, (Multiaddr.from_text(f"/ip4/192.0.2.{n % 250}/tcp/{4000 + n}"),))
        engine.set_local_addrs(info.addrs)
        offers = None if plain else OfferProtocol(who, engine, self._offers)
        node = MemoryNode(who, engine, offers, info)
        self.nodes[who.peer_id] = node
        return node

    def join(self, *nodes: MemoryNode) -> None:
        """Everybody given knows everybody else given."""
        for node in nodes:
            for other in nodes:
                if node is not other:
                    node.engine.on_peer_identified(other.info, other.protocols, self.now)
        for node in nodes:
            if node.offers is not None:
                for newcomer in node.engine.take_newcomers():
                    node.offers.handovers.on_newcomer(*newcomer)
                node.offers.on_table_size(node.engine.table_size, self.now)

    def mesh(self, count: int, *, plain: int = 0) -> list[MemoryNode]:
        """`count` nodes of which the last `plain` are standard ones, all acquainted."""
        nodes = [self.add(plain=index >= count - plain) for index in range(count)]
        self.join(*nodes)
        return nodes

    def start(self, node: MemoryNode, job: Job) -> int:
        """Start a job and deliver all that can be without time passing."""
        job_id = node.engine.start(job, self.now)
        self.deliver()
        return job_id

    def run(self, node: MemoryNode, job: Job) -> tuple[list[object], object]:
        """The progress and the result of a job, however much time it takes."""
        job_id = self.start(node, job)
        while job_id not in node.results:
            self.pass_time()
        return node.progress[job_id], node.results[job_id]

    def deliver(self) -> None:
        busy = True
        while busy:
            busy = False
            for node in self.nodes.values():
                for action in node.engine.poll_actions():
                    self._send(node, action)
                    busy = True
                self._collect(node)

    def pass_time(self) -> None:
        """To the next moment at which anything is due."""
        timers = [node.engine.next_timer() for node in self.nodes.values() if node.alive]
        lost = [self._lost[0][0]] if self._lost else []
        self.move_to(max(self.now, min([when for when in timers if when is not None] + lost)))

    def move_to(self, now: float) -> None:
        self.now = now
        while self._lost and self._lost[0][0] <= now:
            _, _, sender, request_id = heapq.heappop(self._lost)
            sender.engine.handle_failure(request_id, FailureKind.TIMEOUT, now)
        for node in self.nodes.values():
            if node.alive:
                node.engine.handle_timer(now)
        self.deliver()

    def _send(self, sender: MemoryNode, action: SendRequest) -> None:
        engine, request_id = sender.engine, action.request_id
        target = self.nodes.get(action.peer.peer_id)
        if target is None or not target.alive:
            engine.handle_failure(request_id, FailureKind.GONE, self.now)
            return
        if target.silent:
            heapq.heappush(self._lost, (action.deadline, request_id, sender, request_id))
            return
        choice = next((c for c in action.choices if c.protocol in target.protocols), None)
        if choice is None:
            engine.handle_failure(request_id, FailureKind.REFUSED, self.now)
            return
        try:
            reply = target.answer(sender.peer_id, choice.protocol, choice.payload, self.now)
        except PeerFault:
            engine.handle_failure(request_id, FailureKind.RESET, self.now)
            return
        if reply is not None or not choice.expects_reply:
            engine.handle_reply(request_id, choice.protocol, reply or b"", self.now)

    def _collect(self, node: MemoryNode) -> None:
        for event in node.engine.poll_events():
            if isinstance(event, JobProgress):
                node.progress[event.job_id].append(event.item)
            elif isinstance(event, JobFault):
                raise event.error
            elif isinstance(event, JobFinished):
                node.results[event.job_id] = event.result
