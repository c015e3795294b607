"""One machine: its disk, its clock, its addresses; its processes come and go."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from fastmarket.config import NodeConfig
from fastmarket.errors import FastmarketError
from fastmarket.formats.peer_info import PeerInfo
from tests.virtual.values import addr_of, identity
from tests.vopr.disk import VirtualDisk
from tests.vopr.liars import Liar
from tests.vopr.life import Life

if TYPE_CHECKING:
    from tests.vopr.world import World

BOOT_RETRY_S = 20.0  # what supervises processes starts one again that could not start
ADDRESSES = 1000  # a machine's next address is so many numbers on


class Machine:
    """Outlives its processes. Its system clock steps at any time; that takes effect when a process starts, as
    `net.clock` has it."""

    def __init__(self, world: World, number: int, config: NodeConfig) -> None:
        self.world = world
        self.number = number
        self.config = config
        self.identity = identity(number)
        self.peer_id = self.identity.peer_id
        self.random = Random(f"{world.seed} machine {number}")
        self.disk = VirtualDisk(Random(f"{world.seed} disk {number}"), lambda: world.lost_power.append(self))
        self.directory = world.directory_of(self)
        self.address = number
        self.clock_error_s = 0.0
        self.slow_disk_s = 0.0
        self.checkpoint_pages = self.random.choice((8, 40, 1000))
        self.liar: Liar | None = None
        self.lied_at = self.ended_at = -1.0
        self.life: Life | None = None
        self.lives = 0
        self.is_off = False
        self.up_s = 0.0

    @property
    def info(self) -> PeerInfo:
        """What its identify says."""
        return PeerInfo(self.peer_id, (addr_of(self.address),))

    def start(self) -> None:
        """A process starts; if it cannot, what supervises it tries again."""
        if self.life is not None:
            return
        self.is_off = False
        self.disk.start()
        self.lives += 1
        had_faults = bool(self.disk.refusing or self.disk.cut_after is not None)
        self.world.note("boot", self.number, self.lives)
        life = Life(self)
        try:
            life.loop.run(life.boot)
        except FastmarketError as fault:
            if not had_faults:
                self.world.oracle.violate(f"machine {self.number} cannot start from its disk: {fault}")
            self._end(life)
            self.world.after(BOOT_RETRY_S, self.start)
            return
        except Exception as error:  # noqa: BLE001 - the oracle's business
            self.world.oracle.escaped(f"the start of machine {self.number}", error)
            self._end(life)
            return
        if self.disk.is_off:
            self.cut_power()
            return
        self.life = life
        self.world.oracle.on_boot(life)
        life.loop.run(life.join)

    def kill(self) -> None:
        """SIGKILL: what was written is there."""
        if self.life is not None:
            self.world.note("kill", self.number, self.lives)
            self.disk.end_process()
            self._end(self.life)

    def cut_power(self) -> None:
        """What was not synced is lost, in parts; or the disk lost it already, in the middle of a write."""
        self.world.note("power", self.number, self.lives)
        if not self.disk.is_off:
            self.disk.cut_power()
        self.is_off = True
        if self.life is not None:
            self._end(self.life)
        self.world.vfs.settle_shadows(str(self.directory))

    def ended(self, life: Life) -> None:
        """The process has stopped by itself."""
        self.disk.end_process()
        self._end(life)

    def _end(self, life: Life) -> None:
        self.life = None
        self.ended_at = self.world.now
        life.end()
        self.world.on_down(life)
