"""A small file of the data directory that is read at the start and replaced as a whole.

It contains only what the node can learn again. So one that cannot be read is moved aside by its owner, and
the node starts without it.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from fastmarket.errors import StorageFault
from fastmarket.storage.watch import FileWatch, Misplaced


class FileSystem(Protocol):
    """What replacing a file as a whole takes. Each raises OSError."""

    def read(self, path: Path, most: int) -> bytes:
        """The first bytes of a file, up to that many."""

    def write(self, path: Path, content: bytes) -> None:
        """A file that only its owner may read, on disk with this content; whatever was there is gone."""

    def rename(self, path: Path, to: Path) -> None:
        """The file has the other name, and what had it is gone, at once."""


class LocalFiles:
    """The file system of this machine."""

    def read(self, path: Path, most: int) -> bytes:
        with path.open("rb") as file:
            return file.read(most)

    def write(self, path: Path, content: bytes) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())

    def rename(self, path: Path, to: Path) -> None:
        path.replace(to)


LOCAL_FILES = LocalFiles()


class WholeFile:
    """One of them. Usable from any thread, one at a time."""

    def __init__(self, directory: Path, name: str, max_bytes: int, system: FileSystem = LOCAL_FILES) -> None:
        """`max_bytes`: beyond it, the file is none of ours."""
        self.path = directory / name
        self._max_bytes = max_bytes
        self._system = system
        self._watch = FileWatch(directory)  # a directory in its place may be another node's

    def read(self) -> bytes | None:
        """Its content, cut one byte beyond the bound; None if there is no file. Raises OSError."""
        try:
            return self._system.read(self.path, self._max_bytes + 1)
        except FileNotFoundError:
            return None

    def move_aside(self) -> str:
        """Keeps a damaged one for whoever looks into it, if that can be done; returns its name."""
        aside = self.path.with_name(f"{self.path.name}.damaged")
        with suppress(OSError):
            self._system.rename(self.path, aside)
        return aside.name

    def write(self, content: bytes) -> None:
        """Replaces it; the old or the new one survives a crash. Raises StorageFault."""
        try:
            self._watch.check()
        except Misplaced as fault:
            raise StorageFault(f"cannot write {self.path.name}: {fault}") from None
        aside = self.path.with_name(f".{self.path.name}.new")
        try:
            self._system.write(aside, content)
            self._system.rename(aside, self.path)
        except OSError as error:
            raise StorageFault(f"cannot write {self.path.name}: {error.strerror}") from None
