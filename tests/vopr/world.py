"""One run: machines and the network between them, the steps of a plan, and the oracle, in virtual time.

The same plan gives the same run, in any process: nothing in it depends on the real time, on addresses in
memory or on the order of sets of strings.
"""

from __future__ import annotations

import heapq
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

from fastmarket.config import NodeConfig
from fastmarket.core import commands as c
from fastmarket.core.events import Finished
from fastmarket.errors import FastmarketError, PeerFault
from fastmarket.formats.identity import PeerId
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.lookup.query import Quorum
from fastmarket.kad.records.values import GetValueResult
from fastmarket.offers.wire.messages import FindRequest, encode_find
from tests.core.test_crashes import content, terms
from tests.virtual.values import START
from tests.vopr.disk import Fault
from tests.vopr.liars import Liar, Lie
from tests.vopr.machine import ADDRESSES, Life, Machine
from tests.vopr.network import IDLE_S, Network
from tests.vopr.oracle import USER, Oracle
from tests.vopr.plan import Plan, Step
from tests.vopr.vfs import FaultyVfs

TIMEOUT_S = 10.0  # of a command
AWAITED_S = 60.0  # how long a fault waits for an acknowledgement, in which to come
LATE_S = 1.0  # a caller waits no longer than its time and this
SETTLE_S = 1800.0  # after everything is well: longer than what CONFIG says of announcements
CHECK_S = 30.0
FLOOD_S = 0.01  # between two requests of a flood
HEAL_S = (5.0, 60.0)  # some are still ending at the first
CONFIG = NodeConfig()
# The files are looked after, and the peers, ten times as seldom: nearly all of an idle node's work.
CONFIG = replace(CONFIG, storage=replace(CONFIG.storage, look_s=20.0, peers_interval_s=50.0))
# Short slices and waits, so that few registrations make several batches and sweeps; and announcements that
# are due within minutes after a restart or a failure, for which the end of a run need not wait for hours.
CONFIG = replace(
    CONFIG,
    offers=replace(
        CONFIG.offers,
        register_slice=3,
        max_registering=2,
        gather_s=0.01,
        sweep_from=4,
        restore_spread_s=600.0,
        retry_longest_s=600.0,
    ),
)


@dataclass(frozen=True)
class Report:
    """What a run has shown."""

    plan: Plan
    violations: tuple[str, ...]
    digest: str
    node_hours: float
    """Of processes that ran while the steps came; what heals and checks is not counted."""
    requests: int
    acknowledged: int
    refused: int
    disk_changes: int
    disk_faults: int
    lives: int


_VFS: list[FaultyVfs] = []


def the_vfs() -> FaultyVfs:
    """The one of this process: SQLite may call what it registered as long as a connection lives."""
    if not _VFS:
        _VFS.append(FaultyVfs())
    return _VFS[0]


@contextmanager
def _quiet() -> Iterator[None]:
    """The node's warnings are what the faults are for."""
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def run(plan: Plan, *, raises: bool = False) -> Report:
    """Carries out a plan. `raises`: exceptions that escape are raised, for their tracebacks."""
    shared = Path("/dev/shm")
    home = Path(tempfile.mkdtemp(prefix="vopr-", dir=shared if shared.is_dir() else None))
    vfs = the_vfs()
    world = None
    try:
        with _quiet(), vfs.mounted():
            world = World(plan, home, vfs, raises=raises)
            try:
                return world.run()
            finally:
                world.close()
    finally:
        vfs.disks.clear()
        shutil.rmtree(home, ignore_errors=True)


class World:
    """Everything of one run."""

    def __init__(self, plan: Plan, home: Path, vfs: FaultyVfs, *, raises: bool) -> None:
        self.plan = plan
        self.seed = plan.seed
        self.vfs = vfs
        self.raises = raises
        self.now = START
        self._home = home
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._sequence = 0
        self._digest = sha256()
        self.network = Network(Random(f"{plan.seed} network"))
        self.oracle = Oracle(self)
        self.is_healed = False
        self.lost_power: list[Machine] = []
        """Machines whose disk lost power in the middle of a write: they are off after the event under way."""
        self.machines = [Machine(self, number + 1, CONFIG) for number in range(plan.machines)]
        self.by_peer: dict[PeerId, Machine] = {machine.peer_id: machine for machine in self.machines}
        self._has_liars = any(step.kind == "lie" for step in plan.steps)

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return self.now - START

    def directory_of(self, machine: Machine) -> Path:
        """Its data directory."""
        directory = self._home / f"node{machine.number}"
        directory.mkdir()
        self.vfs.disks[str(directory)] = machine.disk
        return directory

    def seeds_for(self, machine: Machine) -> list[PeerInfo]:
        """Two well-known machines, by the addresses that they have now."""
        return [other.info for other in self.machines[:2] if other is not machine]

    # --- time

    def at(self, when: float, event: Callable[[], None]) -> None:
        """Schedules."""
        self._sequence += 1
        heapq.heappush(self._heap, (when if when > self.now else self.now, self._sequence, event))

    def after(self, seconds: float, event: Callable[[], None]) -> None:
        """Likewise, from now."""
        self.at(self.now + seconds, event)

    def rest(self, seconds: float) -> None:
        """Lets time pass."""
        end = self.now + seconds
        heap = self._heap
        while heap and heap[0][0] <= end:
            self.now, _, event = heapq.heappop(heap)
            event()
            while self.lost_power:
                self.lost_power.pop().cut_power()
        self.now = end

    def note(self, what: str, number: int, detail: object) -> None:
        """For the digest."""
        self._digest.update(f"{self.now!r} {what} {number} {detail}\n".encode())

    # --- connections

    def meet(self, one: Machine, other: Machine) -> None:
        """A connection comes up."""
        a, b = one.life, other.life
        if a is None or b is None or a.is_frozen or b.is_frozen:
            return
        if not self.network.conditions.passes(one.number, other.number):
            return
        for left, right in ((a, b), (b, a)):
            if left.connected.get(right.peer_id) is not right and not left.is_over and not right.is_over:
                left.identified(right)

    def on_down(self, life: Life) -> None:
        """Its connections are reset; across a cut that is noticed later."""
        for machine in self.machines:
            peer = machine.life
            if peer is not None and peer.connected.get(life.peer_id) is life:
                is_told = (
                    self.network.conditions.passes(life.number, machine.number) and not life.machine.is_off
                )
                self._disconnect(peer, life, 0.02 if is_told else IDLE_S)

    def _disconnect(self, peer: Life, life: Life, after_s: float) -> None:
        self.after(after_s, lambda: peer.disconnected(life))

    def _drop_silent(self) -> None:
        """Connections over which nothing can pass have ended."""
        for one in self.machines:
            for other in self.machines:
                a, b = one.life, other.life
                if a is None or b is None or a.connected.get(other.peer_id) is not b:
                    continue
                passes = self.network.conditions.passes
                if not passes(one.number, other.number) or not passes(other.number, one.number):
                    a.disconnected(b)

    # --- the run

    def run(self) -> Report:
        """The steps, the end of all faults, the checks."""
        for index, machine in enumerate(self.machines):
            self.after(index * 0.5, machine.start)
        self.rest(30.0)
        begin = self.now
        for step in self.plan.steps:
            self.at(begin + step.at, lambda step=step: self._take(step))  # type: ignore[misc]
        self._count_up(self.plan.lasts_s)
        up_s = sum(machine.up_s for machine in self.machines)
        self._heal()
        self._count_up(SETTLE_S)
        self._check()
        disks = [machine.disk for machine in self.machines]
        return Report(
            self.plan,
            tuple(self.oracle.violations),
            self._digest.hexdigest(),
            up_s / 3600.0,
            self.network.sent,
            self.oracle.acknowledged,
            self.oracle.refused,
            sum(disk.changes for disk in disks),
            sum(disk.faults for disk in disks),
            sum(machine.lives for machine in self.machines),
        )

    def close(self) -> None:
        """Nothing goes on."""
        for machine in self.machines:
            machine.kill()
        self._heap.clear()

    def _count_up(self, seconds: float) -> None:
        """Lets time pass, and looks at everything now and then."""
        end = self.now + seconds
        while self.now < end and not self.oracle.violations:
            before = self.now
            self.rest(min(CHECK_S * 2, end - self.now))
            for machine in self.machines:
                if machine.life is not None:
                    machine.up_s += self.now - max(before, machine.life.began_at)
                    self._look_at(machine.life)
            self.vfs.raise_bugs()

    def _look_at(self, life: Life) -> None:
        if life.is_frozen or life.is_stopping:
            return
        if not life.is_armed:
            self.oracle.violate(f"machine {life.number}: no timer is armed for what it wants next")
        core = life.core
        self.oracle.check_seqs(life)
        if len(life.connected) and core.operation_count > 2 * len(self.plan.steps):
            self.oracle.violate(f"machine {life.number} has {core.operation_count} commands in progress")

    # --- steps

    def _take(self, step: Step) -> None:
        if self.is_healed:
            return  # the end of an episode that began late
        machine = self.machines[step.machine]
        self.note("step", step.machine, step.number)
        _STEPS[step.kind](self, machine, *step.args)

    def _start(self, machine: Machine, command: c.Command, finished: Callable[[Finished], None]) -> bool:
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
                    life.when_thawed(lambda: self.after(waits_s, late))
                elif not life.is_stopping:
                    self.oracle.violate(f"machine {life.number}: {type(command).__name__} does not end")

        self.after(waits_s, late)
        return True

    def _put(self, machine: Machine, command: c.Command, numbers: tuple[int, ...], price: int | None) -> None:
        life = machine.life
        if life is None:
            return
        asked = [self.oracle.ask(machine, number, price) for number in numbers]

        def finished(event: Finished) -> None:
            self.oracle.on_put(life, numbers, asked, event)

        if not self._start(machine, command, finished):
            if life.is_over:
                return  # killed in the first turn: it may have taken effect
            for number, one in zip(numbers, asked, strict=True):
                self.oracle.refuse(machine, number, one)

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
            self._start(
                machine,
                c.FindOffers(content(number), TIMEOUT_S),
                lambda event: self.oracle.on_found(life, event),
            )

    def _put_value(self, machine: Machine, number: int, value: int) -> None:
        put = b"value %d" % value
        self.oracle.values.setdefault(number, set()).add(put)
        self._start(machine, c.PutValue(_key(number), put, Quorum.MAJORITY, TIMEOUT_S), _ignore)

    def _get_value(self, machine: Machine, number: int) -> None:
        def finished(event: Finished) -> None:
            result = event.result
            if isinstance(result, GetValueResult) and result.record is not None and not self._has_liars:
                self.oracle.on_value(number, result.record.value)

        self._start(machine, c.GetValue(_key(number), Quorum.MAJORITY, TIMEOUT_S), finished)

    def _provide(self, machine: Machine, number: int) -> None:
        self._start(machine, c.Provide(_key(number), TIMEOUT_S), _ignore)

    def _providers(self, machine: Machine, number: int) -> None:
        self._start(machine, c.FindProviders(_key(number), None, TIMEOUT_S), _ignore)

    def _closest(self, machine: Machine, number: int) -> None:
        self._start(machine, c.Closest(content(number), TIMEOUT_S), _ignore)

    def _fault_after(self, seconds: float, life: Life, fault: Callable[[], None]) -> None:
        """Unless the process has ended by then, or all is to be well."""
        self.after(seconds, lambda: None if life.is_over or self.is_healed else fault())

    def _kill(self, machine: Machine, actions: int, down_s: float) -> None:
        if machine.life is not None:
            machine.life.kill_in = actions
            self._fault_after(down_s / 2, machine.life, machine.kill)
        self.after(down_s, machine.start)

    def _power(self, machine: Machine, changes: int, down_s: float) -> None:
        if machine.life is not None and changes:
            machine.disk.cut_after = changes
            self._fault_after(down_s / 2, machine.life, machine.cut_power)
        elif machine.life is not None:
            machine.cut_power()
        self.after(down_s, machine.start)

    def _end_at_ack(self, machine: Machine, how: str, down_s: float) -> None:
        if machine.life is not None:
            machine.life.ends_at_ack = how
        self.after(AWAITED_S + down_s, machine.start)

    def _stop(self, machine: Machine, down_s: float) -> None:
        if machine.life is not None:
            machine.life.stop()
        self.after(down_s, machine.start)
        self.after(down_s + TIMEOUT_S, machine.start)

    def _freeze(self, machine: Machine, for_s: float) -> None:
        if machine.life is not None and not machine.life.is_frozen:
            machine.life.freeze(for_s)

    def _refuse(self, machine: Machine, kind: Fault, chance: float, for_s: float) -> None:
        machine.disk.refusing[kind] = chance
        self.after(for_s, lambda: machine.disk.refusing.pop(kind, None) and None)

    def _slow_disk(self, machine: Machine, seconds: float, for_s: float) -> None:
        machine.slow_disk_s = seconds

        def again() -> None:
            machine.slow_disk_s = 0.0

        self.after(for_s, again)

    def _clock(self, machine: Machine, error_s: float, down_s: float) -> None:
        machine.clock_error_s = error_s
        if down_s and machine.life is not None:
            machine.kill()
            self.after(down_s, machine.start)

    def _readdress(self, machine: Machine, down_s: float) -> None:
        machine.kill()
        machine.address += ADDRESSES
        self.after(down_s, machine.start)

    def _cut(self, machine: Machine, numbers: tuple[int, ...], for_s: float) -> None:
        self._lasting(self.network.conditions.cuts, frozenset(number + 1 for number in numbers), for_s)

    def _one_way(self, machine: Machine, other: int, for_s: float) -> None:
        self._lasting(self.network.conditions.one_way, (machine.number, other + 1), for_s)

    def _lasting(self, conditions: list[Any], one: Any, for_s: float) -> None:
        conditions.append(one)
        self.after(IDLE_S, self._drop_silent)
        self.after(for_s, lambda: conditions.remove(one) if one in conditions else None)

    def _loss(self, machine: Machine, share: float, for_s: float) -> None:
        self.network.conditions.loss = share
        self.after(for_s, lambda: setattr(self.network.conditions, "loss", 0.0))

    def _duplicates(self, machine: Machine, share: float, for_s: float) -> None:
        self.network.conditions.duplicates = share
        self.after(for_s, lambda: setattr(self.network.conditions, "duplicates", 0.0))

    def _delay(self, machine: Machine, seconds: float, for_s: float) -> None:
        self.network.conditions.delay_s[machine.number] = seconds
        self.after(for_s, lambda: self.network.conditions.delay_s.pop(machine.number, None) and None)

    def _lie(self, machine: Machine, lie: Lie, for_s: float) -> None:
        machine.liar = Liar(lie, Random(f"{self.seed} liar {machine.number}"), CONFIG)
        self.after(for_s, lambda: setattr(machine, "liar", None))

    def _flood(self, machine: Machine, other: int, count: int) -> None:
        """Requests that one after another are answered: finds, and garbage in between."""
        random = Random(f"{self.seed} flood {machine.number}")
        protocol = CONFIG.offers.protocol

        def ask(left: int) -> None:
            victim = self.machines[other].life
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
                self.oracle.escaped(f"an answer of machine {victim.number}", error)
            self.after(FLOOD_S, lambda: ask(left - 1))

        ask(count)

    # --- the end

    def _heal(self) -> None:
        """All faults end. Machines whose clock was wrong start again, as their operators would."""
        self.is_healed = True
        self.network.conditions.heal()
        for machine in self.machines:
            machine.disk.heal()
            machine.slow_disk_s = 0.0
            machine.liar = None
            life = machine.life
            if life is not None:
                life.heal()
            if life is not None and machine.clock_error_s != 0.0:
                machine.kill()
            machine.clock_error_s = 0.0
        for seconds in HEAL_S:
            self.after(seconds, self._start_all)

    def _start_all(self) -> None:
        for machine in self.machines:
            machine.start()

    def _check(self) -> None:
        """Everything is well, and has been for long: what was acknowledged is here, there, and on disk."""
        if self.oracle.violations:
            return
        for machine in self.machines:
            if machine.life is None:
                self.oracle.violate(f"machine {machine.number} does not run")
                return
            self.oracle.check_live(machine.life, "at the end")
        self._check_lookups()
        lives = {machine.number: self.oracle.live(machine.life) for machine in self.machines if machine.life}
        for machine in self.machines:
            machine.cut_power()
        self.rest(1.0)
        for machine in self.machines:
            machine.start()
            if machine.life is None:
                self.oracle.violate(f"machine {machine.number} does not start again")
            elif (live := self.oracle.live(machine.life)) != (was := lives[machine.number]):
                differ = sorted(live.items() ^ was.items())
                self.oracle.violate(
                    f"machine {machine.number} has other offers on disk than it had in memory: {differ}"
                )

    def _check_lookups(self) -> None:
        """From two machines, each content; and each machine looks up, and ends what it began."""
        random = Random(f"{self.seed} finders")
        asked = {number for one in self.machines for number in self.oracle.account(one).ledger.asked}
        for finder in random.sample(self.machines, 2):
            for number in sorted(asked):
                self._check_found(finder, number)
        for machine in self.machines:
            answers: list[Finished] = []
            self._start(machine, c.Closest(content(0), TIMEOUT_S), answers.append)
            self.rest(TIMEOUT_S + LATE_S)
            result = answers[0].result if answers else None
            if not getattr(result, "closest", None):
                self.oracle.violate(f"machine {machine.number} finds no peers: {result}")
            life = machine.life
            if life is not None and (life.core.operation_count or life.core.awaiting_count or life.finished):
                self.oracle.violate(f"machine {machine.number} has commands that do not end")

    def _check_found(self, finder: Machine, number: int) -> None:
        answers: list[Finished] = []
        self._start(finder, c.FindOffers(content(number), TIMEOUT_S), answers.append)
        self.rest(TIMEOUT_S / 2)
        life = finder.life
        result = answers[0].result if answers else None
        if life is None or not isinstance(result, c.OffersFound):
            self.oracle.violate(f"machine {finder.number} cannot look up: {answers}")
            return
        self.oracle.check_found(life, number, result.offers)


def _key(number: int) -> bytes:
    return b"key %d" % number


def _ignore(event: Finished) -> None:
    """What it found is not checked."""


_STEPS: dict[str, Callable[..., None]] = {
    "register": World._register,
    "register many": World._register_many,
    "withdraw": World._withdraw,
    "find": World._find,
    "put": World._put_value,
    "get": World._get_value,
    "provide": World._provide,
    "providers": World._providers,
    "closest": World._closest,
    "kill": World._kill,
    "power": World._power,
    "end at ack": World._end_at_ack,
    "stop": World._stop,
    "freeze": World._freeze,
    "disk": World._refuse,
    "slow disk": World._slow_disk,
    "clock": World._clock,
    "readdress": World._readdress,
    "cut": World._cut,
    "one way": World._one_way,
    "loss": World._loss,
    "duplicates": World._duplicates,
    "delay": World._delay,
    "lie": World._lie,
    "flood": World._flood,
}
