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

from fastmarket.config import NodeConfig
from fastmarket.formats.identity import PeerId
from fastmarket.formats.peer_info import PeerInfo
from tests.virtual.values import START
from tests.vopr.checks import Checks
from tests.vopr.life import Life
from tests.vopr.machine import Machine
from tests.vopr.network import IDLE_S, Network
from tests.vopr.oracle import Oracle
from tests.vopr.plan import Plan
from tests.vopr.steps import Steps
from tests.vopr.vfs import FaultyVfs

SETTLE_S = 1800.0  # after everything is well: longer than what CONFIG says of announcements
CHECK_S = 30.0
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
        self.config = CONFIG
        self.steps = Steps(self)
        self.is_healed = False
        self.lost_power: list[Machine] = []
        """Machines whose disk lost power in the middle of a write: they are off after the event under way."""
        self.machines = [Machine(self, number + 1, CONFIG) for number in range(plan.machines)]
        self.by_peer: dict[PeerId, Machine] = {machine.peer_id: machine for machine in self.machines}
        self.has_liars = any(step.kind == "lie" for step in plan.steps)

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

    def drop_silent(self) -> None:
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
            self.at(begin + step.at, lambda step=step: self.steps.take(step))  # type: ignore[misc]
        self._count_up(self.plan.lasts_s)
        up_s = sum(machine.up_s for machine in self.machines)
        self._heal()
        self._count_up(SETTLE_S)
        Checks(self).run()
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
