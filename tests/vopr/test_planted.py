"""The oracle finds faults that are put into the product on purpose."""

from __future__ import annotations

import pytest

from tests.vopr.plan import small_plan_of
from tests.vopr.planted import PLANTED
from tests.vopr.world import run

MOST_SEEDS = 60


@pytest.mark.parametrize("name", PLANTED)
def test_it_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once by the seed that found it last time; if plans have changed, by one of the first seeds."""
    planted = PLANTED[name]
    planted.put(monkeypatch)
    assert any(run(small_plan_of(seed)).violations for seed in (planted.seed, *range(1, MOST_SEEDS + 1)))
