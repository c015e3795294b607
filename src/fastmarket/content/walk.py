"""What is below a directory that is sold: depth first, by descriptors, so that no symlink leads out of it."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from enum import Enum, auto
from typing import NamedTuple

from fastmarket.content.allowed import shown_path
from fastmarket.content.leaves import path_fault, path_of
from fastmarket.errors import CallerFault
from fastmarket.formats.unixfs.node import check_name

_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_DIRECTORY


class WalkStep(Enum):
    """What a walk comes to."""

    FILE = auto()
    LINK = auto()  # symbolic, never followed
    ENTER = auto()  # a directory
    LEAVE = auto()  # the one that was entered last


class Walked(NamedTuple):
    """`name`: of the entry in its directory; `size`: of a file, in bytes; `target`: of a link."""

    step: WalkStep
    path: str
    name: str
    size: int = 0
    target: str = ""


Refuse = Callable[[str, str], None]
"""Gets a path, and why it is left out; the walk goes on."""


class Walk:
    """The rules of one walk."""

    def __init__(
        self, refuse: Refuse, *, hidden: bool, max_depth: int, may_sell: Callable[[str], None]
    ) -> None:
        """`hidden`: also entries whose names begin with a dot. `may_sell` raises CallerFault for a real path
        that may not be sold."""
        self._refuse = refuse
        self._hidden = hidden
        self._max_depth = max_depth
        self._may_sell = may_sell

    def below(self, root: str) -> Iterator[Walked]:
        """All that is below a real path, in order of the names in each directory. Raises CallerFault("path",
        ...) if the root itself cannot be listed."""
        waiting = list(reversed(self._entries(root)))
        depth = 0
        while waiting:
            found = waiting.pop()
            if found.step is WalkStep.ENTER:
                entries = self._listed(found.path, depth + 1)
                if entries is None:
                    continue
                depth += 1
                waiting.append(Walked(WalkStep.LEAVE, found.path, found.name))
                waiting.extend(reversed(entries))
            elif found.step is WalkStep.LEAVE:
                depth -= 1
            yield found

    def _listed(self, path: str, depth: int) -> list[Walked] | None:
        if depth > self._max_depth:
            self._refuse(path, f"is more than {self._max_depth} directories deep")
            return None
        try:
            return self._entries(path)
        except CallerFault as fault:
            self._refuse(path, fault.reason)
            return None

    def _entries(self, path: str) -> list[Walked]:
        try:
            descriptor = os.open(path, _FLAGS)
        except OSError as error:
            raise path_fault(path, error) from None
        try:
            if path_of(descriptor, path) != path:
                raise CallerFault("path", f"{shown_path(path)} leads elsewhere by now")
            with os.scandir(descriptor) as entries:
                shown = [entry for entry in entries if self._hidden or not entry.name.startswith(".")]
            walked = (self._walked(descriptor, path, entry) for entry in shown)
            found = [one for one in walked if one is not None]
        except OSError as error:
            raise path_fault(path, error) from None
        finally:
            os.close(descriptor)
        return sorted(found, key=lambda one: os.fsencode(one.name))

    def _walked(self, directory: int, parent: str, entry: os.DirEntry[str]) -> Walked | None:
        path = os.path.join(parent, entry.name)
        try:
            check_name(entry.name)
            self._may_sell(path)
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISREG(status.st_mode):
                return Walked(WalkStep.FILE, path, entry.name, status.st_size)
            if stat.S_ISDIR(status.st_mode):
                return Walked(WalkStep.ENTER, path, entry.name)
            if stat.S_ISLNK(status.st_mode):
                target = os.readlink(entry.name, dir_fd=directory)
                return Walked(WalkStep.LINK, path, entry.name, target=target)
            self._refuse(path, "is not a regular file")
        except CallerFault as fault:
            self._refuse(path, f"the name {fault.reason}" if fault.field == "name" else fault.reason)
        except OSError as error:
            self._refuse(path, error.strerror or str(error))
        return None
