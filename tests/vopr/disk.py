"""A disk that fails: files with what a reader sees, and what of that would survive a power cut.

Rules of a file system that keeps its promises: what was synced survives; of what was not, any part may, in
sectors and in any order; a name survives once its directory was synced, and earlier in order of the changes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from random import Random

SECTOR_BYTES = 512  # written as a whole or not at all
KEEP_ALL_SHARE = 0.2  # of the power cuts, those after which everything written is there
KEEP_NONE_SHARE = 0.3  # and those after which nothing is that was not synced


class Fault(Enum):
    """What an operation of a disk may meet with."""

    FULL = "full"  # ENOSPC: a file cannot grow
    WRITE = "write"  # EIO, or a short write
    READ = "read"  # EIO
    SYNC = "sync"  # EIO; what was to be synced may be lost, and is not written again
    OPEN = "open"  # EIO, or EMFILE


class DiskFault(Exception):
    """An operation failed with `fault`."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.value)
        self.fault = fault


class PowerCut(Exception):
    """The machine is off: no operation succeeds, until it starts again."""


@dataclass(frozen=True, slots=True)
class _Write:
    """Bytes at a position, not synced yet; `data` None: the file was cut to `at`."""

    at: int
    data: bytes | None


class Inode:
    """One file: `data` is what reads return."""

    __slots__ = ("_pending", "_synced", "data", "locks", "shared_locks", "shared_memory")

    def __init__(self) -> None:
        self.data = bytearray()
        self._synced = bytearray()
        self._pending: list[_Write] = []
        self.locks: dict[int, int] = {}
        """By open file: its lock level. Those of processes end with them."""
        self.shared_memory: list[object] = []
        self.shared_locks: dict[tuple[int, int], bool] = {}
        """By (slot, open file): whether the lock is exclusive."""

    def write(self, at: int, data: bytes) -> None:
        _apply(self.data, _Write(at, data))
        self._pending.append(_Write(at, data))

    def truncate(self, size: int) -> None:
        _apply(self.data, _Write(size, None))
        self._pending.append(_Write(size, None))

    def sync(self) -> None:
        for write in self._pending:
            _apply(self._synced, write)
        self._pending.clear()

    def lose(self, random: Random) -> None:
        """A sync failed: any part of what was to be written never will be, though it can be read now."""
        for write in self._pending:
            _apply_part(self._synced, write, random)
        self._pending.clear()

    def cut_power(self, random: Random) -> None:
        """What was not synced is there in parts."""
        dice = random.random()
        for write in self._pending:
            if dice < KEEP_ALL_SHARE:
                _apply(self._synced, write)
            elif dice > KEEP_ALL_SHARE + KEEP_NONE_SHARE:
                _apply_part(self._synced, write, random)
        self._pending.clear()
        self.data = bytearray(self._synced)
        self.end_process()

    def end_process(self) -> None:
        """Locks and shared memory end with the process that has them."""
        self.locks.clear()
        self.shared_locks.clear()
        self.shared_memory = []


def _apply(data: bytearray, write: _Write) -> None:
    if write.data is None:
        if write.at < len(data):
            del data[write.at :]
        else:
            data.extend(bytes(write.at - len(data)))
        return
    if write.at > len(data):
        data.extend(bytes(write.at - len(data)))
    data[write.at : write.at + len(write.data)] = write.data


def _apply_part(data: bytearray, write: _Write, random: Random) -> None:
    """Some of the sectors; or a first part: the last page is torn."""
    if write.data is None:
        if random.random() < 0.5:
            _apply(data, write)
        return
    kind = random.randrange(4)
    if kind == 0:
        return
    if kind == 1:
        _apply(data, write)
        return
    ends = range(SECTOR_BYTES - write.at % SECTOR_BYTES, len(write.data) + SECTOR_BYTES, SECTOR_BYTES)
    begin, torn = 0, random.randrange(len(ends) + 1)
    for number, end in enumerate(ends):
        if number < torn if kind == 2 else random.random() < 0.5:
            _apply(data, _Write(write.at + begin, write.data[begin:end]))
        begin = end


class VirtualDisk:
    """The files of one data directory, by name.

    `refusing`: kinds of operations that fail, and the chance of each. `cut_after`: the number of changes
    after which power is cut in the middle of whatever is under way.
    """

    def __init__(self, random: Random, on_cut: Callable[[], None]) -> None:
        """`on_cut` is called when power is cut in the middle of something."""
        self._random = random
        self._on_cut = on_cut
        self.names: dict[str, Inode] = {}
        self._synced_names: dict[str, Inode] = {}
        # What names have become since the last sync of the directory, by change: a rename is one of two.
        self._renames: list[dict[str, Inode | None]] = []
        self.refusing: dict[Fault, float] = {}
        self.cut_after: int | None = None
        self.is_off = False
        self.life = 0
        """Grows when the process ends: files that it had open are gone."""
        self.changes = 0
        """Writes, syncs and the like, so far."""
        self.faults = 0
        """Operations that failed."""

    def open(self, name: str, *, create: bool) -> Inode:
        """Raises FileNotFoundError, DiskFault, PowerCut."""
        self._check(Fault.OPEN)
        inode = self.names.get(name)
        if inode is None:
            if not create:
                raise FileNotFoundError(name)
            self._change(Fault.FULL)
            inode = self._named(name, Inode())
        return inode

    def delete(self, name: str, *, sync: bool) -> None:
        """Raises FileNotFoundError, DiskFault, PowerCut."""
        self._change(Fault.WRITE)
        if name not in self.names:
            raise FileNotFoundError(name)
        del self.names[name]
        self._renames.append({name: None})
        if sync:
            self.sync_directory()

    def rename(self, name: str, to: str) -> None:
        """Whatever had that name is gone. Raises FileNotFoundError, DiskFault, PowerCut."""
        self._change(Fault.WRITE)
        if name not in self.names:
            raise FileNotFoundError(name)
        self.names[to] = self.names.pop(name)
        self._renames.append({to: self.names[to], name: None})

    def read(self, inode: Inode, at: int, size: int) -> bytes:
        """As many bytes as there are. Raises DiskFault, PowerCut."""
        self._check(Fault.READ)
        return bytes(inode.data[at : at + size])

    def write(self, inode: Inode, at: int, data: bytes) -> None:
        """All of them; or a part, and then it raises DiskFault or PowerCut."""
        try:
            self._change(Fault.WRITE)
            if at + len(data) > len(inode.data):
                self._check(Fault.FULL)
        except (DiskFault, PowerCut) as fault:
            if isinstance(fault, DiskFault):
                inode.write(at, data[: self._random.randrange(len(data) + 1)])
            raise
        inode.write(at, data)

    def truncate(self, inode: Inode, size: int) -> None:
        """Raises DiskFault, PowerCut."""
        self._change(Fault.WRITE)
        inode.truncate(size)

    def sync(self, inode: Inode) -> None:
        """Raises DiskFault, PowerCut."""
        try:
            self._change(Fault.SYNC)
        except DiskFault:
            inode.lose(self._random)
            raise
        inode.sync()
        # As SQLite has it for a new log: its directory, too.
        if self._renames:
            self.sync_directory()

    def sync_directory(self) -> None:
        """Names are what they are."""
        self._synced_names = dict(self.names)
        self._renames.clear()

    def end_process(self) -> None:
        """SIGKILL: what was written is there."""
        self.life += 1
        self.cut_after = None
        for inode in self.names.values():
            inode.end_process()

    def cut_power(self) -> None:
        """What was not synced is there in parts, and nothing works until `start`."""
        self.is_off = True
        self.life += 1
        self.cut_after = None
        names = self._synced_names
        for change in self._renames[: self._random.randint(0, len(self._renames))]:
            for name, inode in change.items():
                if inode is None:
                    names.pop(name, None)
                else:
                    names[name] = inode
        self._renames.clear()
        self.names = dict(names)
        for inode in self.names.values():
            inode.cut_power(self._random)

    def start(self) -> None:
        """Power is back."""
        self.is_off = False

    def heal(self) -> None:
        """Operations succeed from now on."""
        self.refusing.clear()
        self.cut_after = None

    def _named(self, name: str, inode: Inode) -> Inode:
        self.names[name] = inode
        self._renames.append({name: inode})
        return inode

    def _change(self, kind: Fault) -> None:
        if self.cut_after is not None and not self.is_off:
            self.cut_after -= 1
            if self.cut_after < 0:
                self.cut_power()
                self._on_cut()
        self._check(kind)
        self.changes += 1

    def _check(self, kind: Fault) -> None:
        if self.is_off:
            raise PowerCut
        chance = self.refusing.get(kind, 0.0)
        if chance and self._random.random() < chance:
            self.faults += 1
            raise DiskFault(kind)
