"""The scenarios by name. Each takes a plan and returns its outcome."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

from fastmarket.sim.announcing import one_prefix, reannounce
from fastmarket.sim.attacks import active_sybil, hostile, passive_eclipse, region_store, targeted
from fastmarket.sim.churn import churn, partition
from fastmarket.sim.days import liveness36, table_health
from fastmarket.sim.fetching_scenario import fetching
from fastmarket.sim.floods import price_flood, store_flood
from fastmarket.sim.measures import Figure, mean
from fastmarket.sim.node import Nature, NodeState
from fastmarket.sim.outcome import ScenarioOutcome
from fastmarket.sim.stale_providers import stale_providers
from fastmarket.sim.world import Plan, World, with_kad

# Share of nodes that are dead, slow or clients in scenarios with such nodes.
DEAD_SHARE = 0.2
SLOW_SHARE = 0.2
CLIENT_SHARE = 0.5
LOSS = 0.05
# Tolerance for hops that grow with log n: each tenfold should add the same, but measured means scatter.
GROWTH_SLACK = 1.25
# Nodes with a full routing table that has had time to grow: lookups per node, and hours for probing the peers
# named in them.
WARMED = 10
SIGNING = 20
WARMING_LOOKUPS = 100
WARMING_S = 3600.0


def static(plan: Plan) -> ScenarioOutcome:
    """No node joins, leaves or misbehaves."""
    outcome = ScenarioOutcome(plan)
    world = outcome.world()
    lookups = outcome.lookups("lookups", world.look_up(plan.lookups))
    published = world.publish(plan.offers)
    found = world.find(plan.finds)
    outcome.stores("stores", published)
    finds = outcome.finds("finds", found)
    outcome.mark("lookups that return the true k closest", 0.999, lookups["success"], least=True)
    outcome.mark("hops p50", 4, lookups["hops_p50"])
    outcome.mark("hops p99", 6, lookups["hops_p99"])
    outcome.mark("stored offers found", 0.999, finds["success"], least=True)
    outcome.mark("first holder, median, in median round trips", 3, outcome.in_round_trips(found.first_ms))
    outcome.mark("quorum, median, in median round trips", 5, outcome.in_round_trips(published.quorum_ms))
    return outcome


def dead20(plan: Plan) -> ScenarioOutcome:
    """A fifth of all nodes falls silent after offers were stored; the tables still hold them."""
    outcome = ScenarioOutcome(plan)
    before = _stored(outcome)
    alive = outcome.finds("finds, none dead", before.find(plan.finds))
    world = _stored(outcome)
    for number in world.some(DEAD_SHARE):
        world.network.standing.states[number] = NodeState.SILENT
    outcome.lookups("lookups", world.look_up(plan.lookups))
    finds = outcome.finds("finds", world.find(plan.finds))
    outcome.mark("stored offers found", 0.999, finds["success"], least=True)
    outcome.mark(
        "p99 until the first offer, times that with none dead", 2.5, _ratio(finds, alive, "first_ms_p99")
    )
    outcome.mark("p99 of whole searches, times that with none dead", 2.5, _ratio(finds, alive, "ms_p99"))
    return outcome


def slow20(plan: Plan) -> ScenarioOutcome:
    """A fifth of all nodes takes seconds to answer."""
    outcome = ScenarioOutcome(plan)
    before = _stored(outcome)
    brisk = outcome.finds("finds, none slow", before.find(plan.finds))
    world = _stored(outcome)
    world.network.standing.slow.update(world.some(SLOW_SHARE))
    outcome.lookups("lookups", world.look_up(plan.lookups))
    finds = outcome.finds("finds", world.find(plan.finds))
    outcome.mark("stored offers found", 0.999, finds["success"], least=True)
    outcome.mark(
        "p99 until the first offer, times that with none slow", 2.5, _ratio(finds, brisk, "first_ms_p99")
    )
    return outcome


def loss5(plan: Plan) -> ScenarioOutcome:
    """One request and one reply in twenty is lost."""
    conditions = replace(plan.rules.conditions, loss=LOSS)
    return static(replace(plan, rules=replace(plan.rules, conditions=conditions)))


def clients(plan: Plan) -> ScenarioOutcome:
    """Half of all nodes are clients behind NAT: they send queries and cannot be dialed."""
    outcome = ScenarioOutcome(plan)
    world = outcome.world()
    behind_nat = world.some(CLIENT_SHARE)
    world.network.standing.natures.update(dict.fromkeys(behind_nat, Nature.CLIENT))
    hidden = set(behind_nat)
    world.population.list_servers(n for n in range(plan.nodes) if n not in hidden)
    world.askers = behind_nat
    lookups = outcome.lookups("lookups", world.look_up(plan.lookups))
    outcome.stores("stores", world.publish(plan.offers))
    finds = outcome.finds("finds", world.find(plan.finds))
    outcome.mark("lookups that return the true k closest", 0.999, lookups["success"], least=True)
    outcome.mark("stored offers found", 0.999, finds["success"], least=True)
    return outcome


def growth(plan: Plan) -> ScenarioOutcome:
    """A hundredth, a tenth, and all of the nodes: the number of hops grows logarithmically."""
    outcome, means, figures = ScenarioOutcome(plan), [], {}
    for parts in (100, 10, 1):
        nodes = max(2, plan.nodes // parts)
        world = outcome.world(replace(plan, nodes=nodes, signers=min(plan.signers, nodes // 2)))
        figures = outcome.lookups(f"lookups, {nodes:,} nodes", world.look_up(plan.lookups))
        means.append(figures["hops_mean"] or 0.0)
        world.close()
    outcome.mark("hops p50", 4, figures["hops_p50"])
    outcome.mark("hops p99", 6, figures["hops_p99"])
    steps = [after - before for before, after in pairwise(means)]
    growing = round(steps[1] / steps[0], 2) if steps[0] > 0 else None
    outcome.mark("mean hops: the second tenfold adds, times the first", GROWTH_SLACK, growing)
    outcome.mark("lookups that return the true k closest", 0.999, figures["success"], least=True)
    return outcome


def large_table(plan: Plan) -> ScenarioOutcome:
    """Some nodes keep every peer they hear of, and have been up for an hour."""
    large = replace(plan.rules.kad, large_table=True)
    # The others refresh nothing: 25 million requests an hour would not change the result.
    plan = with_kad(replace(plan, signers=min(plan.signers, SIGNING)), refresh_interval_s=86_400.0)
    outcome = ScenarioOutcome(plan)
    world = outcome.world()
    warmed = world.some(WARMED / plan.nodes)
    world.askers = warmed
    knowing = [*range(plan.signers), *warmed]
    world.network.kads.update(dict.fromkeys(knowing, large))
    for number in knowing:
        world.look_up(WARMING_LOOKUPS, world.network.node(number))
    world.rest(WARMING_S)
    outcome.note("large tables", {"peers_mean": mean([_large_size(world, number) for number in warmed])})
    published = world.publish(plan.offers)
    outcome.stores("stores", published)
    world.rest(plan.rules.conditions.idle_timeout_s + 1)
    outcome.lookups("lookups", world.look_up(plan.lookups))
    found = world.find(plan.finds)
    finds = outcome.finds("finds", found)
    outcome.mark("stored offers found", 0.999, finds["success"], least=True)
    outcome.mark("first holder, median, in median round trips", 1.6, outcome.in_round_trips(found.first_ms))
    outcome.mark("quorum, median, in median round trips", 3, outcome.in_round_trips(published.quorum_ms))
    return outcome


def _large_size(world: World, number: int) -> int:
    return len(world.network.node(number).core.engine.routing.full_table)


@dataclass(frozen=True, slots=True)
class Scenario:
    """A scenario and its usual size: full simulations of several hours use few nodes."""

    run: Callable[[Plan], ScenarioOutcome]
    nodes: int

    @property
    def summary(self) -> str:
        """The first line of its description."""
        return (self.run.__doc__ or "").strip().partition("\n")[0]


SCENARIOS = {
    "static": Scenario(static, 10_000),
    "dead20": Scenario(dead20, 10_000),
    "slow20": Scenario(slow20, 10_000),
    "loss5": Scenario(loss5, 10_000),
    "clients": Scenario(clients, 10_000),
    "hostile": Scenario(hostile, 10_000),
    "targeted": Scenario(targeted, 10_000),
    "active-sybil": Scenario(active_sybil, 10_000),
    "passive-eclipse": Scenario(passive_eclipse, 10_000),
    "region-store": Scenario(region_store, 10_000),
    "store-flood": Scenario(store_flood, 1000),
    "price-flood": Scenario(price_flood, 1000),
    "liveness36": Scenario(liveness36, 200),
    "table-health": Scenario(table_health, 400),
    "growth": Scenario(growth, 100_000),
    "reannounce": Scenario(reannounce, 10_000),
    "one-prefix": Scenario(one_prefix, 64),
    "large-table": Scenario(large_table, 10_000),
    "partition": Scenario(partition, 200),
    "churn": Scenario(churn, 200),
    "fetching": Scenario(fetching, 1200),
    "stale-providers": Scenario(stale_providers, 300),
}


def _stored(outcome: ScenarioOutcome) -> World:
    """A world in which the plan's offers are stored and the connections made for that have gone idle."""
    world, plan = outcome.world(), outcome.plan
    outcome.stores("stores", world.publish(plan.offers))
    world.rest(plan.rules.conditions.idle_timeout_s + 1)
    return world


def _ratio(after: dict[str, Figure], before: dict[str, Figure], name: str) -> float | None:
    one, other = after[name], before[name]
    return None if one is None or not other else round(one / other, 2)
