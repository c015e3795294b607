"""Offers that outlived their sellers: buyers search the network, meet mostly dead holders, and fetch.

Searches run between whole nodes over the simulated network, fetches by the shipped planner over the lines of
`sim.fetching`, from the first offer on as in `net.fetching`. Who sells cheap has gone: every offer of a dead
seller asks nothing, that of the one which delivers most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from itertools import cycle, islice
from random import Random

from fastmarket.config import FetchConfig, HolderConfig
from fastmarket.core.commands import FindOffers, Register
from fastmarket.core.events import Finished
from fastmarket.exchange.fetching.history import HolderHistory
from fastmarket.exchange.fetching.holder import FetchHolder
from fastmarket.formats.cid import Cid
from fastmarket.offers.model.metadata import FileMetadata
from fastmarket.offers.model.offer import Offer, OfferTerms
from fastmarket.sim.conditions import Latency
from fastmarket.sim.fetched_file import SCALE, FetchedFile, scaled
from fastmarket.sim.fetching import DOWNLINK_MEDIAN, UPLINK_MEDIAN, SentAsk, SimBuyer, SimSeller
from fastmarket.sim.measures import Figure, Figures, StoreFigures, share, spread
from fastmarket.sim.node import NodeState, Observer, SimNode
from fastmarket.sim.outcome import ScenarioOutcome
from fastmarket.sim.population import Population
from fastmarket.sim.world import SPACING_S, USER, Plan, Publishing, World, with_kad

# Holders of a content, by their kind, and the sellers of each kind among whom they are drawn.
DEAD, SLOW, LIVE = 10, 3, 1
POOLS = 3
SELLERS = POOLS * (DEAD + SLOW + LIVE)
CONTENTS = 18
BUYERS = 8
FETCHES = 160  # by all buyers; those of the first half only teach whom to ask
BLOCKS = 8  # of 256 KiB: a file of 2 MiB
APART_S = 2.0  # from one fetch to the next: few meet at a seller
NEVER_S = 86_400.0  # tables are not refreshed within the run
GOAL = 1.5  # times the same with none dead
COMPARED = ("first_ms_p50", "first_ms_p99", "first_after_offer_ms_p50", "ms_p50", "ms_p99")


class Fate(Enum):
    """What becomes of a seller; its value: what it asks for a megabyte."""

    DEAD = 0
    SLOW = 3
    LIVE = 7


ALL_BUT_LIVE = frozenset({Fate.DEAD, Fate.SLOW})


@dataclass(frozen=True, slots=True)
class Order:
    """By what holders are ordered. `by_price`: prices differ; `by_proof`: buyers remember."""

    name: str
    by_price: bool
    by_proof: bool


ORDERS = (Order("price", True, False), Order("proof", False, True), Order("both", True, True))


class SlowSeller(SimSeller):
    """Answers each request some seconds late."""

    __slots__ = ("_world",)

    def __init__(self, number: int, world: World, lines: Latency) -> None:
        network = world.network
        super().__init__(number, UPLINK_MEDIAN, network.regions[number], network.scheduler, lines)
        self._world = world

    def on_request(self, request: SentAsk) -> None:
        network = self._world.network
        network.scheduler.after(network.slowness(), super().on_request, request)


@dataclass(frozen=True, slots=True)
class SoldContent:
    """A file and its sellers, by number."""

    file: FetchedFile
    sellers: Sequence[int]

    @property
    def key(self) -> bytes:
        """The multihash under which it is offered."""
        return Cid.from_bytes(self.file.root.raw).multihash


class Purchase(Observer):
    """One search and the fetch that begins with its first offer."""

    __slots__ = ("_history", "_market", "_node", "_skipped", "buyer", "content", "met_at")

    def __init__(
        self, market: StaleMarket, node: SimNode, content: SoldContent, skipped: frozenset[Fate]
    ) -> None:
        """`skipped`: sellers whose offers it passes over, as if it knew."""
        self._market = market
        self._skipped = skipped
        self._node = node
        self._history = HolderHistory(market.config)
        self.content = content
        self.buyer = market.buyer_of(node.number, content)
        self.met_at: float | None = None  # the first offer

    def begin(self, history: HolderHistory) -> None:
        """The buyer orders it; `history`: what it saw of sellers before."""
        self._history = history
        self.buyer.open()
        self._node.start(FindOffers(self.content.key, self._market.world.network.kad.job_timeout_s), self)

    def on_progress(self, item: object, now: float) -> None:
        if not isinstance(item, Offer):
            return
        number = self._market.world.population.numbers[item.provider.raw]
        if self._market.kinds[number] not in self._skipped:
            self.met_at = now if self.met_at is None else self.met_at
            most = HolderConfig().max_connections_per_holder
            holder = FetchHolder(number, item.metadata.price_per_mb, most_requests=most)
            self.buyer.meet(self._history.introduce(holder, item.provider.raw, now))

    def on_finished(self, event: Finished, now: float) -> None:
        self.buyer.met_all()


class Shopper:
    """A buyer's node and what it remembers from one purchase to the next."""

    __slots__ = ("_history", "_market", "_remembers", "purchases")

    def __init__(self, market: StaleMarket, *, remembers: bool) -> None:
        self._market = market
        self._history = HolderHistory(market.config)
        self._remembers = remembers
        self.purchases: list[Purchase] = []

    def buy(self, purchase: Purchase) -> None:
        """One more; what came of the one before is known by now, unless it still runs."""
        if self.purchases and self._remembers:
            self._remember(self.purchases[-1].buyer)
        self.purchases.append(purchase)
        purchase.begin(self._history)

    def _remember(self, buyer: SimBuyer) -> None:
        if buyer.fetch is not None and buyer.ended_at is not None:
            infos = self._market.world.population.infos
            for tally in buyer.fetch.holders():
                unscaled = replace(tally, bytes=tally.bytes * SCALE)
                self._history.record(infos[tally.key].peer_id.raw, unscaled, buyer.ended_at)


class StaleMarket:
    """A network in which some sellers announced contents, and then most died if `dies`."""

    def __init__(self, world: World, contents: int, *, by_price: bool, dies: bool) -> None:
        seed = world.plan.rules.seed
        self.world = world
        self.config = scaled(FetchConfig())
        self._random = Random(f"{seed} stale providers")
        self._lines = Latency(world.plan.rules.conditions, Random(f"{seed} stale lines"))
        self._done: list[SimBuyer] = []
        kinds = [
            kind
            for kind, count in ((Fate.DEAD, DEAD), (Fate.SLOW, SLOW), (Fate.LIVE, LIVE))
            for _ in range(POOLS * count)
        ]
        self.kinds = dict(enumerate(kinds))
        self.sellers = {number: self._seller(number, kind) for number, kind in self.kinds.items()}
        self.contents = [self._content(seed * contents + number) for number in range(contents)]
        self.stores = StoreFigures()
        self._announce(by_price)
        if dies:
            self._die()

    def _seller(self, number: int, kind: Fate) -> SimSeller:
        network = self.world.network
        if kind is Fate.SLOW:
            network.standing.slow.add(number)
            return SlowSeller(number, self.world, self._lines)
        region = network.regions[number]
        return SimSeller(number, UPLINK_MEDIAN, region, network.scheduler, self._lines)

    def _content(self, number: int) -> SoldContent:
        drawn: list[int] = []
        for kind, count in ((Fate.DEAD, DEAD), (Fate.SLOW, SLOW), (Fate.LIVE, LIVE)):
            # As many that fall silent as that are gone: each second one.
            of_kind = [one for one, its in self.kinds.items() if its is kind]
            if kind is Fate.DEAD:
                for parity in (0, 1):
                    drawn += self._random.sample([one for one in of_kind if one % 2 == parity], count // 2)
            else:
                drawn += self._random.sample(of_kind, count)
        return SoldContent(FetchedFile(BLOCKS, number), drawn)

    def _announce(self, by_price: bool) -> None:
        world, sent = self.world, 0
        for content in self.contents:
            for number in content.sellers:
                price = self.kinds[number].value if by_price else Fate.LIVE.value
                terms = OfferTerms(content.key, USER, "sim", FileMetadata("203.0.113.7", 8081, price))
                node = world.network.node(number)
                publishing = Publishing(world.now, self.stores, alone=node.core.batcher.is_idle)
                node.start(Register(terms, world.network.kad.job_timeout_s), publishing)
                sent += 1
                world.rest(SPACING_S)
        world.run_until(lambda: self.stores.done_count >= sent)
        world.rest(world.plan.rules.conditions.idle_timeout_s + 1)

    def _die(self) -> None:
        states = self.world.network.standing.states
        for number, kind in self.kinds.items():
            if kind is Fate.DEAD:
                seller = self.sellers[number]
                seller.leaves_at = self.world.now
                states[number] = NodeState.SILENT if seller.is_silent else NodeState.DOWN

    def buyer_of(self, node: int, content: SoldContent) -> SimBuyer:
        """Whoever fetches that content at that node."""
        network = self.world.network
        return SimBuyer(
            content.file,
            [self.sellers[number] for number in content.sellers],
            DOWNLINK_MEDIAN,
            network.regions[node],
            network.scheduler,
            self._lines,
            self.config,
            self._done,
            self.world.plan.rules.conditions.dial_round_trips,
        )

    def shop(
        self, fetches: int, *, remembers: bool, skipped: frozenset[Fate] = frozenset()
    ) -> list[Purchase]:
        """The buyers, new ones each time that it is called, fetch in turn; returns the purchases of the
        second half."""
        world, before = self.world, len(self._done)
        random = Random(f"{world.plan.rules.seed} shopping")
        nodes = [world.network.node(number) for number in random.sample(world.askers, BUYERS)]
        shoppers = [Shopper(self, remembers=remembers) for _ in nodes]
        for node, shopper in islice(cycle(zip(nodes, shoppers, strict=True)), fetches):
            shopper.buy(Purchase(self, node, random.choice(self.contents), skipped))
            world.rest(APART_S)
        world.run_until(lambda: len(self._done) == before + fetches)
        return [one for shopper in shoppers for one in shopper.purchases[len(shopper.purchases) // 2 :]]


def stale_providers(plan: Plan) -> ScenarioOutcome:
    """Of the 14 holders of a content ten are dead, three slow, and the one that is left is the dearest."""
    plan = with_kad(replace(plan, signers=SELLERS), refresh_interval_s=NEVER_S)
    outcome = ScenarioOutcome(plan)
    population = Population.generate(plan.nodes, SELLERS, plan.rules.seed, plan.rules.kad)
    for by_price in (True, False):
        alive = _market(outcome, population, by_price=by_price, dies=False)
        orders = [order for order in ORDERS if order.by_price is by_price]
        before = {order: _shop(outcome, alive, order, "none dead") for order in orders}
        alive.world.close()
        stale = _market(outcome, population, by_price=by_price, dies=True)
        for order in orders:
            alone = _shop(outcome, stale, order, "the live one alone", ALL_BUT_LIVE)
            _compare(outcome, order, _shop(outcome, stale, order, "ten dead"), before[order], alone)
        stale.world.close()
    return outcome


def _market(outcome: ScenarioOutcome, population: Population, *, by_price: bool, dies: bool) -> StaleMarket:
    contents = min(outcome.plan.offers, CONTENTS)
    world = outcome.world(outcome.plan, population)
    return StaleMarket(world, contents, by_price=by_price, dies=dies)


def _shop(
    outcome: ScenarioOutcome,
    market: StaleMarket,
    order: Order,
    what: str,
    skipped: frozenset[Fate] = frozenset(),
) -> Figures:
    fetches = min(outcome.plan.finds, FETCHES)
    bought = market.shop(fetches, remembers=order.by_proof, skipped=skipped)
    name = f"{order.name}, {what}"
    outcome.times_ms[f"{name}: first"] = _first_ms(bought)
    return outcome.note(name, _figures(bought))


def _compare(outcome: ScenarioOutcome, order: Order, stale: Figures, before: Figures, alone: Figures) -> None:
    outcome.mark(f"{order.name}: fetches that are whole", 1.0, stale["success"], least=True)
    for than, figures in (("with none dead", before), ("of the live one alone", alone)):
        ratios = {name: _ratio(stale, figures, name) for name in COMPARED}
        outcome.note(f"{order.name}, times that {than}", ratios)
        for percent in (50, 99):
            name = f"{order.name}: first byte p{percent}, times that {than}"
            outcome.mark(name, GOAL, ratios[f"first_ms_p{percent}"])


def _first_ms(bought: Sequence[Purchase]) -> list[float]:
    buyers = [one.buyer for one in bought]
    return [(one.first_at - one.began_at) * 1000 for one in buyers if one.first_at is not None]


def _figures(bought: Sequence[Purchase]) -> Figures:
    buyers = [one.buyer for one in bought]
    whole = [one for one in buyers if one.is_whole and one.ended_at is not None]
    after_offer = [
        (one.buyer.first_at - one.met_at) * 1000
        for one in bought
        if one.met_at is not None and one.buyer.first_at is not None
    ]
    blocks = sum(len(one.file.blocks) for one in buyers)
    return {
        "count": len(bought),
        "success": share(len(whole), len(bought)),
        **spread("first_ms", _first_ms(bought)),
        **spread("first_after_offer_ms", after_offer),
        **spread("ms", [((one.ended_at or 0.0) - one.began_at) * 1000 for one in whole]),
        "requests_per_block": share(sum(one.requests for one in buyers), blocks),
    }


def _ratio(one: Figures, other: Figures, name: str) -> Figure:
    ours, theirs = one[name], other[name]
    return None if ours is None or not theirs else round(ours / theirs, 2)
