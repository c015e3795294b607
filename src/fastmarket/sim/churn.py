"""Scenarios of several hours: every node is simulated in full, with table refreshes and announcements."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import log
from random import Random

from fastmarket.core.commands import Bootstrap
from fastmarket.sim.measures import SHARE_DIGITS
from fastmarket.sim.node import NodeState, SimNode
from fastmarket.sim.outcome import ScenarioOutcome
from fastmarket.sim.world import Plan, World

PARTITION_S = 3600.0
HEALED_WITHIN_S = 900.0
MEDIAN_SESSION_S = 3600.0  # half of the nodes met in the public IPFS network leave within 2 h
CHURN_HOURS = 24
# Soon after the first announcement, shortly before and after the second, and shortly before the third.
ASKED_AT_HOURS = (1, 4, 8, 11, 13, 16, 20, 23)
ANNOUNCE_INTERVAL_S = 12 * 3600.0
HOLDER_SHARE = 0.02  # few: they stay, and with them what they store for others
SEEDS = 3  # nodes known to a newcomer


def partition(plan: Plan) -> ScenarioOutcome:
    """Two halves are cut off from each other for an hour; offers were made before and meanwhile."""
    outcome = ScenarioOutcome(plan)
    world = outcome.world()
    standing, random = world.network.standing, Random(f"{plan.rules.seed} sides")
    for number in range(plan.nodes):
        world.network.node(number)
    outcome.stores("stores, before", world.publish(plan.offers // 2))
    standing.sides.update((number, random.randrange(2)) for number in range(plan.nodes))
    world.rest(PARTITION_S / 2)
    outcome.stores("stores, within", world.publish(plan.offers - plan.offers // 2))
    outcome.finds("finds, within", world.find(plan.finds))
    world.rest(PARTITION_S / 2)
    standing.sides.clear()
    outcome.finds("finds, at once", world.find(plan.finds))
    world.rest(HEALED_WITHIN_S)
    outcome.lookups("lookups", world.look_up(plan.lookups))
    finds = outcome.finds("finds, 15 minutes later", world.find(plan.finds))
    outcome.mark("stored offers found 15 minutes after", 1.0, finds["success"], least=True)
    return outcome


def churn(plan: Plan) -> ScenarioOutcome:
    """Nodes come and go, median session 1 h, half of them online; holders stay and announce every 12 h."""
    offers = replace(plan.rules.offers, announce_interval_s=ANNOUNCE_INTERVAL_S)
    holders = max(1, int(plan.nodes * HOLDER_SHARE))
    plan = replace(plan, signers=holders, rules=replace(plan.rules, offers=offers))
    outcome = ScenarioOutcome(plan)
    world = outcome.world()
    Sessions(world).begin()
    world.rest(plan.rules.kad.refresh_interval_s)
    outcome.stores("stores", world.publish(plan.offers))
    found = []
    for hour in range(1, CHURN_HOURS + 1):
        world.rest(3600)
        if hour in ASKED_AT_HOURS:
            figures = world.find(plan.finds)
            outcome.finds(f"finds, hour {hour}", figures)
            found.append(figures.found_count / max(len(figures.ms), 1))
    outcome.lookups("lookups", world.look_up(plan.lookups))
    outcome.mark(
        "stored offers found, the worst hour of 24", 0.995, round(min(found), SHARE_DIGITS), least=True
    )
    return outcome


class Sessions:
    """Session times: exponential sessions and absences with the same median; signers stay.

    A node that comes back has its id and address, and nothing else: its table and store are gone.
    """

    def __init__(self, world: World, median_s: float = MEDIAN_SESSION_S) -> None:
        """`median_s`: of sessions, and of absences."""
        self._world = world
        self._median_s = median_s
        self._random = Random(f"{world.plan.rules.seed} sessions")

    def begin(self) -> None:
        """Half of all nodes are online, the rest offline."""
        world, states = self._world, self._world.network.standing.states
        for number in range(world.plan.signers, world.plan.nodes):
            if self._random.random() < 0.5:
                states[number] = NodeState.DOWN
        up = [n for n in range(world.plan.nodes) if n not in states]
        world.population.list_servers(up)
        for number in up:
            world.network.node(number)
        world.population.list_servers(range(world.plan.nodes))  # only nodes that are online count as closest
        for number in range(world.plan.signers, world.plan.nodes):
            self._later(self._come if number in states else self._go, number)

    def _later(self, what: Callable[[int], None], number: int) -> None:
        self._world.network.scheduler.after(self._random.expovariate(log(2) / self._median_s), what, number)

    def _go(self, number: int) -> None:
        self._world.network.standing.states[number] = NodeState.DOWN
        self._world.network.remove(number)
        self._later(self._come, number)

    def _come(self, number: int) -> None:
        network = self._world.network
        del network.standing.states[number]
        node = network.create(number)
        known = [n for n in network.nodes if n != number and network.standing.is_honest_server(n)]
        self._join(node, self._random.sample(known, min(SEEDS, len(known))))
        self._later(self._go, number)

    def _join(self, node: SimNode, seeds: list[int]) -> None:
        infos = [self._world.population.infos[seed] for seed in seeds]
        node.start(Bootstrap(infos, self._world.network.kad.job_timeout_s))
