"""The simulated network: carries the engines' requests in virtual time, as the real shell would over TCP.

A request to a peer without a connection dials first, and a connection that is up is identified by both sides,
who then stand in each other's tables. The same seed gives the same run: every message goes into a digest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from fastmarket._eventqueue import EventQueue
from fastmarket._simnet import MessageLog
from fastmarket.config import KadConfig, OfferConfig
from fastmarket.errors import PeerFault
from fastmarket.formats.choice import Choice, FailureKind
from fastmarket.kad.events import SendRequest
from fastmarket.sim.conditions import Conditions, Latency
from fastmarket.sim.node import Link, Nature, SimNode, State, table_random
from fastmarket.sim.population import Population
from fastmarket.sim.traffic import Traffic, wire_bytes

_NOBODY = 0xFFFFFFFF
# To ask an Enum's class for a member takes longer than most of what happens to a message (CPython 3.11).
_UP, _SILENT, _DOWN = State.UP, State.SILENT, State.DOWN
# Any date will do; the engine takes unix seconds.
START = 1_700_000_000.0


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for a whole network."""

    seed: int = 1
    conditions: Conditions = field(default_factory=Conditions)
    kad: KadConfig = field(default_factory=KadConfig)
    offers: OfferConfig = field(default_factory=OfferConfig)


class Standing:
    """How it stands with every node: the exceptions from a server that is up. Scenarios change it."""

    __slots__ = ("natures", "regions", "sides", "slow", "states")

    def __init__(self, nodes: int, latency: Latency, random: Random) -> None:
        self.natures: dict[int, Nature] = {}
        self.states: dict[int, State] = {}
        self.slow: set[int] = set()
        self.sides: dict[int, int] = {}  # of a partition; nobody else is heard across it
        self.regions = bytes(latency.region(random) for _ in range(nodes))

    def nature(self, number: int) -> Nature:
        """What it is."""
        return self.natures.get(number, Nature.SERVER)

    def up(self, number: int) -> bool:
        """Whether it says anything."""
        return not self.states or self.states.get(number, _UP) is _UP

    def honest_server(self, number: int) -> bool:
        """Whether it does what it should."""
        return self.up(number) and self.nature(number) is Nature.SERVER

    def answers(self, number: int) -> bool:
        """Whether lookups ought to find it; they cannot tell who is hostile."""
        return self.up(number) and self.nature(number) is not Nature.CLIENT

    def cut(self, one: int, other: int) -> bool:
        """Whether a partition lies between the two."""
        return bool(self.sides) and self.sides.get(one) != self.sides.get(other)


class _Exchange:
    """One request on its way; exactly one outcome reaches the engine."""

    __slots__ = ("action", "node", "over", "target")

    def __init__(self, node: SimNode, action: SendRequest, target: int) -> None:
        self.node = node
        self.action = action
        self.target = target
        self.over = False


class Network:
    """Nodes by number, and everything between them.

    A node's engine and table come into being when it is first touched: by a job of its own, a request or a
    connection. Until then it costs its id and address.
    """

    def __init__(self, population: Population, rules: Rules) -> None:
        self.population = population
        self.rules = rules
        self.kad = rules.kad
        self.offers = rules.offers
        self.random = Random(rules.seed)
        self.scheduler = EventQueue(START)
        self.started = self.scheduler.now
        self.latency = Latency(rules.conditions, self.random)
        self._between = self.latency.between
        self._at = self.scheduler.at
        self._after = self.scheduler.after
        self._draw = self.random.random
        self._loss = rules.conditions.loss
        self._idle_s = rules.conditions.idle_timeout_s
        self.standing = Standing(len(population), self.latency, Random(f"{rules.seed} regions"))
        self.traffic = Traffic()
        self.kads: dict[int, KadConfig] = {}
        """Of nodes with parameters of their own, which count when the node comes into being."""
        self.nodes: dict[int, SimNode] = {}
        self.made = 0
        """Nodes that have come into being, one that came back counted anew."""
        self.created: Callable[[SimNode], None] = lambda node: None
        """Told of every node that comes into being."""
        self._log = MessageLog()
        self._note = self._log.note

    @property
    def trace_hash(self) -> str:
        """Of every message and outcome so far, with their times."""
        return self._log.hexdigest()

    def node(self, number: int) -> SimNode:
        """The node; made, with the table a converged network gives it, when it is first asked for."""
        node = self.nodes.get(number)
        if node is None:
            node = self.create(number)
            random = table_random(self.rules.seed, number)
            self.population.fill(node.engine.routing, number, self.kad, self.scheduler.now, random)
            node.settle()
        return node

    def create(self, number: int) -> SimNode:
        """A fresh node with an empty table, in the place of any that was; it knows and holds nothing."""
        before = self.nodes.get(number)
        if before is not None:
            before.gone = True
        node = self.nodes[number] = SimNode(self, number, self.standing.nature(number) is Nature.CLIENT)
        self.made += 1
        self.created(node)
        return node

    def remove(self, number: int) -> None:
        """A node's process ends: its state and connections are gone."""
        node = self.nodes.pop(number, None)
        if node is not None:
            node.abandon()
            for other in node.links:
                peer = self.nodes.get(other)
                if peer is not None and peer.links.pop(number, None) is not None:
                    peer.engine.peer_disconnected(self.population.infos[number].peer_id, self.scheduler.now)

    def close(self) -> None:
        """End: nodes and what was still to happen are gone, counts stay."""
        for node in self.nodes.values():
            node.gone = True
        self.nodes.clear()
        self.scheduler.clear()

    # --- for nodes

    def send(self, node: SimNode, action: SendRequest) -> None:
        """Carry a request; its outcome comes by its deadline."""
        target = self.population.number(action.peer.peer_id)
        exchange = _Exchange(node, action, _NOBODY if target is None else target)
        standing, here, now = self.standing, node.number, self.scheduler.now
        self._note(now, ">", here, exchange.target, action.request_id)
        self.traffic.requests += 1
        if target is None:
            self._end_after(self._way(here, here), exchange, FailureKind.UNREACHABLE)
            return
        state = standing.states.get(target, _UP) if standing.states else _UP
        if state is _SILENT or standing.cut(here, target):
            self._time_out(exchange)
            return
        link = self._link(node, target, now)
        if state is _DOWN or (link is None and not self._dialable(exchange)):
            self._end_after(2 * self._way(here, target), exchange, FailureKind.UNREACHABLE)
            return
        if link is None:
            link = self._dial(node, target)
        leaves = link.up_at if link.up_at > now else now
        link.used_at = leaves
        if self._loss and self._draw() < self._loss:
            self._time_out(exchange)
            return
        arrives = leaves + self._way(here, target)
        if arrives > action.deadline:
            self._time_out(exchange)
        self._at(arrives, self._arrive, exchange)

    def timer(self, node: SimNode, when: float) -> None:
        """A node's timer, unless it is gone or mute."""
        if not node.gone and self.standing.up(node.number):
            node.timer(when)

    # --- private

    def _way(self, here: int, there: int) -> float:
        return self._between(self.standing.regions, here, there)

    def _link(self, node: SimNode, target: int, now: float) -> Link | None:
        link = node.links.get(target)
        if link is not None and link.used_at + self._idle_s < now:
            del node.links[target]
            peer = self.nodes.get(target)
            if peer is not None:
                peer.links.pop(node.number, None)
            return None
        return link

    def _dialable(self, exchange: _Exchange) -> bool:
        """Whether the addresses that the request came with lead to its peer."""
        if self.standing.nature(exchange.target) is Nature.CLIENT:
            return False
        info, named = self.population.infos[exchange.target], exchange.action.peer
        return info is named or any(addr in named.addrs for addr in info.addrs)

    def _dial(self, node: SimNode, target: int) -> Link:
        self.traffic.connections += 1
        now, here = self.scheduler.now, node.number
        takes = 0.0
        for _ in range(2 * self.rules.conditions.dial_round_trips):
            takes += self._way(here, target)
        link = Link(now + takes, now)
        node.links[target] = self.node(target).links[here] = link
        # Identify is asked for when the connection is up, and answered a round trip later.
        told_at = link.up_at + self._way(here, target) + self._way(target, here)
        self._at(told_at, self._identify, node, target, link)
        return link

    def _identify(self, node: SimNode, target: int, link: Link) -> None:
        peer = self.nodes.get(target)
        if peer is None or peer.links.get(node.number) is not link or self.nodes.get(node.number) is not node:
            return
        if self.standing.up(target) and self.standing.up(node.number):
            node.identified(peer)
            peer.identified(node)

    def _arrive(self, exchange: _Exchange) -> None:
        standing, number, here = self.standing, exchange.target, exchange.node.number
        if not standing.up(number) or standing.cut(here, number):
            self._time_out(exchange)
            return
        target, action, now = self.node(number), exchange.action, self.scheduler.now
        back = self._way(number, here)
        if number in standing.slow:
            back += self.random.uniform(*self.rules.conditions.slow_delay_s)
        for choice in action.choices:
            if choice.protocol in target.protocols:
                break
        else:
            self._end_after(back, exchange, FailureKind.REFUSED)
            return
        self.traffic.bytes += wire_bytes(choice.payload)
        reset = False
        try:
            reply = target.answer(exchange.node.engine.local.peer_id, choice, now)
        except PeerFault:
            reply, reset = None, True
        target.answered(choice)
        if not choice.expects_reply:
            self._succeed(exchange, choice, b"")
        elif reset:
            self._end_after(back, exchange, FailureKind.RESET)
        elif reply is None:
            self._time_out(exchange)
        else:
            self.traffic.replies += 1
            self.traffic.bytes += wire_bytes(reply)
            lost = self._loss and self._draw() < self._loss
            if lost or now + back > action.deadline:
                self._time_out(exchange)
            if not lost:
                self._after(back, self._succeed, exchange, choice, reply)

    def _succeed(self, exchange: _Exchange, choice: Choice, payload: bytes) -> None:
        if exchange.over:
            return
        node, now = exchange.node, self.scheduler.now
        if self.standing.cut(node.number, exchange.target):
            self._time_out(exchange)
        elif self._ends("<", exchange):
            node.engine.receive_reply(exchange.action.request_id, choice.protocol, payload, now)
            node.pump()

    def _time_out(self, exchange: _Exchange) -> None:
        """No outcome will come before the request's deadline."""
        self._at(exchange.action.deadline, self._fail, exchange, FailureKind.TIMEOUT)

    def _end_after(self, delay_s: float, exchange: _Exchange, kind: FailureKind) -> None:
        """The request fails in a while, or at its deadline if that is sooner."""
        deadline = exchange.action.deadline
        if self.scheduler.now + delay_s > deadline:
            self._time_out(exchange)
        else:
            self._after(delay_s, self._fail, exchange, kind)

    def _fail(self, exchange: _Exchange, kind: FailureKind) -> None:
        if exchange.over:
            return
        self.traffic.failures[kind.value] += 1
        if self._ends("!", exchange):
            exchange.node.engine.request_failed(exchange.action.request_id, kind, self.scheduler.now)
            exchange.node.pump()

    def _ends(self, what: str, exchange: _Exchange) -> bool:
        """This is the request's outcome; whether somebody is there to take it."""
        exchange.over = True
        node = exchange.node
        self._note(self.scheduler.now, what, node.number, exchange.target, exchange.action.request_id)
        return not node.gone and self.standing.up(node.number)
