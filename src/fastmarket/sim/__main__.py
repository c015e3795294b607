"""`python -m fastmarket.sim`: run a scenario, print its figures, write JSON and plots."""

from __future__ import annotations

import gc
import json
import resource
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import click

from fastmarket.config import KadConfig
from fastmarket.errors import CallerFault
from fastmarket.sim import report
from fastmarket.sim.conditions import Conditions
from fastmarket.sim.network import Rules
from fastmarket.sim.scenarios import SCENARIOS
from fastmarket.sim.world import Plan

_KILO = 1024


def _kad_config(settings: Sequence[str]) -> KadConfig:
    """The shipped parameters with changes, each given as "name=value"."""
    shipped = KadConfig()
    changes: dict[str, Any] = {}
    for setting in settings:
        name, _, text = setting.partition("=")
        if name not in {item.name for item in fields(shipped)} or name == "prefix":
            raise click.BadParameter(f"{name!r} is not a parameter of KadConfig", param_hint="--kad")
        kind = type(getattr(shipped, name))
        try:
            changes[name] = text.lower() in ("1", "true", "yes") if kind is bool else kind(text)
        except ValueError:
            raise click.BadParameter(f"{name} expects {kind.__name__}", param_hint="--kad") from None
    return replace(shipped, **changes)


def _cost() -> dict[str, float]:
    """CPU seconds and peak memory of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    unit = _KILO * _KILO if sys.platform == "darwin" else _KILO
    return {"cpu_s": round(used.ru_utime + used.ru_stime, 1), "peak_mib": round(used.ru_maxrss / unit)}


_SUMMARIES = "\b\n" + "\n".join(f"{name:<12} {item.summary}" for name, item in SCENARIOS.items())


@click.command(epilog=_SUMMARIES, context_settings={"max_content_width": 110})
@click.option(
    "--scenario",
    type=click.Choice(list(SCENARIOS)),
    metavar="NAME",
    default="static",
    show_default=True,
    help="Scenario, one of those below.",
)
@click.option(
    "--nodes",
    type=click.IntRange(2, 1_000_000),
    help="Number of nodes.  [default: the usual of the scenario]",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Runs with the same seed are identical.")
@click.option(
    "--lookups", type=click.IntRange(0), default=1000, show_default=True, help="Number of lookups to run."
)
@click.option(
    "--offers", type=click.IntRange(1), default=100, show_default=True, help="Number of offers to publish."
)
@click.option(
    "--finds",
    type=click.IntRange(0),
    default=1000,
    show_default=True,
    help="Number of searches for these offers.",
)
@click.option(
    "--dial-round-trips",
    type=click.IntRange(0),
    default=Conditions().dial_round_trips,
    show_default=True,
    help="Round trips before the first request of a connection; 0 simulates open connections.",
)
@click.option("--loss", type=click.FloatRange(0, 1), default=0.0, help="Fraction of messages that are lost.")
@click.option("--kad", multiple=True, metavar="NAME=VALUE", help="Set a parameter of KadConfig; repeatable.")
@click.option("--wire", is_flag=True, help="Also report bytes on the wire.")
@click.option(
    "--json",
    "json_path",
    type=click.Path(path_type=Path, allow_dash=True),
    help="Write the report as JSON; - is stdout.",
)
@click.option(
    "--plot", "plot_path", type=click.Path(path_type=Path), help="Write plots as PNG; needs fastmarket[sim]."
)
def main(scenario: str, seed: int, kad: tuple[str, ...], **options: Any) -> None:
    """Simulate a large network of fastmarket nodes in virtual time."""
    conditions = Conditions(dial_round_trips=options["dial_round_trips"], loss=options["loss"])
    rules = Rules(seed, conditions, _kad_config(kad))
    nodes = options["nodes"] or SCENARIOS[scenario].nodes
    plan = Plan(
        nodes=nodes,
        signers=min(Plan().signers, nodes // 2),
        lookups=options["lookups"],
        offers=options["offers"],
        finds=options["finds"],
        rules=rules,
    )
    try:
        pyplot = report.plotting() if options["plot_path"] is not None else None
        # A run makes few reference cycles and many lasting objects: the collector would cost a fifth of its
        # time.
        gc.disable()
        outcome = SCENARIOS[scenario].run(plan)
    except CallerFault as fault:
        raise click.ClickException(str(fault)) from None
    cost = _cost()
    gc.freeze()  # likewise at the end
    cost["requests_per_cpu_s"] = round(outcome.network(wire=False)["requests"] / cost["cpu_s"])
    result = report.as_json(scenario, outcome, cost, wire=options["wire"])
    path = options["json_path"]
    if path is None or str(path) != "-":
        report.show(result)
    if path is not None:
        text = json.dumps(result, indent=1) + "\n"
        click.echo(text, nl=False) if str(path) == "-" else path.write_text(text)
    if pyplot is not None:
        report.plot(pyplot, scenario, outcome, options["plot_path"])


if __name__ == "__main__":
    main()
