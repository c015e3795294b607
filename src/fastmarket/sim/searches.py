"""Searches in markets with false sellers: whether an honest one is found, how soon, and at which place."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from fastmarket.core.commands import FindOffers, OffersFound
from fastmarket.core.events import Finished
from fastmarket.formats.identity import PeerId
from fastmarket.offers.model.offer import Offer
from fastmarket.sim.measures import Figures, mean, share, spread
from fastmarket.sim.node import Observer
from fastmarket.sim.world import SPACING_S, World

FIRST = 10  # offers that a buyer looks at


@dataclass(slots=True)
class SearchFigures:
    """Results of searches; `places`: of the first honest offer in the result, from 0."""

    ms: list[float] = field(default_factory=list)
    honest_first_ms: list[float] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    offers: list[int] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)
    abandoned_count: int = 0

    @property
    def done_count(self) -> int:
        """Ended or abandoned."""
        return len(self.ms) + self.abandoned_count

    def figures(self) -> Figures:
        """For the report."""
        count = len(self.ms)
        return {
            "count": count,
            "success": share(len(self.places), count),
            f"among_first_{FIRST}": share(sum(place < FIRST for place in self.places), count),
            **spread("honest_place", self.places, None),
            "offers_mean": mean(self.offers),
            **spread("first_ms", self.honest_first_ms),
            **spread("ms", self.ms),
        }


def search(
    world: World,
    count: int,
    contents: Sequence[bytes],
    honest: Collection[PeerId],
    figures: SearchFigures | None = None,
) -> SearchFigures:
    """Searches for contents, in turn, by random nodes; `honest`: the sellers that deliver."""
    figures = SearchFigures() if figures is None else figures
    before = figures.done_count
    for index in range(count):
        command = FindOffers(contents[index % len(contents)], world.network.kad.job_timeout_s)
        world.some_node().start(command, _Searching(world.now, figures, honest))
        world.rest(SPACING_S)
    world.run_until(lambda: figures.done_count >= before + count)
    return figures


class _Searching(Observer):
    __slots__ = ("_figures", "_first_at", "_honest", "_started")

    def __init__(self, started: float, figures: SearchFigures, honest: Collection[PeerId]) -> None:
        self._started = started
        self._figures = figures
        self._honest = honest
        self._first_at = 0.0

    def on_progress(self, item: object, now: float) -> None:
        if not self._first_at and isinstance(item, Offer) and item.provider in self._honest:
            self._first_at = now

    def on_finished(self, event: Finished, now: float) -> None:
        figures = self._figures
        figures.ms.append(1000 * (now - self._started))
        if self._first_at:
            figures.honest_first_ms.append(1000 * (self._first_at - self._started))
        assert isinstance(event.result, OffersFound)
        offers = event.result.offers
        figures.offers.append(len(offers))
        place = next((at for at, offer in enumerate(offers) if offer.provider in self._honest), None)
        if place is not None:
            figures.places.append(place)

    def on_gone(self) -> None:
        self._figures.abandoned_count += 1
