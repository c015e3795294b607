"""fastmarket.native.sim_net beside its twin: lookups of a simulated network, engines and all."""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.kernels.sides import SIDES
from fastmarket.sim import conditions, network
from fastmarket.sim.world import Plan, World
from tests.reference import sim_net as twin


@SIDES
def test_100_lookups(benchmark: BenchmarkFixture, compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not compiled:
        monkeypatch.setattr(network, "Carrier", twin.Carrier)
        monkeypatch.setattr(conditions, "Ways", twin.Ways)
    world = World(Plan(nodes=100, signers=0))
    world.look_up(500)  # everybody is connected with everybody after these
    benchmark.pedantic(world.look_up, (100,), rounds=5)
