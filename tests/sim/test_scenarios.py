"""Scenarios at the size that a test can afford; `make sim` runs them larger."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
from click.testing import CliRunner

from fastmarket.sim import announcing, days
from fastmarket.sim.__main__ import main
from fastmarket.sim.churn import Sessions
from fastmarket.sim.conditions import Conditions
from fastmarket.sim.measures import Missed
from fastmarket.sim.network import Rules
from fastmarket.sim.outcome import ScenarioOutcome
from fastmarket.sim.scenarios import SCENARIOS
from fastmarket.sim.world import Plan, World

SMALL = Plan(nodes=250, signers=10, lookups=60, offers=10, finds=60, rules=Rules(seed=3))


def test_a_thousand_nodes_find_the_true_closest() -> None:
    outcome = SCENARIOS["static"].run(replace(SMALL, nodes=1000, lookups=60, offers=5, finds=40))
    lookups, finds, stores = (outcome.sections[name] for name in ("lookups", "finds", "stores"))
    assert lookups["success"] == 1.0
    assert finds["success"] == 1.0
    assert stores["success"] == 1.0
    hops = lookups["hops_p99"]
    assert hops is not None
    assert 2 <= hops <= 4


@pytest.fixture(scope="module")
def a_fifth_dead() -> ScenarioOutcome:
    return SCENARIOS["dead20"].run(SMALL)


def test_offers_are_found_with_a_fifth_of_the_nodes_dead(a_fifth_dead: ScenarioOutcome) -> None:
    outcome = a_fifth_dead
    finds, lookups = outcome.sections["finds"], outcome.sections["lookups"]
    assert finds["success"] == 1.0
    unanswered = lookups["unanswered_mean"]
    assert unanswered is not None
    assert unanswered > 1, "dead peers were asked"
    assert outcome.network(wire=False)["failures"]["timeout"] > 0


@pytest.mark.parametrize("name", ["slow20", "loss5", "clients", "hostile"])
def test_other_troubles(name: str) -> None:
    outcome = SCENARIOS[name].run(replace(SMALL, lookups=30, finds=30))
    success = outcome.sections["finds"]["success"]
    assert success is not None
    assert success >= 0.9


def test_a_holder_of_many_files_announces_them_by_region() -> None:
    outcome = SCENARIOS["reannounce"].run(replace(SMALL, nodes=200))
    sweeps = outcome.sections["sweeps"]
    assert sweeps["contents"] == 2000
    assert sweeps["success"] == 1.0
    assert all(mark.is_met for mark in outcome.marks), outcome.marks


def test_among_keys_of_one_prefix_no_offer_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(announcing, "ONE_PREFIX", ((8, 8),))
    outcome = SCENARIOS["one-prefix"].run(replace(SMALL, offers=1))
    figures = outcome.sections["8 nodes, 8 bits"]
    assert figures["never_announced"] == 0
    assert figures["with_all_copies"] == 1.0
    assert figures["borders"]


def test_offers_outlive_their_first_holders_by_handover(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(days, "HOURS", 6)
    outcome = SCENARIOS["liveness36"].run(replace(SMALL, nodes=24, offers=1, finds=5, lookups=0))
    handed, left = (outcome.sections[f"{name}, hour 6"] for name in ("handover", "no handover"))
    assert handed["lost_so_far"] == 0
    assert (handed["holders_p50"] or 0) > (left["holders_p50"] or 0)


def test_nodes_know_their_closest_under_churn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(days, "TABLES_AFTER_S", 3600.0)
    outcome = SCENARIOS["table-health"].run(replace(SMALL, nodes=60, lookups=20))
    figures = outcome.sections["tables"]
    assert (figures["know_all_of_their_closest"] or 0) >= 0.8
    assert figures["know_fewer_than_5"] == 0.0


def test_hops_grow_with_the_number_of_nodes() -> None:
    outcome = SCENARIOS["growth"].run(replace(SMALL, nodes=1200))
    means = [figures["hops_mean"] for figures in outcome.sections.values()]
    assert len(means) == 3
    assert None not in means
    assert means == sorted(means, key=lambda value: value or 0.0)
    assert 1 < (means[-1] or 0.0) < 4


def test_why_lookups_miss_is_told_by_kind(a_fifth_dead: ScenarioOutcome) -> None:
    lookups = a_fifth_dead.sections["lookups"]
    missed = sum(lookups[f"missed_{how.value}"] or 0 for how in Missed)
    share = lookups["share_of_true_closest"]
    assert share is not None
    assert missed == round((1 - share) * SMALL.lookups * Rules().kad.k)


def test_the_same_seed_gives_the_same_run_and_another_seed_another() -> None:
    def trace(seed: int) -> str:
        return (
            SCENARIOS["dead20"]
            .run(replace(SMALL, nodes=100, lookups=20, finds=20, rules=Rules(seed=seed)))
            .trace_hash
        )

    assert trace(3) == trace(3) != trace(4)


def test_the_run_does_not_depend_on_the_processes_hash_seed() -> None:
    traces = set()
    for hash_seed in ("1", "2"):
        command = [sys.executable, "-m", "fastmarket.sim", "--nodes", "150", "--lookups", "20"]
        command += ["--finds", "20", "--offers", "5", "--json", "-"]
        env = {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": "src"}
        done = subprocess.run(command, env=env, capture_output=True, check=True, timeout=120)
        traces.add(json.loads(done.stdout)["trace"])
    assert len(traces) == 1


def test_nobody_is_heard_across_a_partition_and_everybody_once_it_is_healed() -> None:
    world = World(SMALL)
    world.publish(10)
    world.rest(world.plan.rules.conditions.idle_timeout_s + 1)
    sides = world.network.standing.sides
    sides.update(dict.fromkeys(range(SMALL.nodes), 0))
    sides.update(dict.fromkeys(world.askers, 1))
    sides.update(dict.fromkeys(range(SMALL.signers), 0))
    asker = world.some_node()
    cut = {n for n in range(SMALL.nodes) if world.network.standing.is_cut(asker.number, n)}
    assert cut == set(range(SMALL.signers))
    sides.update((n, n) for n in range(SMALL.nodes))
    assert world.look_up(5).shares == [0.0] * 5
    sides.clear()
    assert world.look_up(20).exact_count == 20


def test_under_churn_who_came_later_counts_among_the_closest() -> None:
    outcome = ScenarioOutcome(replace(SMALL, nodes=60, signers=4))
    world = outcome.world()
    Sessions(world).begin()
    away = {n for n in range(60) if not world.network.standing.is_up(n)}
    world.rest(1800)
    closest = world.population.servers.closest(bytes(32), 60, world.network.standing.is_answering)
    came = {n for n in away if world.network.standing.is_up(n)}
    assert came
    assert came <= set(closest)
    assert world.look_up(20).exact_count >= 18


def test_dials_cost_their_round_trips() -> None:
    def median_ms(dial_round_trips: int) -> float:
        rules = Rules(seed=3, conditions=Conditions(dial_round_trips=dial_round_trips))
        figures = World(replace(SMALL, rules=rules)).look_up(40).figures()["ms_p50"]
        assert figures is not None
        return figures

    warm, cold = median_ms(0), median_ms(2)
    assert 1.5 * warm < cold < 4 * warm


def test_the_command_prints_tables_and_writes_json(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    words = ["--nodes", "100", "--lookups", "10", "--finds", "10", "--offers", "5", "--wire"]
    done = CliRunner().invoke(main, [*words, "--json", str(path), "--kad", "alpha=3"])
    assert done.exit_code == 0, done.output
    assert "lookups that return the true k closest" in done.output
    report = json.loads(path.read_text())
    assert report["kad"] == {"alpha": 3}
    assert report["network"]["bytes"] > 1000
    assert report["sections"]["lookups"]["count"] == 10
    assert {mark["met"] for mark in report["marks"]} <= {True, False}


def test_an_unknown_parameter_is_named() -> None:
    done = CliRunner().invoke(main, ["--kad", "omega=3"])
    assert done.exit_code == 2
    assert "omega" in done.output


def test_a_plot_needs_matplotlib_and_says_so_at_once(tmp_path: Path) -> None:
    words = ["--nodes", "100", "--lookups", "5", "--finds", "5", "--offers", "5"]
    path = tmp_path / "run.png"
    done = CliRunner().invoke(main, [*words, "--plot", str(path)])
    if find_spec("matplotlib") is None:
        assert done.exit_code == 1
        assert "fastmarket[sim]" in done.output
        assert "lookups" not in done.output
    else:
        assert done.exit_code == 0, done.output
        assert path.read_bytes().startswith(b"\x89PNG")
