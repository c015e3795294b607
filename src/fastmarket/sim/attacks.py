"""Scenarios with malicious nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from random import Random
from typing import Final

from fastmarket.formats.identity import Identity, PeerId
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.native.sha256 import sha256
from fastmarket.offers.model.metadata import FileMetadata
from fastmarket.offers.model.offer import OfferTerms, sign_offer
from fastmarket.sim.addresses import AddressPlan, tcp_addr
from fastmarket.sim.hostile import Conspiracy, FalseSellers, ids_near, spread_by_prefix
from fastmarket.sim.measures import Figures, StoreFigures, mean
from fastmarket.sim.outcome import ScenarioOutcome
from fastmarket.sim.population import Population, content_of
from fastmarket.sim.searches import FIRST, SearchFigures, search
from fastmarket.sim.world import Plan, with_kad

HOSTILE_SHARE = 0.2
DISJOINT_PATHS = 8  # as in S/Kademlia
# Ids the attacker generates for each honest node: enough that nearly all it places are the closest.
TRIED_PER_NODE = 400


@dataclass(frozen=True, slots=True)
class Attack:
    """Ids around one key, in rented address blocks."""

    ids: int
    blocks: int
    deeper_bits: int | None = None
    """The ids are spread over the prefixes as in a network 2^bits times as large, so that a detector that
    looks at how many ids share how long a prefix with the key sees what it expects (Netto, Cholez and Ignat).
    None: the closest ids that could be found."""
    sells: bool = False
    """Offers of their own, at price 0, instead of silence."""

    @property
    def name(self) -> str:
        """For the report."""
        return f"{self.ids} ids, {self.blocks} blocks"


TARGETED: Final = (Attack(60, 6), Attack(200, 12))
# Sridhar et al. place 20 to 45 ids. Here they are rented in few address blocks, and in as many as there are.
ECLIPSES: Final = (Attack(45, 6), Attack(45, 45))
# Netto, Cholez and Ignat: 20 to 60 ids, below the threshold of Sridhar's detector.
SYBILS: Final = tuple(Attack(60, blocks, 3, sells=True) for blocks in (1, 6, 60))
FALSE_KEYS = 1024  # of the false sellers, who name 200 each
WITHOUT: Final = {"region_reach": 0.0}  # what the node did before, for comparison


def hostile(plan: Plan) -> ScenarioOutcome:
    """A fifth of all nodes is malicious: it drops what it should store, and names only its like."""
    outcome = ScenarioOutcome(plan)
    plainly = _among_liars(outcome, plan, "")["success"]
    disjoint = with_kad(plan, disjoint_paths=DISJOINT_PATHS)
    success = _among_liars(outcome, disjoint, ", disjoint paths")["success"]
    outcome.mark("stored offers found", 0.99, plainly, least=True)
    outcome.mark("stored offers found, disjoint paths", 0.99, success, least=True)
    return outcome


def _among_liars(outcome: ScenarioOutcome, plan: Plan, name: str) -> Figures:
    world = outcome.world(plan)
    Conspiracy(world.network, world.some(HOSTILE_SHARE))
    outcome.stores(f"stores{name}", world.publish(plan.offers))
    outcome.lookups(f"lookups{name}", world.look_up(plan.lookups))
    return outcome.finds(f"finds{name}", world.find(plan.finds))


def targeted(plan: Plan) -> ScenarioOutcome:
    """Malicious ids, 60 in 6 and 200 in 12 address blocks, are the closest to one key before its offer is."""
    outcome = ScenarioOutcome(plan)
    for attack, finds in _attacked(outcome, plan, TARGETED).items():
        outcome.mark(f"{attack.name}: stored offers found", 0.97, finds["success"], least=True)
    return outcome


def passive_eclipse(plan: Plan) -> ScenarioOutcome:
    """45 malicious ids, in 6 and in 45 address blocks, are the closest to a key, and drop everything."""
    outcome = ScenarioOutcome(plan)
    _attacked(outcome, with_kad(plan, **WITHOUT), ECLIPSES, ", without the region")
    for attack, finds in _attacked(outcome, plan, ECLIPSES).items():
        outcome.mark(f"{attack.name}: stored offers found", 0.99, finds["success"], least=True)
    return outcome


def active_sybil(plan: Plan) -> ScenarioOutcome:
    """60 ids around a key that no count of prefixes shows: they drop its offer, and sell false ones for 0."""
    outcome = ScenarioOutcome(plan)
    _attacked(outcome, with_kad(plan, **WITHOUT), SYBILS, ", without the region")
    for attack, finds in _attacked(outcome, plan, SYBILS).items():
        name = f"among_first_{FIRST}"
        outcome.mark(f"{attack.name}: honest holder found", 0.99, finds["success"], least=True)
        outcome.mark(f"{attack.name}: ... among the first {FIRST}", 0.95, finds[name], least=True)
    return outcome


def region_store(plan: Plan) -> ScenarioOutcome:
    """What it costs to store at all of a region, and to ask all of it, where none attacks."""
    outcome = ScenarioOutcome(plan)
    requests = []
    for name, variant in (("k closest", with_kad(plan, **WITHOUT)), ("region", plan)):
        world = outcome.world(variant)
        outcome.stores(f"stores, {name}", world.publish(plan.offers))
        stored = world.network.traffic.requests
        outcome.finds(f"finds, {name}", world.find(plan.finds))
        found = world.network.traffic.requests - stored
        requests.append((stored / plan.offers, found / max(plan.finds, 1)))
        outcome.note(
            f"requests, {name}",
            {"per_store": round(requests[-1][0], 2), "per_find": round(requests[-1][1], 2)},
        )
    (store, find), (region_store_, region_find) = requests
    outcome.mark("requests of a store, times those to the k closest", 1.25, round(region_store_ / store, 3))
    outcome.mark("requests of a find, times those to the k closest", 1.25, round(region_find / find, 3))
    return outcome


def _attacked(
    outcome: ScenarioOutcome, plan: Plan, attacks: Sequence[Attack], how: str = ""
) -> Mapping[Attack, Figures]:
    """Each attack on each of the plan's contents, in a network of its own: the figures of the searches."""
    contents = [content_of(number) for number in range(plan.offers)]
    tried, random = TRIED_PER_NODE * plan.nodes, Random(f"{plan.rules.seed} placed")
    pool = max(2 * attack.ids << (attack.deeper_bits or 0) for attack in attacks)
    near = ids_near([sha256(content) for content in contents], pool, tried, random)
    return {attack: _attack(outcome, plan, attack, contents, near, how) for attack in attacks}


def _attack(
    outcome: ScenarioOutcome,
    plan: Plan,
    attack: Attack,
    contents: Sequence[bytes],
    near: Sequence[Sequence[PeerId]],
    how: str,
) -> Figures:
    population = Population.generate(plan.nodes, plan.signers, plan.rules.seed, plan.rules.kad)
    addresses = AddressPlan(Random(f"{plan.rules.seed} addresses"))
    honest = {population.infos[number].peer_id for number in range(plan.signers)}
    stored, found, taken, copies = StoreFigures(), SearchFigures(), [], []
    requests = [0, 0]
    keys = _false_keys(plan) if attack.sells else []
    for number, content in enumerate(contents):
        placed = _placed(plan, attack, population, addresses, content, near[number])
        # One network for each content: all its malicious nodes surround that key.
        population.list_servers([*range(plan.nodes), *placed])
        world = outcome.world(plan, population)
        world.askers = range(plan.signers, plan.nodes)
        if attack.sells:
            false = [sign_offer(key, _false_terms(content), world.now).envelope for key in keys]
            FalseSellers(world.network, placed, {content: false})
        else:
            Conspiracy(world.network, placed)
        closest = population.servers.closest(sha256(content), plan.rules.kad.k)
        taken.append(sum(one >= plan.nodes for one in closest) / plan.rules.kad.k)
        world.announce([content], stored, first_signer=number)
        requests[0] += world.network.traffic.requests
        copies.append(
            sum(
                any(node.core.offers.store.held(content))
                for node in world.network.nodes.values()
                if node.number in range(plan.signers, plan.nodes)
            )
        )
        world.rest(plan.rules.conditions.idle_timeout_s + 1)
        search(world, plan.finds // plan.offers, [content], honest, found)
        requests[1] += world.network.traffic.requests
        world.close()
    name = attack.name + how
    outcome.note(
        f"attack, {name}",
        {
            "hostile_share_of_k_closest": mean(taken),
            "honest_copies_mean": mean(copies),
            "honest_copies_min": min(copies),
            "requests_per_store": round(requests[0] / len(contents), 1),
            "requests_per_find": round((requests[1] - requests[0]) / max(len(found.ms), 1), 1),
        },
    )
    outcome.stores(f"stores, {name}", stored)
    return outcome.note(f"finds, {name}", found.figures())


def _false_keys(plan: Plan) -> list[Identity]:
    random = Random(f"{plan.rules.seed} false")
    return [Identity.from_seed(random.randbytes(32)) for _ in range(FALSE_KEYS)]


def _false_terms(content: bytes) -> OfferTerms:
    return OfferTerms(content, b"", "free", FileMetadata("198.51.100.7", 8081, 0))


def _placed(
    plan: Plan,
    attack: Attack,
    population: Population,
    addresses: AddressPlan,
    content: bytes,
    near: Sequence[PeerId],
) -> list[int]:
    """The numbers of the hostile nodes around a content, which are not listed yet."""
    ids = near[: attack.ids]
    if attack.deeper_bits is not None:
        bits = max((plan.nodes // plan.rules.kad.k).bit_length() - 1, 0) + attack.deeper_bits
        ids = spread_by_prefix(sha256(content), near, attack.ids, bits)
    blocks = cycle([addresses.rent() for _ in range(attack.blocks)])
    return [population.add(PeerInfo(peer_id, (tcp_addr(addresses.within(next(blocks))),))) for peer_id in ids]
