"""The steps of a plan, carried out: commands of callers, and faults."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any

from fastmarket.core import commands as c
from fastmarket.core.events import Finished
from fastmarket.errors import FastmarketError, PeerFault
from fastmarket.kad.lookup.query import Quorum
from fastmarket.kad.records.values import GetValueResult
from fastmarket.offers.wire.messages import FindRequest, encode_find
from tests.core.test_crashes import content, terms
from tests.vopr.disk import Fault
from tests.vopr.liars import Liar, Lie
from tests.vopr.life import Life
from tests.vopr.machine import ADDRESSES, Machine
from tests.vopr.network import IDLE_S
from tests.vopr.oracle import USER
from tests.vopr.plan import Step

if TYPE_CHECKING:
    from tests.vopr.world import World

TIMEOUT_S = 10.0  # of a command
LATE_S = 1.0  # a caller waits no longer than its time and this
AWAITED_S = 60.0  # how long a fault waits for an acknowledgement, in which to come
FLOOD_S = 0.01  # between two requests of a flood


class Steps:
    """What the steps of a plan do to a world. What lasts ends by itself."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._config = world.config

    def take(self, step: Step) -> None:
        """Carries out one step, unless all is to be well: the end of an episode that began late."""
        if not self._world.is_healed:
            self._world.note("step", step.machine, step.number)
            _STEPS[step.kind](self, self._world.machines[step.machine], *step.args)

    def start(self, machine: Machine, command: c.Command, finished: Callable[[Finished], None]) -> bool:
        """Whether it began; then it ends in its time, or its process does."""
        life = machine.life
        if life is None or life.is_frozen or life.is_stopping:
            return False
        over: list[Finished] = []

        def ended(event: Finished) -> None:
            over.append(event)
            finished(event)

        try:
            life.loop.run(life.start, command, ended)
        except FastmarketError:
            return False
        waits_s = TIMEOUT_S + LATE_S

        def late() -> None:
            if not over and not life.is_over:
                if life.is_frozen:
                    life.when_thawed(lambda: self._world.after(waits_s, late))
                elif not life.is_stopping:
                    self._world.oracle.violate(
                        f"machine {life.number}: {type(command).__name__} does not end"
                    )

        self._world.after(waits_s, late)
        return True

    def _put(self, machine: Machine, command: c.Command, numbers: tuple[int, ...], price: int | None) -> None:
        life = machine.life
        if life is None:
            return
        asked = [self._world.oracle.ask(machine, number, price) for number in numbers]

        def finished(event: Finished) -> None:
            self._world.oracle.on_put(life, numbers, asked, event)

        if not self.start(machine, command, finished):
            if life.is_over:
                return  # killed in the first turn: it may have taken effect
            for number, one in zip(numbers, asked, strict=True):
                self._world.oracle.refuse(machine, number, one)

    def _register(self, machine: Machine, numbers: tuple[int, ...], price: int) -> None:
        for number in numbers:
            self._put(machine, c.Register(terms(number, price), TIMEOUT_S), (number,), price)

    def _register_many(self, machine: Machine, numbers: tuple[int, ...], price: int) -> None:
        many = c.RegisterMany([terms(number, price) for number in numbers], TIMEOUT_S)
        self._put(machine, many, numbers, price)

    def _withdraw(self, machine: Machine, number: int) -> None:
        self._put(machine, c.Withdraw(content(number), USER, TIMEOUT_S), (number,), None)

    def _find(self, machine: Machine, number: int) -> None:
        life = machine.life
        if life is not None:
            self.start(
                machine,
                c.FindOffers(content(number), TIMEOUT_S),
                lambda event: self._world.oracle.on_found(life, event),
            )

    def _put_value(self, machine: Machine, number: int, value: int) -> None:
        put = b"value %d" % value
        self._world.oracle.values.setdefault(number, set()).add(put)
        self.start(machine, c.PutValue(_key(number), put, Quorum.MAJORITY, TIMEOUT_S), _ignore)

    def _get_value(self, machine: Machine, number: int) -> None:
        def finished(event: Finished) -> None:
            result = event.result
            if isinstance(result, GetValueResult) and result.record is not None and not self._world.has_liars:
                self._world.oracle.on_value(number, result.record.value)

        self.start(machine, c.GetValue(_key(number), Quorum.MAJORITY, TIMEOUT_S), finished)

    def _provide(self, machine: Machine, number: int) -> None:
        self.start(machine, c.Provide(_key(number), TIMEOUT_S), _ignore)

    def _providers(self, machine: Machine, number: int) -> None:
        self.start(machine, c.FindProviders(_key(number), None, TIMEOUT_S), _ignore)

    def _closest(self, machine: Machine, number: int) -> None:
        self.start(machine, c.Closest(content(number), TIMEOUT_S), _ignore)

    def _fault_after(self, seconds: float, life: Life, fault: Callable[[], None]) -> None:
        """Unless the process has ended by then, or all is to be well."""
        self._world.after(seconds, lambda: None if life.is_over or self._world.is_healed else fault())

    def _kill(self, machine: Machine, actions: int, down_s: float) -> None:
        if machine.life is not None:
            machine.life.kill_in = actions
            self._fault_after(down_s / 2, machine.life, machine.kill)
        self._world.after(down_s, machine.start)

    def _power(self, machine: Machine, changes: int, down_s: float) -> None:
        if machine.life is not None and changes:
            machine.disk.cut_after = changes
            self._fault_after(down_s / 2, machine.life, machine.cut_power)
        elif machine.life is not None:
            machine.cut_power()
        self._world.after(down_s, machine.start)

    def _end_at_ack(self, machine: Machine, how: str, down_s: float) -> None:
        if machine.life is not None:
            machine.life.ends_at_ack = how
        self._world.after(AWAITED_S + down_s, machine.start)

    def _stop(self, machine: Machine, down_s: float) -> None:
        if machine.life is not None:
            machine.life.stop()
        self._world.after(down_s, machine.start)
        self._world.after(down_s + TIMEOUT_S, machine.start)

    def _freeze(self, machine: Machine, for_s: float) -> None:
        if machine.life is not None and not machine.life.is_frozen:
            machine.life.freeze(for_s)

    def _refuse(self, machine: Machine, kind: Fault, chance: float, for_s: float) -> None:
        machine.disk.refusing[kind] = chance
        self._world.after(for_s, lambda: machine.disk.refusing.pop(kind, None) and None)

    def _slow_disk(self, machine: Machine, seconds: float, for_s: float) -> None:
        machine.slow_disk_s = seconds

        def again() -> None:
            machine.slow_disk_s = 0.0

        self._world.after(for_s, again)

    def _clock(self, machine: Machine, error_s: float, down_s: float) -> None:
        machine.clock_error_s = error_s
        if down_s and machine.life is not None:
            machine.kill()
            self._world.after(down_s, machine.start)

    def _readdress(self, machine: Machine, down_s: float) -> None:
        machine.kill()
        machine.address += ADDRESSES
        self._world.after(down_s, machine.start)

    def _cut(self, machine: Machine, numbers: tuple[int, ...], for_s: float) -> None:
        self._lasting(self._world.network.conditions.cuts, frozenset(number + 1 for number in numbers), for_s)

    def _one_way(self, machine: Machine, other: int, for_s: float) -> None:
        self._lasting(self._world.network.conditions.one_way, (machine.number, other + 1), for_s)

    def _lasting(self, conditions: list[Any], one: Any, for_s: float) -> None:
        conditions.append(one)
        self._world.after(IDLE_S, self._world.drop_silent)
        self._world.after(for_s, lambda: conditions.remove(one) if one in conditions else None)

    def _loss(self, machine: Machine, share: float, for_s: float) -> None:
        self._world.network.conditions.loss = share
        self._world.after(for_s, lambda: setattr(self._world.network.conditions, "loss", 0.0))

    def _duplicates(self, machine: Machine, share: float, for_s: float) -> None:
        self._world.network.conditions.duplicates = share
        self._world.after(for_s, lambda: setattr(self._world.network.conditions, "duplicates", 0.0))

    def _delay(self, machine: Machine, seconds: float, for_s: float) -> None:
        self._world.network.conditions.delay_s[machine.number] = seconds
        self._world.after(
            for_s, lambda: self._world.network.conditions.delay_s.pop(machine.number, None) and None
        )

    def _lie(self, machine: Machine, lie: Lie, for_s: float) -> None:
        machine.liar = Liar(lie, Random(f"{self._world.seed} liar {machine.number}"), self._config)
        self._world.after(for_s, lambda: setattr(machine, "liar", None))

    def _flood(self, machine: Machine, other: int, count: int) -> None:
        """Requests that one after another are answered: finds, and garbage in between."""
        random = Random(f"{self._world.seed} flood {machine.number}")
        protocol = self._config.offers.protocol

        def ask(left: int) -> None:
            victim = self._world.machines[other].life
            if not left or victim is None or victim.is_frozen:
                return
            body = encode_find(FindRequest(content(random.randrange(99)), 10))
            if left % 2:
                body = bytearray(body)
                body[random.randrange(len(body))] ^= 1 << random.randrange(8)
            try:
                victim.answer(machine.peer_id, protocol, bytes(body))
            except PeerFault:
                pass
            except Exception as error:  # noqa: BLE001 - the oracle's business
                self._world.oracle.escaped(f"an answer of machine {victim.number}", error)
            self._world.after(FLOOD_S, lambda: ask(left - 1))

        ask(count)


def _key(number: int) -> bytes:
    return b"key %d" % number


def _ignore(event: Finished) -> None:
    """What it found is not checked."""


_STEPS: dict[str, Callable[..., None]] = {
    "register": Steps._register,
    "register many": Steps._register_many,
    "withdraw": Steps._withdraw,
    "find": Steps._find,
    "put": Steps._put_value,
    "get": Steps._get_value,
    "provide": Steps._provide,
    "providers": Steps._providers,
    "closest": Steps._closest,
    "kill": Steps._kill,
    "power": Steps._power,
    "end at ack": Steps._end_at_ack,
    "stop": Steps._stop,
    "freeze": Steps._freeze,
    "disk": Steps._refuse,
    "slow disk": Steps._slow_disk,
    "clock": Steps._clock,
    "readdress": Steps._readdress,
    "cut": Steps._cut,
    "one way": Steps._one_way,
    "loss": Steps._loss,
    "duplicates": Steps._duplicates,
    "delay": Steps._delay,
    "lie": Steps._lie,
    "flood": Steps._flood,
}
