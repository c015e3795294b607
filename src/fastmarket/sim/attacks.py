"""Scenarios with malicious nodes."""

from __future__ import annotations

from itertools import cycle
from random import Random

from fastmarket.formats.peer_info import PeerInfo
from fastmarket.native.sha256 import sha256
from fastmarket.sim.addresses import AddressPlan, tcp_addr
from fastmarket.sim.hostile import Conspiracy, ids_near
from fastmarket.sim.measures import Figures, FindFigures, StoreFigures, mean
from fastmarket.sim.outcome import ScenarioOutcome
from fastmarket.sim.population import Population, content_of
from fastmarket.sim.world import Plan, with_kad

HOSTILE_SHARE = 0.2
DISJOINT_PATHS = 8  # as in S/Kademlia
# An attack on one key: the number of ids, and of the address blocks they are rented in.
PLACED = 60
PLACED_BLOCKS = 6
# Ids the attacker generates for each honest node: enough that nearly all it places are the closest.
TRIED_PER_NODE = 400


def hostile(plan: Plan) -> ScenarioOutcome:
    """A fifth of all nodes is malicious: it drops what it should store, and names only its like."""
    outcome = ScenarioOutcome(plan)
    _among_liars(outcome, plan, "")
    disjoint = with_kad(plan, disjoint_paths=DISJOINT_PATHS)
    success = _among_liars(outcome, disjoint, ", disjoint paths")["success"]
    outcome.mark("stored offers found, disjoint paths", 0.99, success, least=True)
    return outcome


def _among_liars(outcome: ScenarioOutcome, plan: Plan, name: str) -> Figures:
    world = outcome.world(plan)
    Conspiracy(world.network, world.some(HOSTILE_SHARE))
    outcome.stores(f"stores{name}", world.publish(plan.offers))
    outcome.lookups(f"lookups{name}", world.look_up(plan.lookups))
    return outcome.finds(f"finds{name}", world.find(plan.finds))


def targeted(plan: Plan) -> ScenarioOutcome:
    """60 malicious ids, in 6 address blocks, are the closest to one key before its offer is stored."""
    outcome = ScenarioOutcome(plan)
    honest = range(plan.nodes)
    population = Population.generate(plan.nodes, plan.signers, plan.rules.seed, plan.rules.kad)
    contents = [content_of(number) for number in range(plan.offers)]
    stored, found, taken = StoreFigures(), FindFigures(), []
    for number, placed in enumerate(_placed(plan, population, contents)):
        # One network for each content: all its malicious nodes surround that key.
        population.list_servers([*honest, *placed])
        world = outcome.world(population=population)
        world.askers = range(plan.signers, plan.nodes)
        Conspiracy(world.network, placed)
        k = plan.rules.kad.k
        closest = population.servers.closest(sha256(contents[number]), k)
        taken.append(sum(one >= plan.nodes for one in closest) / k)
        world.announce([contents[number]], stored, first_signer=number)
        world.rest(plan.rules.conditions.idle_timeout_s + 1)
        world.find(plan.finds // plan.offers, [contents[number]], found)
        world.close()
    outcome.note("attack", {"hostile_share_of_k_closest": mean(taken)})
    outcome.stores("stores", stored)
    finds = outcome.finds("finds", found)
    outcome.mark("stored offers found", 0.95, finds["success"], least=True)
    return outcome


def _placed(plan: Plan, population: Population, contents: list[bytes]) -> list[list[int]]:
    """For each content, the numbers of the hostile nodes around it, which are not listed yet."""
    random = Random(f"{plan.rules.seed} placed")
    addresses = AddressPlan(Random(f"{plan.rules.seed} addresses"))
    targets = [sha256(content) for content in contents]
    placed = []
    for ids in ids_near(targets, PLACED, TRIED_PER_NODE * plan.nodes, random):
        blocks = cycle([addresses.rent() for _ in range(PLACED_BLOCKS)])
        infos = [PeerInfo(peer_id, (tcp_addr(addresses.within(next(blocks))),)) for peer_id in ids]
        placed.append([population.add(info) for info in infos])
    return placed
