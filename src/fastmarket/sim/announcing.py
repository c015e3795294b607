"""The holder of very many files announces them again: by region, compared with one lookup each; and where
all nodes have keys of one prefix, stopped at the border of each region."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from fastmarket.core.events import JobEnded
from fastmarket.formats.choice import Choice
from fastmarket.formats.identity import Identity, PeerId
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.native.sha256 import sha256
from fastmarket.native.sim_net import Port
from fastmarket.offers.announce.sweep import SweepResult
from fastmarket.offers.model.offer import Signing, sign_offers
from fastmarket.offers.wire.messages import Ack, StoreRequest, decode_request, encode_acks
from fastmarket.sim.addresses import AddressPlan, tcp_addr
from fastmarket.sim.disk import SimDisk
from fastmarket.sim.measures import StoreFigures, mean, share
from fastmarket.sim.node import Conduct, Observer, SimNode
from fastmarket.sim.outcome import ScenarioOutcome
from fastmarket.sim.population import Population, content_of, synthetic_raw_id
from fastmarket.sim.world import Plan, World, terms_of

# Contents per node: 100,000 in the 10,000 nodes of the mark.
CONTENTS_PER_NODE = 10
MAX_LOOKUPS_PER_NODE = 1
# Contents announced one by one, for comparison.
SAMPLE = 200
# Longer than the schedule, offers.restore_spread_s.
ALL_SWEPT_S = 3 * 3600.0
HOLDER = 0
# Nodes and bits of the prefix of their keys: in kad-dht#1263, #1265 and #1267 a sweep dropped such keys
# silently. And contents, times the offers of the plan.
ONE_PREFIX = ((8, 16), (64, 8))
CONTENTS_EACH = 100
MOST_BORDERS = 6  # at which the holder is stopped


def reannounce(plan: Plan) -> ScenarioOutcome:
    """A holder of ten contents per node announces them all again, compared with one lookup each."""
    # Table refreshes are not part of the measurement.
    plan = replace(plan, rules=replace(plan.rules, kad=replace(plan.rules.kad, refresh_interval_s=86_400.0)))
    outcome = ScenarioOutcome(plan)
    sampled = outcome.world()
    outcome.stores("stores, one lookup each", _one_by_one(sampled, SAMPLE))
    each = sampled.network.traffic.messages / SAMPLE
    world = outcome.world()
    others = [number for number in range(plan.nodes) if number != HOLDER]
    world.network.conducts.update(dict.fromkeys(others, KeepsNothing()))
    count = CONTENTS_PER_NODE * plan.nodes
    results, seconds = _sweep(world, [content_of(f"many {number}") for number in range(count)])
    lookups = sum(result.lookups for result in results)
    messages = world.network.traffic.messages
    outcomes = [outcome for result in results for _, outcome in result.outcomes if outcome is not None]
    met = sum(outcome.acknowledged >= outcome.wanted for outcome in outcomes)
    outcome.note(
        "sweeps",
        {
            "contents": count,
            "sweeps": len(results),
            "lookups": lookups,
            "messages": messages,
            "messages_one_lookup_each": round(each * count),
            "success": share(met, count),
            "copies_mean": mean([outcome.acknowledged for outcome in outcomes]),
            "virtual_s": round(seconds, 1),
        },
    )
    outcome.mark("lookups in all", MAX_LOOKUPS_PER_NODE * plan.nodes, lookups)
    outcome.mark("messages, times those of one lookup each", 0.1, round(messages / (each * count), 5))
    outcome.mark("contents whose quorum acknowledged", 0.999, share(met, count), least=True)
    return outcome


def one_prefix(plan: Plan) -> ScenarioOutcome:
    """A holder among nodes whose keys share a prefix announces offers, stopped at each region's border."""
    outcome = ScenarioOutcome(plan)
    count = CONTENTS_EACH * plan.offers
    for nodes, bits in ONE_PREFIX:
        name = f"{nodes} nodes, {bits} bits"
        population = _with_prefix(plan, nodes, bits)
        world = outcome.world(replace(plan, nodes=nodes, signers=1), population)
        contents = [content_of(f"prefix {number}") for number in range(count)]
        borders = _stopped_at_borders(world, contents)
        others = [world.network.node(number).core.offers.store for number in range(1, nodes)]
        copies = [sum(any(store.held(content)) for store in others) for content in contents]
        wanted = min(plan.rules.kad.k, nodes - 1)
        never = sum(not held for held in copies)
        outcome.note(
            name,
            {
                "contents": count,
                "borders": borders,
                "never_announced": never,
                "with_all_copies": share(sum(held >= wanted for held in copies), count),
                "copies_mean": mean(copies),
            },
        )
        outcome.mark(f"{name}: offers never announced", 0, never)
        world.close()
    return outcome


def _with_prefix(plan: Plan, nodes: int, bits: int) -> Population:
    """Nodes whose keys begin with `bits` zeros; the first has a key pair."""
    random = Random(f"{plan.rules.seed} prefix")
    addresses = AddressPlan(Random(f"{plan.rules.seed} addresses"))
    holder = Identity.from_seed(random.randbytes(32))
    while not _begins(holder.peer_id.raw, bits):
        holder = Identity.from_seed(random.randbytes(32))
    raw_ids = [holder.peer_id.raw]
    while len(raw_ids) < nodes:
        raw = synthetic_raw_id(random)
        if _begins(raw, bits):
            raw_ids.append(raw)
    infos = [PeerInfo(PeerId(raw), (tcp_addr(addresses.draw()),)) for raw in raw_ids]
    return Population(infos, {HOLDER: holder}, plan.rules.kad)


def _begins(raw: bytes, bits: int) -> bool:
    return int.from_bytes(sha256(raw)[:4], "big") >> (32 - bits) == 0


def _stopped_at_borders(world: World, contents: list[bytes]) -> int:
    """In its first life the holder's process ends with its first sweep, in its second with the second, and so
    on, for at most `MOST_BORDERS` lives; one more sees all. Returns at how many borders it ended."""
    network, disk = world.network, SimDisk()
    signings = [Signing(terms_of(content), None, False, network.offers.lifetime_s) for content in contents]
    disk.keep(sign_offers(world.population.identity(HOLDER), signings, world.now), own=True)
    network.disks[HOLDER] = disk
    for borders in range(MOST_BORDERS + 1):
        last = borders == MOST_BORDERS
        sweeps = network.observers[HOLDER] = Sweeps(len(contents) if last else borders + 1)
        network.node(HOLDER).pump()
        network.scheduler.run(sweeps.are_seen, ALL_SWEPT_S)
        if last or sweeps.offers_count >= len(contents):
            break
        network.remove(HOLDER)
        world.rest(world.plan.rules.conditions.idle_timeout_s + 1)
    return borders


def _one_by_one(world: World, count: int) -> StoreFigures:
    """Announcements one by one, by the holder."""
    figures = StoreFigures()
    for number in range(count):
        world.announce([content_of(f"one {number}")], figures, first_signer=HOLDER)
    return figures


def _sweep(world: World, contents: list[bytes]) -> tuple[list[SweepResult], float]:
    """The holder restarts with these offers and announces them on its schedule; returns its sweeps and the
    time taken."""
    network, sweeps, disk = world.network, Sweeps(), SimDisk()
    signings = [Signing(terms_of(content), None, False, network.offers.lifetime_s) for content in contents]
    disk.keep(sign_offers(world.population.identity(HOLDER), signings, world.now), own=True)
    network.disks[HOLDER], network.observers[HOLDER] = disk, sweeps
    network.node(HOLDER).pump()
    began = world.now

    def done() -> bool:
        return sum(len(offers) for result in sweeps.results for offers, _ in result.groups) >= len(contents)

    if not world.network.scheduler.run(done, ALL_SWEPT_S):
        raise RuntimeError("the holder's sweeps do not end")
    return sweeps.results, world.now - began


class Sweeps(Observer):
    """The sweeps of a node's schedule."""

    __slots__ = ("_wanted", "results")

    def __init__(self, wanted: int = 1) -> None:
        self._wanted = wanted
        self.results: list[SweepResult] = []

    def are_seen(self) -> bool:
        """Whether there were as many as wanted."""
        return len(self.results) >= self._wanted

    @property
    def offers_count(self) -> int:
        """How many offers they were about."""
        return sum(len(offers) for result in self.results for offers, _ in result.groups)

    def on_job_ended(self, event: JobEnded, now: float) -> None:
        if isinstance(event.result, SweepResult):
            self.results.append(event.result)


class KeepsNothing(Conduct):
    """Acknowledges offers without storing them: two million copies would not fit into memory, and do not
    matter to the holder."""

    __slots__ = ()

    def answer(self, node: SimNode, sender: Port, choice: Choice, now: float) -> bytes | None:
        offers = node.core.config.offers
        if choice.protocol == offers.protocol:
            request = decode_request(choice.payload, offers.max_offers_per_store)
            if isinstance(request, StoreRequest):
                return encode_acks([Ack.STORED] * len(request.envelopes))
        return node.respond(sender, choice, now)
