"""SQLite on a virtual disk: a VFS (sqlite.org/vfs.html) for the very library that the `sqlite3` module uses.

So the shipped SQL, the shipped transactions and SQLite's own recovery run unchanged over `VirtualDisk`, log
and shared index included. A Python package with SQLite in it would test another library, by another module.
"""

from __future__ import annotations

import _sqlite3
import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from ctypes import POINTER, c_char_p, c_int, c_void_p, sizeof
from functools import wraps
from typing import Any

from tests.vopr.disk import DiskFault, Fault, Inode, PowerCut, VirtualDisk
from tests.vopr.vfs_types import (
    ACCESS,
    BARRIER,
    CLOSE,
    CONTROL,
    DELETE,
    FLAG,
    FULL_PATH,
    GET_FLAG,
    GET_SIZE,
    MAP,
    OPEN,
    RANDOMNESS,
    READ,
    SHM_LOCK,
    SIZE,
    SLEEP,
    File,
    Methods,
    Vfs,
)

OK, BUSY, IOERR, NOTFOUND, FULL, CANTOPEN = 0, 5, 10, 12, 13, 14
IOERR_READ, IOERR_SHORT_READ, IOERR_WRITE, IOERR_FSYNC = (IOERR | one << 8 for one in (1, 2, 3, 4))
IOERR_TRUNCATE, IOERR_DELETE_NOENT = (IOERR | one << 8 for one in (6, 23))
_CODES = {
    Fault.FULL: FULL,
    Fault.WRITE: IOERR_WRITE,
    Fault.READ: IOERR_READ,
    Fault.SYNC: IOERR_FSYNC,
    Fault.OPEN: CANTOPEN,
}
OPEN_CREATE = 0x4
OPEN_READONLY, OPEN_MAIN_DB = 0x1, 0x100
UNLOCK, LOCK, SHARED, EXCLUSIVE = 1, 2, 4, 8  # of the shared memory
LOCK_SHARED, LOCK_RESERVED, LOCK_PENDING, LOCK_EXCLUSIVE = 1, 2, 3, 4  # of the file
POWERSAFE_OVERWRITE = 0x1000  # as SQLite's own VFS has it: bytes beside those written stay what they are
MAX_PATH = 512


class _Open:
    """An open file of a process; a stale one fails."""

    __slots__ = ("disk", "inode", "life", "name", "shadow")

    def __init__(self, disk: VirtualDisk, inode: Inode, name: str, shadow: str) -> None:
        self.disk = disk
        self.inode = inode
        self.life = disk.life
        self.name = name
        self.shadow = shadow  # its path

    def check(self) -> None:
        if self.life != self.disk.life or self.disk.is_off:
            raise PowerCut


def _library() -> ctypes.CDLL:
    """The one that the `sqlite3` module is linked to."""
    found = ctypes.CDLL(_sqlite3.__file__)
    found.sqlite3_vfs_find.restype = POINTER(Vfs)
    found.sqlite3_vfs_find.argtypes = [c_char_p]
    found.sqlite3_vfs_register.argtypes = [c_void_p, c_int]
    return found


def _coded(call: Callable[..., int]) -> Callable[..., int]:
    """Faults as SQLite's codes. A bug is kept for `mounted` to raise: nothing may pass through C."""

    @wraps(call)
    def coded(self: FaultyVfs, *args: Any) -> int:
        try:
            return call(self, *args)
        except DiskFault as fault:
            return _CODES[fault.fault]
        except (PowerCut, FileNotFoundError):
            return IOERR
        except BaseException as bug:  # noqa: BLE001 - see above
            self.bugs.append(bug)
            return IOERR

    return coded


class FaultyVfs:
    """The default VFS while it is mounted: files in directories that have a `VirtualDisk` are there, all
    others where they would be. Empty files shadow them: `storage.watch` looks at the inodes and times of
    those."""

    def __init__(self) -> None:
        self.disks: dict[str, VirtualDisk] = {}
        self.bugs: list[BaseException] = []
        self._files: dict[int, _Open] = {}
        self._last = 0
        self._clock = 0
        self._library = _library()
        self._real = self._library.sqlite3_vfs_find(None)
        real = self._real.contents
        vfs = self._vfs = Vfs.from_buffer_copy(real)
        vfs.version = min(real.version, 2)
        vfs.file_bytes = max(sizeof(File), real.file_bytes)
        vfs.max_path = MAX_PATH
        vfs.name = self._name = b"fastmarket-vopr"
        vfs.open = OPEN(self._open)
        vfs.delete = DELETE(self._delete)
        vfs.access = ACCESS(self._access)
        vfs.full_path = FULL_PATH(self._full_path)
        vfs.randomness = RANDOMNESS(self._randomness)
        vfs.sleep = SLEEP(lambda _vfs, micros: micros)
        self._methods = Methods(
            2,
            CLOSE(self._close),
            READ(self._read),
            READ(self._write),
            SIZE(self._truncate),
            FLAG(self._sync),
            GET_SIZE(self._size),
            FLAG(self._lock),
            FLAG(self._unlock),
            GET_FLAG(self._reserved),
            CONTROL(lambda *_: NOTFOUND),
            CLOSE(lambda _: 512),
            CLOSE(lambda _: POWERSAFE_OVERWRITE),
            MAP(self._shm_map),
            SHM_LOCK(self._shm_lock),
            BARRIER(lambda _: None),
            FLAG(self._shm_unmap),
        )

    @contextmanager
    def mounted(self) -> Iterator[None]:
        """The default of all connections that are opened meanwhile."""
        self._library.sqlite3_vfs_register(ctypes.addressof(self._vfs), 1)
        try:
            yield
        finally:
            self._library.sqlite3_vfs_register(ctypes.cast(self._real, c_void_p), 1)
            self._library.sqlite3_vfs_unregister(ctypes.byref(self._vfs))
        self.raise_bugs()

    def raise_bugs(self) -> None:
        """What a callback could not raise."""
        if self.bugs:
            bugs, self.bugs = self.bugs, []
            raise bugs[0]

    def settle_shadows(self, directory: str) -> None:
        """After a power cut: the names that are left."""
        for name in os.listdir(directory):
            if name not in self.disks[directory].names and name.startswith(("offers.db", "content.db")):
                os.unlink(f"{directory}/{name}")
        for name in self.disks[directory].names:
            _touch(f"{directory}/{name}")

    # --- the file system

    def _disk(self, path: str) -> tuple[VirtualDisk | None, str]:
        directory, _, name = path.rpartition("/")
        return self.disks.get(directory), name

    @_coded
    def _open(self, _vfs: int, name: int | None, file: int, flags: int, out: Any) -> int:
        path = "" if name is None else os.fsdecode(ctypes.string_at(name))
        disk, base = self._disk(path)
        if disk is None:
            return int(self._real.contents.open(ctypes.cast(self._real, c_void_p), name, file, flags, out))
        made = File.from_address(file)
        made.methods = None
        try:
            inode = disk.open(base, create=bool(flags & OPEN_CREATE))
        except (FileNotFoundError, DiskFault, PowerCut):
            return CANTOPEN
        _touch(path)
        self._last += 1
        self._files[self._last] = _Open(disk, inode, base, path)
        made.methods = ctypes.pointer(self._methods)
        made.number = self._last
        if out:
            out[0] = flags
        return OK

    @_coded
    def _delete(self, _vfs: int, name: bytes, sync: int) -> int:
        path = os.fsdecode(name)
        disk, base = self._disk(path)
        if disk is None:
            return int(self._real.contents.delete(ctypes.cast(self._real, c_void_p), name, sync))
        try:
            disk.delete(base, sync=bool(sync))
        except FileNotFoundError:
            return IOERR_DELETE_NOENT
        with suppress(FileNotFoundError):
            os.unlink(path)
        return OK

    @_coded
    def _access(self, _vfs: int, name: bytes, flags: int, out: Any) -> int:
        disk, base = self._disk(os.fsdecode(name))
        if disk is None:
            return int(self._real.contents.access(ctypes.cast(self._real, c_void_p), name, flags, out))
        out[0] = int(base in disk.names)
        return OK

    @_coded
    def _full_path(self, _vfs: int, name: bytes, size: int, out: int) -> int:
        if self._disk(os.fsdecode(name))[0] is None:
            return int(self._real.contents.full_path(ctypes.cast(self._real, c_void_p), name, size, out))
        if len(name) >= size:
            return CANTOPEN
        ctypes.memmove(out, name + b"\0", len(name) + 1)
        return OK

    def _randomness(self, _vfs: int, size: int, out: int) -> int:
        """The same in each run: salts of logs, and nothing that is secret."""
        self._clock += 1
        data = (self._clock * 0x9E3779B97F4A7C15 & (1 << 64) - 1).to_bytes(8, "little")
        ctypes.memmove(out, (data * (size // 8 + 1))[:size], size)
        return size

    # --- one file

    def _at(self, file: int) -> _Open:
        opened = self._files[File.from_address(file).number]
        opened.check()
        return opened

    def _close(self, file: int) -> int:
        number = File.from_address(file).number
        opened = self._files.pop(number, None)
        if opened is not None and opened.life == opened.disk.life:
            opened.inode.locks.pop(number, None)
        return OK

    @_coded
    def _read(self, file: int, buffer: int, size: int, at: int) -> int:
        opened = self._at(file)
        data = opened.disk.read(opened.inode, at, size)
        ctypes.memmove(buffer, data, len(data))
        if len(data) == size:
            return OK
        ctypes.memset(buffer + len(data), 0, size - len(data))
        return IOERR_SHORT_READ

    @_coded
    def _write(self, file: int, buffer: int, size: int, at: int) -> int:
        opened = self._at(file)
        opened.disk.write(opened.inode, at, ctypes.string_at(buffer, size))
        self._mark(opened)
        return OK

    @_coded
    def _truncate(self, file: int, size: int) -> int:
        opened = self._at(file)
        opened.disk.truncate(opened.inode, size)
        self._mark(opened)
        return OK

    @_coded
    def _sync(self, file: int, flags: int) -> int:
        opened = self._at(file)
        opened.disk.sync(opened.inode)
        return OK

    @_coded
    def _size(self, file: int, out: Any) -> int:
        out[0] = len(self._at(file).inode.data)
        return OK

    def _mark(self, opened: _Open) -> None:
        """The shadow has another time; of logs nothing looks at it."""
        if opened.name.endswith(".db"):
            self._clock += 1
            with suppress(FileNotFoundError):
                os.utime(opened.shadow, ns=(self._clock, self._clock))

    # --- locks (sqlite.org/lockingv3.html)

    @_coded
    def _lock(self, file: int, level: int) -> int:
        number = File.from_address(file).number
        locks = self._at(file).inode.locks
        others = max((held for other, held in locks.items() if other != number), default=0)
        if level == LOCK_SHARED and others >= LOCK_PENDING:
            return BUSY
        if level == LOCK_RESERVED and others >= LOCK_RESERVED:
            return BUSY
        if level == LOCK_EXCLUSIVE and others >= LOCK_SHARED:
            if others < LOCK_RESERVED:
                locks[number] = LOCK_PENDING
            return BUSY
        locks[number] = max(level, locks.get(number, 0))
        return OK

    @_coded
    def _unlock(self, file: int, level: int) -> int:
        self._at(file).inode.locks[File.from_address(file).number] = level
        return OK

    @_coded
    def _reserved(self, file: int, out: Any) -> int:
        out[0] = int(any(held >= LOCK_RESERVED for held in self._at(file).inode.locks.values()))
        return OK

    # --- the index of the log (sqlite.org/walformat.html)

    @_coded
    def _shm_map(self, file: int, region: int, size: int, extend: int, out: Any) -> int:
        regions = self._at(file).inode.shared_memory
        while len(regions) <= region:
            if not extend:
                out[0] = None
                return OK
            regions.append(ctypes.create_string_buffer(size))
        out[0] = ctypes.addressof(regions[region])  # type: ignore[arg-type]
        return OK

    @_coded
    def _shm_lock(self, file: int, first: int, count: int, flags: int) -> int:
        number = File.from_address(file).number
        locks = self._at(file).inode.shared_locks
        slots = range(first, first + count)
        if flags & UNLOCK:
            for slot in slots:
                locks.pop((slot, number), None)
            return OK
        wants_all = bool(flags & EXCLUSIVE)
        for (slot, owner), is_exclusive in locks.items():
            if slot in slots and owner != number and (wants_all or is_exclusive):
                return BUSY
        for slot in slots:
            locks[slot, number] = wants_all
        return OK

    @_coded
    def _shm_unmap(self, file: int, delete: int) -> int:
        number = File.from_address(file).number
        inode = self._at(file).inode
        inode.shared_locks = {key: held for key, held in inode.shared_locks.items() if key[1] != number}
        if delete and not inode.shared_locks:
            inode.shared_memory = []
        return OK


def _touch(path: str) -> None:
    """A shadow, if there is none: SQLite's log, where `storage.watch` expects one."""
    if not os.path.exists(path):
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
