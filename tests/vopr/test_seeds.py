"""Whole nodes on faulty disks and networks keep what they acknowledge; `make vopr` runs more seeds."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from tests.vopr.plan import FAULTS, WORK, Plan, Step, plan_of, small_plan_of
from tests.vopr.shrink import shrink
from tests.vopr.world import run

SEEDS = 12
ELSEWHERE = """
from tests.vopr.plan import small_plan_of
from tests.vopr.world import run
print(run(small_plan_of(3)).digest)
"""


@pytest.mark.parametrize("seed", range(1, SEEDS + 1))
def test_nothing_acknowledged_is_lost(seed: int) -> None:
    report = run(small_plan_of(seed))
    assert not report.violations, f"python -m tests.vopr --small {seed}: {report.violations}"
    assert report.acknowledged
    assert report.disk_changes > report.lives


def test_a_seed_is_one_run_in_any_process() -> None:
    digest = run(small_plan_of(3)).digest
    assert run(small_plan_of(3)).digest == digest
    for hash_seed in ("0", "1"):  # sets of the keys of this run have another order in each
        told = subprocess.run(
            [sys.executable, "-c", ELSEWHERE],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=300,
        ).stdout.strip()
        assert told == digest
    assert run(small_plan_of(4)).digest != digest


def test_plans_have_everything_in_them() -> None:
    kinds = {step.kind for seed in range(40) for step in plan_of(seed).steps}
    assert kinds == {*WORK, *FAULTS}
    for plan in map(plan_of, range(40)):
        assert sorted(plan.steps, key=lambda step: step.at) == list(plan.steps)
        assert len({step.number for step in plan.steps}) == len(plan.steps)


def test_a_plan_without_a_step_is_the_same_otherwise() -> None:
    plan = small_plan_of(5)
    dropped = plan.steps[3]
    assert plan.without({dropped.number}).steps == tuple(step for step in plan.steps if step is not dropped)


def test_shrinking_leaves_what_is_needed() -> None:
    plan = plan_of(6)
    needed = {plan.steps[7].number, plan.steps[30].number}
    runs = 0

    def fails(smaller: Plan) -> bool:
        nonlocal runs
        runs += 1
        return needed <= {step.number for step in smaller.steps}

    assert {step.number for step in shrink(plan, fails).steps} == needed
    assert runs <= 200
    assert shrink(plan, lambda _: False) == plan


def test_an_idle_world_is_quiet() -> None:
    plan = replace(small_plan_of(1), steps=(Step(1.0, "register", 0, ((1,), 5), 0),))
    report = run(plan)
    assert not report.violations
    assert (report.acknowledged, report.refused, report.disk_faults) == (1, 0, 0)
    assert report.lives == 2 * plan.machines  # the last one after the power cut at the end
