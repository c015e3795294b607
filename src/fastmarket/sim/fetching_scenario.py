"""The scenario of many fetches: every one is whole, and none much slower than by a choice made in
hindsight."""

from __future__ import annotations

from fastmarket.sim.fetching import FetchCrowd, FetchWorld
from fastmarket.sim.measures import MS_DIGITS, Figures, percentile, share, spread
from fastmarket.sim.outcome import ScenarioOutcome
from fastmarket.sim.world import Plan

BUYERS_A_SELLER = 5
WITHIN_S = 24 * 3600.0


def fetching(plan: Plan) -> ScenarioOutcome:
    """Buyers fetch a file from sellers with long-tailed uplinks, of which a fifth leaves midway."""
    sellers = max(plan.nodes // (BUYERS_A_SELLER + 1), 2)
    buyers = max(plan.nodes - sellers, 1)
    fetches = FetchCrowd(buyers, sellers, min(FetchCrowd().holders, sellers), seed=plan.rules.seed)
    world = FetchWorld(fetches)
    world.run(WITHIN_S)
    outcome = ScenarioOutcome(plan)
    rates = world.rates()
    figures = outcome.note("fetches", _figures(world))
    outcome.times_ms["fetches"] = world.times_ms()
    outcome.traces.append(world.trace_hash)
    outcome.note(
        "rates, times that of the static choice",
        {f"share_p{percent}": _rounded(percentile(rates, percent)) for percent in (1, 10, 50, 90)},
    )
    outcome.mark("fetches that are whole", 1.0, figures["success"], least=True)
    median = _rounded(percentile(rates, 50))
    outcome.mark("median rate, times that of the best static choice", 0.8, median, least=True)
    return outcome


def _rounded(rate: float | None) -> float | None:
    return None if rate is None else round(rate, 3)


def _figures(world: FetchWorld) -> Figures:
    buyers = world.buyers
    blocks = len(buyers) * len(world.file.blocks)
    whole = sum(buyer.is_whole for buyer in buyers)
    return {
        "count": len(buyers),
        "success": share(whole, len(buyers)),
        **spread("ms", world.times_ms(), MS_DIGITS),
        "requests_per_block": share(sum(buyer.requests for buyer in buyers), blocks),
        "blocks_in_vain": share(sum(buyer.wasted for buyer in buyers), blocks),
        "static_choice_ms_p50": _rounded(percentile([took * 1000 for took in world.static_s], 50)),
    }
