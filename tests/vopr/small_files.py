"""The files that are replaced as a whole, on a disk that fails. (`storage.whole_file.FileSystem`.)"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.vopr.disk import DiskFault, Fault, PowerCut, VirtualDisk


class SmallFiles:
    """Those of one machine, for one of its processes."""

    def __init__(self, disk: VirtualDisk) -> None:
        self._disk = disk
        self._life = disk.life

    def read(self, path: Path, most: int) -> bytes:
        with self._errors():
            return self._disk.read(self._disk.open(path.name, create=False), 0, most)

    def write(self, path: Path, content: bytes) -> None:
        with self._errors():
            inode = self._disk.open(path.name, create=True)
            self._disk.truncate(inode, 0)
            self._disk.write(inode, 0, content)
            self._disk.sync(inode)

    def rename(self, path: Path, to: Path) -> None:
        with self._errors():
            self._disk.rename(path.name, to.name)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """As the operating system has them; a process that has ended does nothing."""
        if self._disk.life != self._life:
            raise OSError(errno.EIO, "the process has ended")
        try:
            yield
        except DiskFault as fault:
            number = errno.ENOSPC if fault.fault is Fault.FULL else errno.EIO
            raise OSError(number, os.strerror(number)) from None
        except PowerCut:
            raise OSError(errno.EIO, "the power is off") from None
