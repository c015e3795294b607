"""One network with the operations on it, in which scenarios are written."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from fastmarket.core.commands import FindOffers, Register
from fastmarket.core.events import Finished, JobEnded
from fastmarket.formats.kad_key import RawKey
from fastmarket.kad.lookup.lookup_job import LookupResult
from fastmarket.kad.lookup.queries import FindNode
from fastmarket.kad.outcome import NOBODY_ASKED, Outcome
from fastmarket.kad.records.put_job import PutResult
from fastmarket.native.sha256 import sha256
from fastmarket.offers.model.metadata import FileMetadata
from fastmarket.offers.model.offer import Offer, OfferTerms
from fastmarket.sim.conditions import Latency
from fastmarket.sim.disk import SimDisk
from fastmarket.sim.measures import FindFigures, LookupFigures, Referrals, StoreFigures
from fastmarket.sim.network import Network, Rules
from fastmarket.sim.node import Nature, Observer, SimNode
from fastmarket.sim.population import Population, content_of

# Interval between starts of jobs: they overlap, as in a network in use.
SPACING_S = 0.05
# Longer than any job takes.
ALL_DONE_S = 120.0
# Round trips sampled for the report.
SAMPLED_ROUND_TRIPS = 20_000
USER = b"sim"


@dataclass(frozen=True, slots=True)
class Plan:
    """The size of everything."""

    nodes: int = 1000
    signers: int = 50  # nodes with real keys, the first by number: they publish offers
    lookups: int = 1000
    offers: int = 100
    finds: int = 1000
    rules: Rules = field(default_factory=Rules)


def terms_of(content: bytes) -> OfferTerms:
    """The terms of a simulated holder for a content."""
    return OfferTerms(content, USER, "sim", FileMetadata("203.0.113.7", 8081, 5))


def with_kad(plan: Plan, **changes: Any) -> Plan:
    """The plan with other parameters of KadConfig."""
    return replace(plan, rules=replace(plan.rules, kad=replace(plan.rules.kad, **changes)))


class World:
    """A population, its network, and the jobs that scenarios run in it."""

    def __init__(self, plan: Plan, population: Population | None = None) -> None:
        """`population`: an existing one, perhaps shared with other worlds; None: made by the plan."""
        self.plan = plan
        self.population = population or Population.generate(
            plan.nodes, plan.signers, plan.rules.seed, plan.rules.kad
        )
        self.network = Network(self.population, plan.rules)
        self.network.disks.update((number, SimDisk()) for number in range(min(plan.signers, plan.nodes)))
        self.contents: list[bytes] = []
        """Contents published so far."""
        self.askers: Sequence[int] = range(min(plan.signers, plan.nodes - 1), plan.nodes)
        """The nodes that look up and search."""

    @property
    def now(self) -> float:
        """Virtual unix seconds."""
        return self.network.scheduler.now

    def rest(self, seconds: float) -> None:
        """Lets virtual time pass."""
        self.network.scheduler.rest(seconds)

    def some_node(self) -> SimNode:
        """Any of the askers that is up and behaves correctly."""
        random, standing = self.network.random, self.network.standing
        while True:
            number = random.choice(self.askers)
            if standing.is_up(number) and standing.nature(number) is not Nature.HOSTILE:
                return self.network.node(number)

    def round_trips_ms(self) -> list[float]:
        """Round trips between nodes drawn uniformly, in ms."""
        # Drawn by a Random of its own, because this must not change the run.
        random, regions = Random(f"{self.plan.rules.seed} round trips"), self.network.regions
        latency = Latency(self.plan.rules.conditions, random)
        sampled = []
        for _ in range(SAMPLED_ROUND_TRIPS):
            here, there = random.choice(regions), random.choice(regions)
            sampled.append(1000 * (latency.one_way(here, there) + latency.one_way(there, here)))
        return sampled

    def some(self, part: float) -> list[int]:
        """That share of all nodes, without signers; the same for the same seed."""
        numbers = range(self.plan.signers, self.plan.nodes)
        random = Random(f"{self.plan.rules.seed} some")
        return random.sample(numbers, min(int(part * self.plan.nodes), len(numbers) - 1))

    def look_up(self, count: int, by: SimNode | None = None) -> LookupFigures:
        """Lookups of random keys by random nodes, or all by one node."""
        figures = LookupFigures()
        for _ in range(count):
            self._look_up_one(by or self.some_node(), figures)
            self.rest(SPACING_S)
        self._await(figures, count)
        return figures

    def publish(self, count: int) -> StoreFigures:
        """New offers of the nodes that can sign, in turn."""
        first = len(self.contents)
        return self.announce([content_of(number) for number in range(first, first + count)])

    def announce(
        self, contents: Sequence[bytes], figures: StoreFigures | None = None, first_signer: int = 0
    ) -> StoreFigures:
        """Offers for these contents by the nodes that can sign, in turn; adds to `figures`."""
        figures = StoreFigures() if figures is None else figures
        before = figures.done_count
        signers = [n for n in range(self.plan.signers) if self.network.standing.is_honest_server(n)]
        for index, content in enumerate(contents, first_signer):
            self.contents.append(content)
            self._publish_one(signers[index % len(signers)], content, figures)
            self.rest(SPACING_S)
        self._await(figures, before + len(contents))
        return figures

    def find(
        self, count: int, contents: Sequence[bytes] | None = None, figures: FindFigures | None = None
    ) -> FindFigures:
        """Searches for published offers, in turn, by random nodes; adds to `figures`."""
        figures = FindFigures() if figures is None else figures
        before = figures.done_count
        contents = self.contents if contents is None else contents
        for index in range(count):
            self._find_one(self.some_node(), contents[index % len(contents)], figures)
            self.rest(SPACING_S)
        self._await(figures, before + count)
        return figures

    def run_until(self, is_done: Callable[[], bool]) -> None:
        """Lets time pass until something is so, for as long as any job may take."""
        if not self.network.scheduler.run(is_done, ALL_DONE_S):
            raise RuntimeError(f"not done after {ALL_DONE_S:g} virtual seconds")

    def close(self) -> None:
        """Frees the memory of an ended simulation. The counts stay."""
        self.network.close()
        gc.collect()  # nodes and networks refer to each other, and the collector is off during a run

    # --- private

    def _await(self, figures: LookupFigures | StoreFigures | FindFigures, count: int) -> None:
        if not self.network.scheduler.run(lambda: figures.done_count >= count, ALL_DONE_S):
            raise RuntimeError(
                f"after {ALL_DONE_S:g} virtual seconds {count - figures.done_count} jobs are still running"
            )

    def _look_up_one(self, node: SimNode, figures: LookupFigures) -> None:
        key = self.network.random.randbytes(34)
        referrals = Referrals(FindNode(self.network.kad, RawKey(key)))
        node.start_job(
            node.core.engine.lookup_job(key, referrals), LookingUp(self, node, key, referrals, figures)
        )

    def _publish_one(self, signer: int, content: bytes, figures: StoreFigures) -> None:
        node = self.network.node(signer)
        publishing = Publishing(self.now, figures, alone=node.core.batcher.is_idle)
        node.start(Register(terms_of(content), self.network.kad.job_timeout_s), publishing)

    def _find_one(self, node: SimNode, content: bytes, figures: FindFigures) -> None:
        node.start(FindOffers(content, self.network.kad.job_timeout_s), Finding(self.now, figures))


class LookingUp(Observer):
    """Compares the result of a lookup with the truth."""

    __slots__ = ("_figures", "_key", "_node", "_referrals", "_started", "_world")

    def __init__(
        self, world: World, node: SimNode, key: bytes, referrals: Referrals, figures: LookupFigures
    ) -> None:
        self._world = world
        self._node = node
        self._key = key
        self._referrals = referrals
        self._figures = figures
        self._started = world.now

    def on_finished(self, event: Finished, now: float) -> None:
        result, figures, referrals = event.result, self._figures, self._referrals
        assert isinstance(result, LookupResult)
        wanted = self._true_closest()
        found = [answered.peer.peer_id.raw for answered in result.closest]
        if found == wanted:
            figures.exact_count += 1
            figures.shares.append(1.0)
        else:
            missed = sorted(set(wanted).difference(found))
            figures.shares.append(1 - len(missed) / len(wanted))
            figures.missed.update(referrals.missed(raw_id) for raw_id in missed)
        if result.closest:
            figures.hops.append(referrals.hops(result.closest[0].peer))
        figures.asked.append(result.queried_count)
        figures.unanswered.append(result.queried_count - result.answered_count)
        figures.ms.append(1000 * (now - self._started))

    def on_gone(self) -> None:
        self._figures.abandoned_count += 1

    def _true_closest(self) -> list[bytes]:
        network, population, own = self._world.network, self._world.population, self._node.number
        standing = network.standing
        true = population.servers.closest(
            sha256(self._key), network.kad.k, lambda n: n != own and standing.is_answering(n)
        )
        return [population.infos[n].peer_id.raw for n in true]


class Publishing(Observer):
    """Measures a registration until its quorum, and until all storers have answered or failed."""

    __slots__ = ("_alone", "_figures", "_started")

    def __init__(self, started: float, figures: StoreFigures, *, alone: bool) -> None:
        """`alone`: it has a job of its own, whose end is reported; otherwise it is batched, and ends with its
        part of the batch."""
        self._started = started
        self._figures = figures
        self._alone = alone

    def on_finished(self, event: Finished, now: float) -> None:
        outcome = event.outcome or NOBODY_ASKED
        if outcome.is_reached:
            self._figures.reached_count += 1
            self._figures.quorum_ms.append(1000 * (now - self._started))
        if not self._alone:
            self._end(outcome, now)

    def on_job_ended(self, event: JobEnded, now: float) -> None:
        assert isinstance(event.result, PutResult)
        self._end(event.result.outcome, now)

    def _end(self, outcome: Outcome, now: float) -> None:
        self._figures.copies.append(outcome.acknowledged)
        self._figures.ms.append(1000 * (now - self._started))


class Finding(Observer):
    """Measures a search for offers."""

    __slots__ = ("_figures", "_first_at", "_started")

    def __init__(self, started: float, figures: FindFigures) -> None:
        self._started = started
        self._figures = figures
        self._first_at = 0.0

    def on_progress(self, item: object, now: float) -> None:
        if isinstance(item, Offer) and not self._first_at:
            self._first_at = now

    def on_finished(self, event: Finished, now: float) -> None:
        self._figures.ms.append(1000 * (now - self._started))
        if self._first_at:
            self._figures.found_count += 1
            self._figures.first_ms.append(1000 * (self._first_at - self._started))

    def on_gone(self) -> None:
        self._figures.abandoned_count += 1
