"""The outcome of a scenario: figures, marks, and the samples for plots."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from fastmarket.native.sha256 import sha256
from fastmarket.sim.measures import Figures, FindFigures, LookupFigures, StoreFigures, percentile, spread
from fastmarket.sim.network import Network
from fastmarket.sim.population import Population
from fastmarket.sim.world import Plan, World


@dataclass(frozen=True, slots=True)
class Mark:
    """A bound for a figure: a lower one if `least`, otherwise an upper one."""

    name: str
    bound: float
    measured: float | int | None
    least: bool = False

    @property
    def is_met(self) -> bool:
        """Whether the figure keeps the bound; a figure that could not be measured does not."""
        if self.measured is None:
            return False
        return self.measured >= self.bound if self.least else self.measured <= self.bound

    def as_json(self) -> dict[str, Any]:
        """For the report."""
        wanted = f"{'>=' if self.least else '<='} {self.bound:g}"
        return {"mark": self.name, "wanted": wanted, "measured": self.measured, "met": self.is_met}


@dataclass(slots=True)
class ScenarioOutcome:
    """Filled by a scenario as it runs; sections are in the order of measurement."""

    plan: Plan
    sections: dict[str, Figures] = field(default_factory=dict)
    marks: list[Mark] = field(default_factory=list)
    times_ms: dict[str, list[float]] = field(default_factory=dict)
    hops: dict[str, list[int]] = field(default_factory=dict)
    worlds: list[World] = field(default_factory=list)
    traces: list[str] = field(default_factory=list)
    """Digests of what ran outside of worlds."""

    def world(self, plan: Plan | None = None, population: Population | None = None) -> World:
        """A new world whose traffic counts towards this outcome."""
        world = World(plan or self.plan, population)
        self.worlds.append(world)
        return world

    def lookups(self, name: str, figures: LookupFigures) -> Figures:
        """Adds a section on lookups."""
        self.times_ms[name], self.hops[name] = figures.ms, figures.hops
        return self._section(name, figures.figures())

    def stores(self, name: str, figures: StoreFigures) -> Figures:
        """Adds a section on stores."""
        self.times_ms[f"{name}: quorum"] = figures.quorum_ms
        return self._section(name, figures.figures())

    def finds(self, name: str, figures: FindFigures) -> Figures:
        """Adds a section on finds."""
        self.times_ms[f"{name}: first"] = figures.first_ms
        return self._section(name, figures.figures())

    def note(self, name: str, figures: Figures) -> Figures:
        """Adds a section of other figures."""
        return self._section(name, figures)

    def mark(self, name: str, bound: float, measured: float | int | None, *, least: bool = False) -> None:
        """Adds a mark."""
        self.marks.append(Mark(name, bound, measured, least))

    def round_trips(self) -> Figures:
        """The median round trip of the first world, the unit of some marks."""
        return spread("ms", self.worlds[0].round_trips_ms() if self.worlds else [])

    def in_round_trips(self, ms: list[float]) -> float | None:
        """A median, in median round trips."""
        median, unit = percentile(ms, 50), percentile(self.worlds[0].round_trips_ms(), 50)
        return round(median / unit, 2) if median is not None and unit else None

    def network(self, wire: bool) -> dict[str, Any]:
        """The total traffic of all worlds."""
        networks = [world.network for world in self.worlds]
        failures: dict[str, int] = {}
        for network in networks:
            for kind, count in sorted(network.traffic.failures.items()):
                failures[kind] = failures.get(kind, 0) + count
        totals: dict[str, Any] = {
            "messages": sum(network.traffic.messages for network in networks),
            "requests": sum(network.traffic.requests for network in networks),
            "connections": sum(network.traffic.connections for network in networks),
            "failures": failures,
            "engines": sum(network.made for network in networks),
            "events": sum(network.scheduler.events for network in networks),
            "virtual_s": round(sum(_elapsed(network) for network in networks), 1),
        }
        if wire:
            totals["bytes"] = sum(network.traffic.wire for network in networks)
        return totals

    @property
    def trace_hash(self) -> str:
        """Digest of everything sent, in all worlds and outside of them."""
        hashes = [*(world.network.trace_hash for world in self.worlds), *self.traces]
        return sha256("".join(hashes).encode()).hex()[:32]

    def _section(self, name: str, figures: Figures) -> Figures:
        self.sections[name] = figures
        return figures


def _elapsed(network: Network) -> float:
    return network.scheduler.now - network.started
