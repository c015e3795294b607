"""Floods of offers: made-up contents that fill the stores around a victim, and one content at price 0.

The flooding nodes send well-formed STOREs straight to the storers, as fast as these answer. No paper has
these two; production had the first (telcoin-network#683 and #1202, litep2p#666).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from random import Random
from typing import TypeAlias

from fastmarket.formats.choice import Choice, FailureKind
from fastmarket.formats.identity import Identity
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.events import SendRequest
from fastmarket.kad.jobs import Job
from fastmarket.native.batch import SignedBatch
from fastmarket.native.sha256 import sha256
from fastmarket.offers.model.batch import MAX_BATCH_OFFERS
from fastmarket.offers.model.metadata import FileMetadata
from fastmarket.offers.model.offer import Offer, OfferTerms, Signing, sign_offer, sign_offers
from fastmarket.offers.wire.messages import Ack, decode_store_reply, encode_store
from fastmarket.sim.addresses import AddressPlan, tcp_addr
from fastmarket.sim.measures import Figures, StoreFigures, mean, share
from fastmarket.sim.network import START
from fastmarket.sim.node import Nature
from fastmarket.sim.outcome import ScenarioOutcome
from fastmarket.sim.population import Population, content_of
from fastmarket.sim.searches import search
from fastmarket.sim.world import Plan, World

# The stores are this many times smaller than the shipped ones, and so is the flood: eight million offers
# would take hours, and fill the memory of this machine before that of the storers.
SCALE = 20
FLOOD_TIMES_STORE = 1.0  # offers of the flood, times those for which a store has places
NEAR = b"\x00"  # where the victim is: any key will do
# The second flood: many identities that each stay far below the bounds of one, in few address blocks.
MANY_SENDERS, MANY_BLOCKS = 500, 4
# What the attacker pays for a price flood: keys, more than a shelf has places, in so many address blocks.
SHELF_KEYS = 2048
SHELF_BLOCKS = (1, 6, 60)
SHELF_SENDERS = 120
FIRST = 10  # offers that a buyer looks at
# Longer than the longest flood.
FLOOD_S = 3600.0
IN_FLIGHT = 2  # requests of one sender to one storer


Parcel: TypeAlias = tuple[PeerInfo, bytes]
"""A storer, and the STORE for it."""


class FloodJob(Job):
    """Sends STOREs, each storer's one after another, and asks nothing else. Result: the acknowledgements."""

    def __init__(self, protocol: str, parcels: Iterable[Parcel], timeout_s: float) -> None:
        super().__init__()
        self._protocol, self._wait_s = protocol, timeout_s
        self._left: dict[bytes, deque[Parcel]] = {}
        for parcel in parcels:
            self._left.setdefault(parcel[0].peer_id.raw, deque()).append(parcel)
        self._ready = [raw for raw in self._left for _ in range(IN_FLIGHT)]
        self._out: dict[int, bytes] = {}
        self._token = 0
        self.acks: dict[Ack, int] = dict.fromkeys(Ack, 0)

    def poll_requests(self, now: float) -> list[SendRequest]:
        requests = []
        ready, self._ready = self._ready, []
        for raw in ready:
            if self._left[raw]:
                peer, body = self._left[raw].popleft()
                self._token += 1
                self._out[self._token] = raw
                requests.append(SendRequest(self._token, peer, (Choice(self._protocol, body),), self._wait_s))
        if not self._out and self.result is None:
            self.result = self.acks
        return requests

    def on_reply(self, token: int, protocol: str, payload: bytes, now: float) -> None:
        for ack in decode_store_reply(payload).acks:
            self.acks[ack] += 1
        self._ready.append(self._out.pop(token))

    def on_failure(self, token: int, kind: FailureKind, now: float) -> None:
        self._ready.append(self._out.pop(token))

    def cancel(self, now: float) -> None:
        self.result = self.acks


@dataclass(frozen=True, slots=True)
class Flood:
    """A flood that has begun: its senders' jobs."""

    jobs: Sequence[FloodJob]

    @property
    def is_over(self) -> bool:
        return all(job.result is not None for job in self.jobs)

    @property
    def figures(self) -> Figures:
        """What became of its offers."""
        acks = {ack: sum(job.acks[ack] for job in self.jobs) for ack in Ack}
        sent = sum(acks.values())
        return {"offers": sent, **{f"share_{ack.name.lower()}": share(acks[ack], sent) for ack in Ack if ack}}


def senders(population: Population, count: int, blocks: int, addresses: AddressPlan) -> list[int]:
    """New nodes in rented address blocks, which no table lists. They take part in nothing."""
    random = Random(f"{len(population)} senders")
    rented = cycle([addresses.rent() for _ in range(blocks)])
    ids = [Identity.from_seed(random.randbytes(32)) for _ in range(count)]
    return [population.add(PeerInfo(one.peer_id, (tcp_addr(addresses.within(next(rented))),))) for one in ids]


def begin_flood(world: World, loads: Iterable[tuple[int, list[Parcel]]]) -> Flood:
    """Each sender, by number, begins to send its parcels. None is a server: that would bring it nothing."""
    jobs = []
    for number, parcels in loads:
        config = world.network.offers
        world.network.standing.natures[number] = Nature.CLIENT
        jobs.append(FloodJob(config.protocol, parcels, world.network.kad.request_timeout_s))
        world.network.node(number).start_job(jobs[-1])
    return Flood(jobs)


def await_flood(world: World, flood: Flood) -> None:
    """Lets time pass until all is sent."""
    if not world.network.scheduler.run(lambda: flood.is_over, FLOOD_S):
        raise RuntimeError(f"the flood is not over after {FLOOD_S:g} virtual seconds")


# --- made-up contents


def store_flood(plan: Plan) -> ScenarioOutcome:
    """The stores of a victim's 20 storers are flooded with offers of made-up contents."""
    shipped = plan.rules.offers
    scaled = replace(
        shipped,
        max_offers=shipped.max_offers // SCALE,
        max_stored_bytes=shipped.max_stored_bytes // SCALE,
        max_offers_per_provider=shipped.max_offers_per_provider // SCALE,
    )
    plan = replace(plan, rules=replace(plan.rules, offers=scaled))
    outcome = ScenarioOutcome(plan)
    _flooded(outcome, plan, "2 identities", 2, 2)
    _flooded(outcome, plan, f"{MANY_SENDERS} identities, {MANY_BLOCKS} blocks", MANY_SENDERS, MANY_BLOCKS)
    return outcome


def _flooded(outcome: ScenarioOutcome, plan: Plan, name: str, count: int, blocks: int) -> None:
    config = plan.rules.offers
    population = Population.generate(plan.nodes, plan.signers, plan.rules.seed, plan.rules.kad)
    flooding = senders(population, count, blocks, AddressPlan(Random(f"{plan.rules.seed} addresses")))
    population.list_servers(range(plan.nodes))
    world = outcome.world(plan, population)
    world.askers = range(plan.signers, plan.nodes)
    storers = population.servers.closest(_around(0, plan)[1], plan.rules.kad.k)
    contents = {
        when: [_around(index, plan)[0] for index in part] for when, part in _parts(plan.offers).items()
    }
    world.announce(contents["before"])
    each = int(FLOOD_TIMES_STORE * config.max_offers / count)
    flood = begin_flood(world, _made_up(world, flooding, storers, each))
    world.announce(contents["during"])
    await_flood(world, flood)
    world.announce(contents["after"])
    held = {when: _held_share(world, storers, some) for when, some in contents.items()}
    outcome.note(
        f"flood, {name}", {**flood.figures, **{f"held_of_{when}": part for when, part in held.items()}}
    )
    finds = outcome.finds(f"finds, {name}", world.find(plan.finds))
    for when in ("during", "after"):
        outcome.mark(f"{name}: honest offers accepted {when}", 0.99, held[when], least=True)
    outcome.mark(f"{name}: honest offers from before still held", 0.99, held["before"], least=True)
    outcome.mark(f"{name}: honest offers found", 0.99, finds["success"], least=True)
    world.close()


def _parts(offers: int) -> dict[str, range]:
    return {
        when: range(1 + part * offers, 1 + (part + 1) * offers)
        for part, when in enumerate(("before", "during", "after"))
    }


def _around(index: int, plan: Plan) -> tuple[bytes, bytes]:
    """A content and its key, within a quarter of the distance in which the victim's storers lie."""
    bits = max((plan.nodes // plan.rules.kad.k).bit_length() + 1, 1)
    number = 0
    while True:
        content = content_of(f"near {index} {number}")
        key = sha256(content)
        if int.from_bytes(key[:4], "big") >> (32 - bits) == 0:
            return content, key
        number += 1


def _made_up(
    world: World, flooding: Sequence[int], storers: Sequence[int], each: int
) -> Iterable[tuple[int, list[Parcel]]]:
    """Each sender's offers, in whole batches, for every storer."""
    infos = world.population.infos
    random = Random(f"{len(world.population) - len(flooding)} senders")  # the keys that `senders` made
    for number in flooding:
        identity = Identity.from_seed(random.randbytes(32))
        parcels = []
        for first in range(0, each, MAX_BATCH_OFFERS):
            part = range(first, min(first + MAX_BATCH_OFFERS, each))
            terms = [_free(content_of(f"made up {number} {one}"), b"") for one in part]
            offers = sign_offers(identity, [Signing(one) for one in terms], START)
            parcels.append(_store_of(offers))
        yield number, [(infos[storer], body) for body in parcels for storer in storers]


def _free(content: bytes, user: bytes) -> OfferTerms:
    return OfferTerms(content, user, "free", FileMetadata("198.51.100.7", 8081, 0))


def _store_of(offers: Sequence[Offer]) -> bytes:
    signed = offers[0].signed
    if isinstance(signed, SignedBatch):
        return encode_store((), (signed.data,))
    return encode_store(offer.envelope for offer in offers)


def _held_share(world: World, storers: Sequence[int], contents: Sequence[bytes]) -> float | None:
    """The share of copies that are held, of those that the flooded storers should hold: each of a content's
    own k closest."""
    flooded, due, held = set(storers), 0, 0
    for content in contents:
        for number in world.population.servers.closest(sha256(content), world.network.kad.k):
            if number in flooded:
                due += 1
                held += any(world.network.node(number).core.offers.store.held(content))
    return share(held, due)


# --- one content at price 0


def price_flood(plan: Plan) -> ScenarioOutcome:
    """2,048 keys offer one content at price 0, from 1, 6 and 60 blocks, before an honest seller does."""
    outcome = ScenarioOutcome(plan)
    random = Random(f"{plan.rules.seed} shelf")
    keys = [Identity.from_seed(random.randbytes(32)) for _ in range(SHELF_KEYS)]
    for blocks in SHELF_BLOCKS:
        _shelved(outcome, plan, keys, blocks)
    return outcome


def _shelved(outcome: ScenarioOutcome, plan: Plan, keys: Sequence[Identity], blocks: int) -> None:
    name = f"{blocks} blocks"
    population = Population.generate(plan.nodes, plan.signers, plan.rules.seed, plan.rules.kad)
    addresses = AddressPlan(Random(f"{plan.rules.seed} addresses"))
    flooding = senders(population, SHELF_SENDERS, blocks, addresses)
    population.list_servers(range(plan.nodes))
    world = outcome.world(plan, population)
    world.askers = range(plan.signers, plan.nodes)
    contents = [content_of(f"shelf {number}") for number in range(plan.offers)]
    honest = {population.infos[number].peer_id for number in range(plan.signers)}
    copies: list[float] = []
    stores, acks = StoreFigures(), dict.fromkeys(Ack, 0)
    for index, content in enumerate(contents):
        storers = population.servers.closest(sha256(content), plan.rules.kad.k)
        flood = begin_flood(world, _free_of_charge(world, flooding, keys, content, storers))
        await_flood(world, flood)
        for job in flood.jobs:
            for ack, count in job.acks.items():
                acks[ack] += count
        world.announce([content], stores, first_signer=index)
        holders = [world.network.node(number).core.offers.store.held(content) for number in storers]
        copies.append(sum(any(one.provider in honest for one in held) for held in holders))
    world.rest(plan.rules.conditions.idle_timeout_s + 1)
    searched = search(world, plan.finds, contents, honest)
    outcome.stores(f"stores, {name}", stores)
    sent = sum(acks.values())
    outcome.note(
        f"flood, {name}",
        {"offers": sent, "share_stored": share(acks[Ack.STORED], sent), "honest_copies_mean": mean(copies)},
    )
    figures = outcome.note(f"finds, {name}", searched.figures())
    outcome.mark(f"{name}: the last seller's offer stored", 0.99, _reached(stores), least=True)
    outcome.mark(f"{name}: honest holder found", 0.99, figures["success"], least=True)
    outcome.mark(f"{name}: ... among the first {FIRST}", 0.95, figures[f"among_first_{FIRST}"], least=True)
    world.close()


def _reached(stores: StoreFigures) -> float | None:
    return share(stores.reached_count, len(stores.ms))


def _free_of_charge(
    world: World, flooding: Sequence[int], keys: Sequence[Identity], content: bytes, storers: Sequence[int]
) -> Iterable[tuple[int, list[Parcel]]]:
    """The keys are shared out among the senders; each sends the offers of its keys to every storer."""
    infos, now = world.population.infos, world.now
    most = world.network.offers.max_signatures_per_store
    for index, number in enumerate(flooding):
        offers = [sign_offer(key, _free(content, b""), now) for key in keys[index :: len(flooding)]]
        bodies = [_store_of(offers[at : at + most]) for at in range(0, len(offers), most)]
        yield number, [(infos[storer], body) for body in bodies for storer in storers]
