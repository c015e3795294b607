"""Fetches of many buyers at once, at the size that a test can afford; `make sim` runs a thousand."""

from __future__ import annotations

import pytest

from fastmarket.sim.fetching import FetchCrowd, FetchWorld
from fastmarket.sim.fetching_static import StaticChoice, static_seconds
from fastmarket.sim.measures import percentile
from fastmarket.sim.network import Rules
from fastmarket.sim.scenarios import SCENARIOS
from fastmarket.sim.world import Plan


def test_every_fetch_is_whole_and_the_median_near_the_best_static_choice() -> None:
    outcome = SCENARIOS["fetching"].run(Plan(nodes=60, rules=Rules(seed=5)))
    fetches = outcome.sections["fetches"]
    assert (fetches["count"], fetches["success"]) == (50, 1.0)
    assert all(mark.is_met for mark in outcome.marks), outcome.marks
    again = SCENARIOS["fetching"].run(Plan(nodes=60, rules=Rules(seed=5)))
    assert again.trace_hash == outcome.trace_hash


@pytest.mark.parametrize("crowded", [False, True])
def test_in_a_crowd_and_with_half_of_the_sellers_leaving(crowded: bool) -> None:
    plan = FetchCrowd(
        buyers=60, sellers=12, blocks=96, arrivals_s=1.0 if crowded else 120.0, leaving_share=0.5, seed=7
    )
    world = FetchWorld(plan)
    world.run(24 * 3600.0)
    assert all(buyer.is_whole for buyer in world.buyers), {buyer.why for buyer in world.buyers}
    assert (percentile(world.rates(), 50) or 0.0) >= 0.8
    assert sum(seller.has_left() for seller in world.sellers) > 2, "some left meanwhile"
    blocks = len(world.buyers) * len(world.file.blocks)
    assert sum(buyer.wasted for buyer in world.buyers) < 0.1 * blocks


def test_the_static_choice_shares_each_uplink() -> None:
    alone = StaticChoice(0.0, 1e9, [0])
    assert static_seconds([alone], [100.0], 1000) == [10.0]
    capped = StaticChoice(0.0, 50.0, [0])
    assert static_seconds([capped], [100.0], 1000) == [20.0]
    # The second comes when the first has half: both at half the rate, then the second by itself.
    pair = [StaticChoice(0.0, 1e9, [0]), StaticChoice(5.0, 1e9, [0])]
    assert static_seconds(pair, [100.0], 1000) == pytest.approx([15.0, 15.0])
    both = StaticChoice(0.0, 1e9, [0, 1])
    assert static_seconds([both], [100.0, 300.0], 1000) == [2.5]
