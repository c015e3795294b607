"""What is acknowledged survives a crash, at whatever moment it comes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fastmarket.core.commands import Register, Withdraw
from fastmarket.core.events import Finished
from fastmarket.sim.conditions import Conditions
from fastmarket.sim.network import Rules
from fastmarket.sim.node import Observer
from fastmarket.sim.population import content_of
from fastmarket.sim.world import USER, Plan, World, terms_of

PLAN = Plan(nodes=60, signers=4, rules=Rules(seed=5))
HOLDER = 0
TIMEOUT_S = 30.0
SLOW_DISK = Conditions(disk_delay_s=(2.0, 2.5))  # longer than a quorum takes


class Outcomes(Observer):
    """The ends of commands."""

    def __init__(self) -> None:
        self.finished: list[Finished] = []
        self.gone = 0

    def on_finished(self, event: Finished, now: float) -> None:
        self.finished.append(event)

    def on_gone(self) -> None:
        self.gone += 1

    @property
    def acknowledged(self) -> int:
        return sum(event.outcome is not None and event.outcome.is_reached for event in self.finished)


def come_back(world: World) -> set[bytes]:
    """The holder's process ends and another begins; the contents it offers then."""
    world.network.remove(HOLDER)
    return {offer.content for offer in world.network.node(HOLDER).core.offers.own}


@pytest.mark.parametrize("after_s", [0.0, 0.002, 0.004, 0.3, 0.8, 2.0])
def test_what_was_acknowledged_is_there_after_a_crash(after_s: float) -> None:
    world, seen = World(PLAN), []
    holder = world.network.node(HOLDER)
    for number in range(8):
        seen.append((content_of(number), Outcomes()))
        holder.start(Register(terms_of(seen[-1][0]), TIMEOUT_S), seen[-1][1])
    world.rest(after_s)
    acknowledged = {content for content, outcomes in seen if outcomes.acknowledged}
    assert acknowledged <= come_back(world)
    assert all(outcomes.gone + len(outcomes.finished) == 1 for _, outcomes in seen)


def test_a_quorum_without_the_disk_is_no_acknowledgement() -> None:
    world = World(replace(PLAN, rules=replace(PLAN.rules, conditions=SLOW_DISK)))
    outcomes, holder = Outcomes(), world.network.node(HOLDER)
    holder.start(Register(terms_of(content_of(1)), TIMEOUT_S), outcomes)
    world.rest(1.9)
    holders = [node for node in world.network.nodes.values() if node.core.offers.store.held(content_of(1))]
    assert len(holders) > 11
    assert not outcomes.finished
    world.rest(1.0)
    assert outcomes.acknowledged == 1


def test_what_was_withdrawn_does_not_come_back() -> None:
    world, outcomes = World(PLAN), Outcomes()
    holder = world.network.node(HOLDER)
    for number in range(3):
        holder.start(Register(terms_of(content_of(number)), TIMEOUT_S), outcomes)
    world.rest(5.0)
    holder.start(Withdraw(content_of(1), USER, TIMEOUT_S), outcomes)
    world.rest(35.0)
    assert outcomes.acknowledged == 4
    assert come_back(world) == {content_of(0), content_of(2)}


def test_registrations_that_come_together_go_together() -> None:
    world, outcomes = World(PLAN), Outcomes()
    holder = world.network.node(HOLDER)
    for number in range(50):
        holder.start(Register(terms_of(content_of(number)), TIMEOUT_S), outcomes)
    world.rest(10.0)
    assert outcomes.acknowledged == 50
    # One that came alone, and the others by a few sweeps.
    assert len(holder.core.offers.own) == 50
    assert world.network.traffic.requests < 50 * 30
