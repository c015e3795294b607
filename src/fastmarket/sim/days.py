"""What is left after a day and a half of churn: offers that are announced once, and routing tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from fastmarket.core.commands import RegisterMany
from fastmarket.sim.churn import Sessions
from fastmarket.sim.measures import Figures, percentile, share, spread
from fastmarket.sim.node import NodeState, SimNode
from fastmarket.sim.outcome import ScenarioOutcome
from fastmarket.sim.population import content_of
from fastmarket.sim.world import Plan, World, terms_of

# Half of the nodes met in the public IPFS network leave within 2 h (RFM2 of ProbeLab).
MEDIAN_SESSION_S: Final = 2 * 3600.0
HOURS: Final = 36  # of RFM17, which probes the holders of 10,000 contents every 30 minutes
PROBE_S: Final = 1800.0
CONTENTS_PER_FIND: Final = 10  # contents, times the offers of the plan
PUBLISHERS: Final = 4  # they stay; their own copies do not count
NEVER_S: Final = 47 * 3600.0
FEWER: Final = 18  # of its 20 closest, in RFM19
TABLES_AFTER_S: Final = 12 * 3600.0
FIRST_BIT: Final = 128  # of the first byte of a key


def liveness36(plan: Plan) -> ScenarioOutcome:
    """Contents are announced once and never again: who holds them for 36 h, with and without handover."""
    outcome = ScenarioOutcome(plan)
    kept = _liveness(outcome, _once(plan, handover=True), "handover")
    _liveness(outcome, _once(plan, handover=False), "no handover")
    outcome.mark("contents without a holder at any time in 36 h", 0, kept)
    return outcome


def table_health(plan: Plan) -> ScenarioOutcome:
    """Nodes with sessions of 2 h: how many of its 20 closest each node knows after half a day."""
    outcome = ScenarioOutcome(plan)
    plan = _once(plan, handover=True)
    world = outcome.world(plan)
    Sessions(world, MEDIAN_SESSION_S).begin()
    world.rest(TABLES_AFTER_S)
    figures = outcome.note("tables", _health(world))
    outcome.lookups("lookups", world.look_up(plan.lookups))
    all_known, fewer = figures["know_all_of_their_closest"], figures[f"know_fewer_than_{FEWER}"]
    outcome.mark("nodes that know all of their 20 closest", 0.9, all_known, least=True)
    outcome.mark(f"nodes that know fewer than {FEWER} of them", 0.01, fewer)
    outcome.mark("entries that cannot be reached, in bucket 0", 0.01, figures["unreachable_in_bucket_0"])
    outcome.mark("... in buckets that are not full", 0.05, figures["unreachable_in_other_buckets"])
    return outcome


def _once(plan: Plan, *, handover: bool) -> Plan:
    """Publishers announce nothing again within the run."""
    shipped = plan.rules.offers
    givers = shipped.handover_givers if handover else 0
    offers = replace(shipped, announce_interval_s=NEVER_S, handover_givers=givers)
    return replace(plan, signers=PUBLISHERS, rules=replace(plan.rules, offers=offers))


def _liveness(outcome: ScenarioOutcome, plan: Plan, name: str) -> int:
    """Adds the figures; returns how many contents had no holder at some probe."""
    world = outcome.world(plan)
    Sessions(world, MEDIAN_SESSION_S).begin()
    world.rest(plan.rules.kad.refresh_interval_s)
    contents = [content_of(f"once {number}") for number in range(CONTENTS_PER_FIND * plan.offers)]
    for publisher in range(PUBLISHERS):
        terms = [terms_of(content) for content in contents[publisher::PUBLISHERS]]
        world.network.node(publisher).start(RegisterMany(terms, plan.rules.kad.job_timeout_s))
    world.rest(PROBE_S)
    first = _holders(world, contents)
    lost: set[int] = set()
    for probe in range(1, int(HOURS * 3600 / PROBE_S) + 1):
        world.rest(PROBE_S)
        now = _holders(world, contents)
        lost |= {index for index, some in enumerate(now) if not some}
        if probe * PROBE_S % (6 * 3600) == 0:
            of_first = [len(some & then) for some, then in zip(now, first, strict=True)]
            hour = int(probe * PROBE_S / 3600)
            outcome.note(
                f"{name}, hour {hour}",
                {
                    **_quartiles("holders", [len(some) for some in now]),
                    **_quartiles("of_the_first", of_first),
                    "in_degree_of_holders": _in_degree(world, now),
                    "lost_so_far": len(lost),
                },
            )
    finds = outcome.finds(f"finds, {name}, hour {HOURS}", world.find(plan.finds, contents))
    if name == "handover":
        outcome.mark("found after 36 h", 0.999, finds["success"], least=True)
    outcome.note(f"tables, {name}, hour {HOURS}", _health(world))
    world.close()
    return len(lost)


def _holders(world: World, contents: Sequence[bytes]) -> list[set[int]]:
    """For each content the nodes that are up and hold it, without the publishers."""
    nodes = [node for node in world.network.nodes.values() if node.number >= PUBLISHERS]
    return [{node.number for node in nodes if _holds(node, content, world.now)} for content in contents]


def _holds(node: SimNode, content: bytes, now: float) -> bool:
    return any(offer.is_live(now) for offer in node.core.offers.store.held(content))


def _quartiles(name: str, counts: Sequence[int]) -> Figures:
    return {f"{name}_p{percent}": percentile(counts, percent) for percent in (1, 25, 50)}


def _in_degree(world: World, holders: Sequence[set[int]]) -> float | None:
    """The share of holders that are in the table of at least one other node that is up."""
    nodes = world.network.nodes.values()
    listed = {contact.info.peer_id.raw for node in nodes for contact in node.core.engine.contacts()}
    infos = world.population.infos
    some = set().union(*holders)
    return share(sum(infos[number].peer_id.raw in listed for number in some), len(some))


def _health(world: World) -> Figures:
    """How many of its 20 closest each node knows, and how many of its entries are not there."""
    network, population, standing = world.network, world.population, world.network.standing
    k, known_counts = network.kad.k, []
    entries, gone = [0, 0], [0, 0]  # in bucket 0, in others
    for number, node in network.nodes.items():
        own = population.infos[number].peer_id.key
        true = population.servers.closest(own, k + 1, standing.is_answering)
        true = [one for one in true if one != number][:k]
        contacts = {contact.info.peer_id.raw: contact for contact in node.core.engine.contacts()}
        known_counts.append(sum(population.infos[one].peer_id.raw in contacts for one in true))
        for contact in contacts.values():
            key = contact.info.peer_id.key
            other = int(key[0] & FIRST_BIT == own[0] & FIRST_BIT)  # bucket 0: they differ
            entries[other] += 1
            there = population.numbers[contact.info.peer_id.raw]
            gone[other] += standing.states.get(there, NodeState.UP) is not NodeState.UP
    count = len(known_counts)
    return {
        "nodes": count,
        "know_all_of_their_closest": share(sum(known == k for known in known_counts), count),
        f"know_fewer_than_{FEWER}": share(sum(known < FEWER for known in known_counts), count),
        "know_fewer_than_5": share(sum(known < 5 for known in known_counts), count),
        "unreachable_in_bucket_0": share(gone[0], entries[0]),
        "unreachable_in_other_buckets": share(gone[1], entries[1]),
        **spread("known", known_counts, None),
    }
