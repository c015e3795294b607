"""The checks at the end of a run, when everything has been well for long."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from fastmarket.core import commands as c
from fastmarket.core.events import Finished
from tests.core.test_crashes import content
from tests.vopr.machine import Machine
from tests.vopr.steps import LATE_S, TIMEOUT_S

if TYPE_CHECKING:
    from tests.vopr.world import World


class Checks:
    """What was acknowledged is here, there, and on disk; and every node does its work."""

    def __init__(self, world: World) -> None:
        self._world = world

    def run(self) -> None:
        """Everything is well, and has been for long: what was acknowledged is here, there, and on disk."""
        if self._world.oracle.violations:
            return
        for machine in self._world.machines:
            if machine.life is None:
                self._world.oracle.violate(f"machine {machine.number} does not run")
                return
            self._world.oracle.check_live(machine.life, "at the end")
        self._check_lookups()
        lives = {
            machine.number: self._world.oracle.live(machine.life)
            for machine in self._world.machines
            if machine.life
        }
        for machine in self._world.machines:
            machine.cut_power()
        self._world.rest(1.0)
        for machine in self._world.machines:
            machine.start()
            if machine.life is None:
                self._world.oracle.violate(f"machine {machine.number} does not start again")
            elif (live := self._world.oracle.live(machine.life)) != (was := lives[machine.number]):
                differ = sorted(live.items() ^ was.items())
                self._world.oracle.violate(
                    f"machine {machine.number} has other offers on disk than it had in memory: {differ}"
                )

    def _check_lookups(self) -> None:
        """From two machines, each content; and each machine looks up, and ends what it began."""
        random = Random(f"{self._world.seed} finders")
        asked = {
            number for one in self._world.machines for number in self._world.oracle.account(one).ledger.asked
        }
        for finder in random.sample(self._world.machines, 2):
            for number in sorted(asked):
                self._check_found(finder, number)
        for machine in self._world.machines:
            answers: list[Finished] = []
            self._world.steps.start(machine, c.Closest(content(0), TIMEOUT_S), answers.append)
            self._world.rest(TIMEOUT_S + LATE_S)
            result = answers[0].result if answers else None
            if not getattr(result, "closest", None):
                self._world.oracle.violate(f"machine {machine.number} finds no peers: {result}")
            life = machine.life
            if life is not None and (life.core.operation_count or life.core.awaiting_count or life.finished):
                self._world.oracle.violate(f"machine {machine.number} has commands that do not end")

    def _check_found(self, finder: Machine, number: int) -> None:
        answers: list[Finished] = []
        self._world.steps.start(finder, c.FindOffers(content(number), TIMEOUT_S), answers.append)
        self._world.rest(TIMEOUT_S / 2)
        life = finder.life
        result = answers[0].result if answers else None
        if life is None or not isinstance(result, c.OffersFound):
            self._world.oracle.violate(f"machine {finder.number} cannot look up: {answers}")
            return
        self._world.oracle.check_found(life, number, result.offers)
