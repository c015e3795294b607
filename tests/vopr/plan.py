"""What a run consists of: the commands of callers and the faults, each with its time, out of a seed.

A plan without one of its steps is the same plan otherwise, which is what shrinking needs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

from tests.vopr.disk import Fault
from tests.vopr.liars import Lie

CONTENTS = 10  # a world's, so that steps meet each other
KEYS = 4
HOUR_S = 3600.0


@dataclass(frozen=True)
class Step:
    """`at` seconds after the start. `number` names it in traces and seeds its randomness."""

    at: float
    kind: str
    machine: int
    args: tuple[object, ...] = ()
    number: int = 0

    @property
    def is_fault(self) -> bool:
        """Whether a plan without it is kinder."""
        return self.kind in FAULTS

    def __str__(self) -> str:
        args = " ".join(_told(arg) for arg in self.args)
        return f"{self.at:10.1f} s  machine {self.machine}  {self.kind}{' ' if args else ''}{args}"


@dataclass(frozen=True)
class Plan:
    """One run. `lasts_s`: of the steps; what heals and checks comes after."""

    seed: int
    machines: int
    lasts_s: float
    steps: tuple[Step, ...]

    def without(self, dropped: set[int]) -> Plan:
        """Without the steps of these numbers."""
        return replace(self, steps=tuple(step for step in self.steps if step.number not in dropped))


def _told(arg: object) -> str:
    if isinstance(arg, float):
        return f"{arg:.3g}"
    if isinstance(arg, (Fault, Lie)):
        return arg.value
    return str(arg)


def _some(random: Random, most: int, count: int) -> tuple[int, ...]:
    return tuple(sorted(random.sample(range(most), random.randint(1, count))))


def _lasting(random: Random, lasts_s: float) -> float:
    """Seconds: mostly short, some for long."""
    return float(random.choice((2.0, 15.0, 60.0, 300.0, min(1800.0, lasts_s / 4))) * (0.5 + random.random()))


def _register(random: Random, shape: Shape) -> tuple[object, ...]:
    return (_some(random, CONTENTS, 3), random.randint(1, 99))


def _register_many(random: Random, shape: Shape) -> tuple[object, ...]:
    return (_some(random, CONTENTS, CONTENTS), random.randint(1, 99))


def _one_content(random: Random, shape: Shape) -> tuple[object, ...]:
    return (random.randrange(CONTENTS),)


def _value(random: Random, shape: Shape) -> tuple[object, ...]:
    return (random.randrange(KEYS), random.randint(1, 99))


def _key(random: Random, shape: Shape) -> tuple[object, ...]:
    return (random.randrange(KEYS),)


def _kill(random: Random, shape: Shape) -> tuple[object, ...]:
    return (random.choice((0, 1, 3, 10, 40)), _lasting(random, shape.lasts_s))


def _power(random: Random, shape: Shape) -> tuple[object, ...]:
    return (random.choice((0, 0, 1, 2, 4, 8, 20)), _lasting(random, shape.lasts_s))


def _end_at_ack(random: Random, shape: Shape) -> tuple[object, ...]:
    """The worst moment: the caller has just been told."""
    return (random.choice(("kill", "power")), _lasting(random, shape.lasts_s))


def _for_a_while(random: Random, shape: Shape) -> tuple[object, ...]:
    return (_lasting(random, shape.lasts_s),)


def _disk(random: Random, shape: Shape) -> tuple[object, ...]:
    kind = random.choice(list(Fault))
    return (kind, random.choice((0.02, 0.2, 1.0)), _lasting(random, shape.lasts_s))


def _slow_disk(random: Random, shape: Shape) -> tuple[object, ...]:
    return (random.choice((0.2, 2.0, 15.0)), _lasting(random, shape.lasts_s))


def _clock(random: Random, shape: Shape) -> tuple[object, ...]:
    """Ahead or behind by so many seconds; and how long the process is down then, which may be not at all."""
    size = random.choice((0.5, 30.0, 600.0, 3 * HOUR_S, 12 * HOUR_S))
    return (random.choice((-1.0, 1.0)) * size, random.choice((0.0, 0.5, 5.0)))


def _cut(random: Random, shape: Shape) -> tuple[object, ...]:
    return (_some(random, shape.machines, max(1, shape.machines // 2)), _lasting(random, shape.lasts_s))


def _one_way(random: Random, shape: Shape) -> tuple[object, ...]:
    return (random.randrange(shape.machines), _lasting(random, shape.lasts_s))


def _share(random: Random, shape: Shape) -> tuple[object, ...]:
    return (random.choice((0.05, 0.3)), _lasting(random, shape.lasts_s))


def _delay(random: Random, shape: Shape) -> tuple[object, ...]:
    return (random.choice((0.3, 3.0, 20.0)), _lasting(random, shape.lasts_s))


def _lie(random: Random, shape: Shape) -> tuple[object, ...]:
    return (random.choice(list(Lie)), _lasting(random, shape.lasts_s))


def _flood(random: Random, shape: Shape) -> tuple[object, ...]:
    return (random.randrange(shape.machines), random.choice((20, 200)))


@dataclass(frozen=True)
class Shape:
    """What the arguments of a step depend on."""

    machines: int
    lasts_s: float


WORK = {
    "register": (_register, 6),
    "register many": (_register_many, 3),
    "withdraw": (_one_content, 4),
    "find": (_one_content, 3),
    "put": (_value, 1),
    "get": (_key, 1),
    "provide": (_key, 1),
    "providers": (_key, 1),
    "closest": (_one_content, 1),
}
FAULTS = {
    "kill": (_kill, 4),
    "end at ack": (_end_at_ack, 5),
    "power": (_power, 4),
    "stop": (_for_a_while, 2),
    "freeze": (_for_a_while, 2),
    "disk": (_disk, 6),
    "slow disk": (_slow_disk, 3),
    "clock": (_clock, 3),
    "readdress": (_for_a_while, 1),
    "cut": (_cut, 3),
    "one way": (_one_way, 2),
    "loss": (_share, 1),
    "duplicates": (_share, 1),
    "delay": (_delay, 2),
    "lie": (_lie, 4),
    "flood": (_flood, 2),
}
"""By kind: what draws the arguments, and how often it comes."""


EPISODE_S = (0.05, 1.0, 10.0, 60.0)  # how close the steps of an episode are to each other
SMALL_S = 900.0  # of a small plan
MAX_FAULTS, MAX_WORKS = 3, 5  # in one episode


def small_plan_of(seed: int) -> Plan:
    """Likewise, of a third of a second: for tests."""
    random = Random(f"small plan {seed}")
    return _plan(seed, random.choice((3, 4)), SMALL_S, random.randint(8, 14))


def plan_of(seed: int) -> Plan:
    """The plan of a seed: episodes of commands and faults that come together at a few machines, and quiet in
    between. Most runs have many in few hours, some last for days: renewals, ends of tombstones."""
    random = Random(f"plan {seed}")
    machines = random.choice((3, 4, 5, 6, 7, 8)) if random.random() < 0.9 else random.randint(9, 16)
    is_long = random.random() < 0.12
    lasts_s = random.choice((30.0, 60.0) if is_long else (0.3, 1.0, 3.0)) * HOUR_S
    return _plan(seed, machines, lasts_s, random.randint(12, 40))


def _plan(seed: int, machines: int, lasts_s: float, episodes: int) -> Plan:
    steps: list[Step] = []
    for episode in range(episodes):
        steps += _episode(Random(f"episode {seed} {episode}"), Shape(machines, lasts_s), len(steps))
    return Plan(seed, machines, lasts_s, tuple(sorted(steps, key=lambda step: (step.at, step.number))))


def _episode(random: Random, shape: Shape, first: int) -> list[Step]:
    began, within_s = random.random() * shape.lasts_s, random.choice(EPISODE_S)
    focus = random.sample(range(shape.machines), random.randint(1, 2))
    tables = [FAULTS] * random.randint(0, MAX_FAULTS) + [WORK] * random.randint(1, MAX_WORKS)
    steps = []
    for number, table in enumerate(tables, first):
        (kind,) = random.choices(list(table), [often for _, often in table.values()])
        args = table[kind][0](random, shape)
        at = began + random.random() * within_s
        steps.append(Step(at, kind, random.choice(focus), args, number))
    return steps
