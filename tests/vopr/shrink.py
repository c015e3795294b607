"""A smaller plan that still fails: faults removed first, then commands, in parts that get smaller."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tests.vopr.plan import Plan, Step


def shrink(plan: Plan, fails: Callable[[Plan], bool], most_runs: int = 200) -> Plan:
    """Removes steps one after another as long as the plan `fails` without them; at most so many runs."""
    runs = 0
    is_smaller = True
    while is_smaller:
        is_smaller = False
        for of_kind in (True, False):
            size = max(1, sum(step.is_fault is of_kind for step in plan.steps) // 2)
            while size:
                for part in _parts([step for step in plan.steps if step.is_fault is of_kind], size):
                    if runs >= most_runs:
                        return plan
                    runs += 1
                    smaller = plan.without({step.number for step in part})
                    if fails(smaller):
                        plan, is_smaller = smaller, True
                size //= 2
    return plan


def _parts(steps: Sequence[Step], size: int) -> list[Sequence[Step]]:
    return [steps[at : at + size] for at in range(0, len(steps), size)]
