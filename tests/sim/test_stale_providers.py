"""Purchases in a network whose offers outlived their sellers, at the size that a test can afford."""

from __future__ import annotations

from fastmarket.sim.network import Rules
from fastmarket.sim.scenarios import SCENARIOS
from fastmarket.sim.world import Plan

SMALL = Plan(nodes=50, offers=4, finds=32, rules=Rules(seed=3))


def test_dead_and_slow_holders_hide_no_live_one() -> None:
    """The goal of 1.5 is kept beside the live one alone. Beside 14 that live, of which the nearest answers
    first, it is missed: one holder by itself takes twice as long as they do."""
    outcome = SCENARIOS["stale-providers"].run(SMALL)
    assert all(mark.is_met for mark in outcome.marks if mark.name.endswith("whole")), outcome.marks
    for order in ("price", "proof", "both"):
        alone = outcome.sections[f"{order}, times that of the live one alone"]["first_ms_p50"]
        before = outcome.sections[f"{order}, times that with none dead"]["first_ms_p50"]
        assert (alone or 99.0) <= 1.5, (order, alone)
        assert (before or 99.0) <= 3.2, (order, before)
