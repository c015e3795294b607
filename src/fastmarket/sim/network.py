"""The simulated network: carries the nodes' requests in virtual time, as `net/` does over TCP.

A request to a peer without a connection dials first. When a connection is up, both sides identify each other
and enter each other's tables. Runs with the same seed are identical: a digest covers every message.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random
from typing import Final

from fastmarket.config import KadConfig, NodeConfig, OfferConfig
from fastmarket.errors import PeerFault
from fastmarket.formats.choice import FailureKind
from fastmarket.native.sim_net import Carrier, Exchange, Port, SimLink
from fastmarket.sim.conditions import Conditions, Latency
from fastmarket.sim.disk import SimDisk
from fastmarket.sim.node import (
    Conduct,
    Nature,
    NodeState,
    NodeStates,
    Observer,
    SimNode,
    SimSurroundings,
    table_random,
)
from fastmarket.sim.population import Population
from fastmarket.sim.traffic import FRAME_BYTES, MessageCounts

_CLIENT: Final = Nature.CLIENT
# Failures of requests in this network: no answer, peer unreachable, refused, stream reset.
_KINDS = (FailureKind.TIMEOUT, FailureKind.UNREACHABLE, FailureKind.REFUSED, FailureKind.RESET)
# Any date will do; the engine expects unix seconds.
START = 1_700_000_000.0


@dataclass(frozen=True, slots=True)
class Rules:
    """Settings of a whole network."""

    seed: int = 1
    conditions: Conditions = field(default_factory=Conditions)
    kad: KadConfig = field(default_factory=KadConfig)
    offers: OfferConfig = field(default_factory=OfferConfig)


class Network(SimSurroundings):
    """Nodes by number, and everything between them.

    A node and its table are created when it is first touched: by a command, a request or a connection. Before
    that it only has an id and an address. What is in `kads`, `conducts`, `observers` and `disks` applies from
    then on.
    """

    def __init__(self, population: Population, rules: Rules) -> None:
        self.population = population
        self.rules = rules
        self.kad = rules.kad
        self.offers = rules.offers
        self.random = random = Random(rules.seed)
        conditions, latency = rules.conditions, Latency(rules.conditions, random)
        placed = Random(f"{rules.seed} regions")
        self.regions = bytes(latency.region(placed) for _ in range(len(population)))
        """The region of each node."""
        self.scheduler = Carrier(
            START,
            latency.ways,
            self.regions,
            random.random,
            network=self,
            numbers=population.numbers,
            loss=conditions.loss,
            idle_s=conditions.idle_timeout_s,
            frame_bytes=FRAME_BYTES,
            states=(NodeState.UP, NodeState.SILENT, NodeState.DOWN),
            kinds=_KINDS,
            fault=PeerFault,
        )
        self.started = self.scheduler.now
        self.standing = NodeStates(self.scheduler)
        self.traffic = MessageCounts(self.scheduler)
        self.kads: dict[int, KadConfig] = {}
        """Parameters of nodes that differ from the others."""
        self.conducts: dict[int, Conduct] = {}
        """Behaviour of nodes that do not answer like the shipped node."""
        self.observers: dict[int, Observer] = {}
        """Observers of what nodes do by themselves."""
        self.disks: dict[int, SimDisk] = {}
        """Disks of nodes that store their offers, and acknowledge none before it is durable."""
        self.disk_random = Random(f"{rules.seed} disks")
        self.protocols = frozenset({self.kad.protocol, self.offers.protocol})
        """The protocols that servers announce in identify."""
        self.no_protocols = frozenset[str]()
        self._server = NodeConfig(kad=rules.kad, offers=rules.offers)
        self._client = replace(self._server, server_mode=False)
        self.nodes: dict[int, SimNode] = {}
        self.made = 0
        """Number of nodes created, including those recreated."""

    @property
    def trace_hash(self) -> str:
        """Digest of every message and outcome so far, with their times."""
        return self.scheduler.hexdigest()

    def node(self, number: int) -> SimNode:
        """The node; created at first use, with the table it would have in a converged network."""
        node = self.nodes.get(number)
        if node is None:
            node = self.create(number)
            random = table_random(self.rules.seed, number)
            self.population.fill(node.core.engine.routing, number, self.kad, self.scheduler.now, random)
            node.settle(random)
        return node

    def create(self, number: int) -> SimNode:
        """Creates a node with an empty table, in place of an earlier one; it restores what is on its disk."""
        before = self.nodes.get(number)
        if before is not None:
            before.abandon()
        node = self.nodes[number] = SimNode(self, number, self.standing.nature(number) is Nature.CLIENT)
        self.scheduler.ports[number] = node.port
        self.made += 1
        return node

    def remove(self, number: int) -> None:
        """Ends the process of a node: its state and connections are gone."""
        node = self.nodes.pop(number, None)
        if node is not None:
            del self.scheduler.ports[number]
            node.abandon()
            for other in node.port.links:
                peer = self.nodes.get(other)
                if peer is not None and peer.port.links.pop(number, None) is not None:
                    peer.disconnected(self.population.infos[number].peer_id)

    def close(self) -> None:
        """Ends the simulation: drops nodes and pending events, keeps the counts."""
        for port in self.scheduler.ports.values():
            port.gone = True
        self.nodes.clear()
        self.scheduler.ports.clear()
        self.scheduler.clear()

    # --- for nodes

    def config(self, number: int, client: bool) -> NodeConfig:
        usual = self._client if client else self._server
        kad = self.kads.get(number)
        return usual if kad is None else replace(usual, kad=kad)

    def disk_delay(self) -> float:
        return self.disk_random.uniform(*self.rules.conditions.disk_delay_s)

    # --- for the carrier

    def make(self, number: int) -> Port:
        """The port of a new node."""
        return self.node(number).port

    def slowness(self) -> float:
        """Delay of a slow node's answer, in seconds."""
        return self.random.uniform(*self.rules.conditions.slow_delay_s)

    def dialable(self, exchange: Exchange) -> bool:
        """Whether the addresses in a request lead to its peer."""
        if self.standing.natures.get(exchange.target) is _CLIENT:
            return False
        info, named = self.population.infos[exchange.target], exchange.action.peer
        return info is named or any(addr in named.addrs for addr in info.addrs)

    def dial(self, port: Port, target: int) -> SimLink:
        """Opens a connection."""
        self.scheduler.connections += 1
        now, here = self.scheduler.now, port.number
        way = self.scheduler.way
        link = SimLink(now + way(here, target, 2 * self.rules.conditions.dial_round_trips), now)
        port.links[target] = self.node(target).port.links[here] = link
        # Identify is requested when the connection is up, and answered one round trip later.
        told_at = link.up_at + way(here, target) + way(target, here)
        self.scheduler.at(told_at, self._identify, here, target, link)
        return link

    def _identify(self, here: int, target: int, link: SimLink) -> None:
        """Both ends identify each other, unless the connection or one of them has gone."""
        node, peer = self.nodes.get(here), self.nodes.get(target)
        if node is None or peer is None:
            return
        if node.port.links.get(target) is not link or peer.port.links.get(here) is not link:
            return
        if self.standing.is_up(target) and self.standing.is_up(here):
            node.identified(peer)
            peer.identified(node)
