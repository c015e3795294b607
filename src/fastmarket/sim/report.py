"""A run's report: JSON for programs, tables for people, plots for slides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from importlib import import_module
from pathlib import Path
from typing import Any

from fastmarket.config import KadConfig
from fastmarket.errors import CallerFault
from fastmarket.sim.outcome import ScenarioOutcome

PLOT_INCHES = (12.0, 4.5)
# Figures of a section that fit on a terminal, with their headings; the JSON report has all of them.
SHOWN = {
    "count": "n",
    "success": "success",
    "share_of_true_closest": "true k",
    "hops_p50": "hops p50",
    "hops_p99": "hops p99",
    "asked_mean": "asked",
    "quorum_ms_p50": "quorum ms p50",
    "first_ms_p50": "first ms p50",
    "first_ms_p99": "first ms p99",
    "ms_p50": "ms p50",
    "ms_p99": "ms p99",
}
PIPE_COLUMNS = 110  # if there is no terminal


def as_json(
    scenario: str, outcome: ScenarioOutcome, cost: Mapping[str, float], *, wire: bool
) -> dict[str, Any]:
    """All results of a run. Everything but `cost`, which is what the run took, is the same for one seed."""
    plan = outcome.plan
    return {
        "scenario": scenario,
        "nodes": plan.nodes,
        "seed": plan.rules.seed,
        "conditions": asdict(plan.rules.conditions),
        "kad": changed(plan.rules.kad),
        "round_trip": outcome.round_trips(),
        "sections": outcome.sections,
        "marks": [mark.as_json() for mark in outcome.marks],
        "network": outcome.network(wire),
        "trace": outcome.trace_hash,
        "cost": dict(cost),
    }


def changed(config: KadConfig) -> dict[str, Any]:
    """The fields that differ from the shipped configuration."""
    shipped = KadConfig()
    return {
        item.name: getattr(config, item.name)
        for item in fields(config)
        if getattr(config, item.name) != getattr(shipped, item.name)
    }


def show(report: Mapping[str, Any]) -> None:
    """Prints a table row for each section with its main figures, then the marks."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = PIPE_COLUMNS
    console.print(f"{report['scenario']}: {report['nodes']:,} nodes, seed {report['seed']}")
    sections: dict[str, Mapping[str, Any]] = {}
    notes: dict[str, Mapping[str, Any]] = {}
    for name, figures in report["sections"].items():
        (sections if "count" in figures else notes)[name] = figures
    shown = [name for name in SHOWN if any(name in figures for figures in sections.values())]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("", no_wrap=True)
    for name in shown:
        table.add_column(SHOWN[name], justify="right")
    for section, figures in sections.items():
        table.add_row(section, *(_text(figures.get(name)) for name in shown))
    console.print(table)
    marks = Table("mark", "wanted", "measured", "met", box=box.SIMPLE_HEAD, pad_edge=False)
    for mark in report["marks"]:
        cells = (mark["mark"], mark["wanted"], _text(mark["measured"]), "yes" if mark["met"] else "NO")
        marks.add_row(*cells)
    console.print(marks)
    notes |= {title: report[title] for title in ("round_trip", "network", "cost")}
    for title, figures in notes.items():
        console.print(f"{title}: " + ", ".join(f"{name} {_text(value)}" for name, value in figures.items()))
    console.print(f"trace: {report['trace']}", soft_wrap=True)


def plotting() -> Any:
    """The library for `plot`, loaded before a long run. Raises CallerFault without matplotlib."""
    try:
        import_module("matplotlib").use("agg")
    except ImportError:
        raise CallerFault("plot", "needs matplotlib: pip install 'fastmarket[sim]'") from None
    return import_module("matplotlib.pyplot")


def plot(pyplot: Any, scenario: str, outcome: ScenarioOutcome, path: Path) -> None:
    """Writes a PNG of durations and hops."""
    figure, (left, right) = pyplot.subplots(1, 2, figsize=PLOT_INCHES)
    for name, values in outcome.times_ms.items():
        ordered = sorted(values)
        left.plot(ordered, [(place + 1) / len(ordered) for place in range(len(ordered))], label=name)
    left.set(xlabel="virtual ms", ylabel="share done", xlim=(0, None), ylim=(0, 1))
    left.legend()
    for name, hops in outcome.hops.items():
        counts = [hops.count(number) / len(hops) for number in range(max(hops, default=0) + 1)]
        right.bar(range(len(counts)), counts, alpha=0.6, label=name)
    most = max((max(hops, default=0) for hops in outcome.hops.values()), default=0)
    right.set(xlabel="hops to the closest peer found", ylabel="share of lookups", xticks=range(most + 1))
    right.legend()
    figure.suptitle(f"{scenario}, {outcome.plan.nodes:,} nodes, seed {outcome.plan.rules.seed}")
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.5g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
