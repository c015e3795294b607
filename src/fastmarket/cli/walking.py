"""The files of a tree on disk, and what in it cannot be one."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from typing import NamedTuple

from fastmarket.hashing import FileState

LINK_TO_NOTHING = "is a link to nothing"
IRREGULAR = "is not a regular file"


class WalkedFile(NamedTuple):
    """A regular file, by its path or through a link, as it was when it was found."""

    path: str
    state: FileState


class Troubles(NamedTuple):
    """Who is told of what is no file to read, by its path; the walk goes on."""

    directory: Callable[[str, str], None]
    """It cannot be listed, and why."""

    file: Callable[[str, str], None]
    """It cannot be read, or is no file, and why."""

    left_out: Callable[[str], None]
    """A link to a directory, which is not followed: it may lead back."""


def files_under(root: str, troubles: Troubles) -> Iterator[WalkedFile]:
    """Regular files, in the order of their names, those of a directory before those of its directories."""
    waiting = [root]
    while waiting:
        directory, below = waiting.pop(), []
        for entry in sorted(_entries(directory, troubles), key=lambda entry: entry.name):
            try:
                status = entry.stat(follow_symlinks=False)
                linked = stat.S_ISLNK(status.st_mode)
                if linked:
                    status = entry.stat()
            except OSError as error:
                tell = troubles.directory if _was_directory(entry) else troubles.file
                tell(entry.path, _reason(entry, error))
                continue
            if stat.S_ISREG(status.st_mode):
                yield WalkedFile(entry.path, FileState.of(status))
            elif not stat.S_ISDIR(status.st_mode):
                troubles.file(entry.path, IRREGULAR)
            elif linked:
                troubles.left_out(entry.path)
            else:
                below.append(entry.path)
        waiting.extend(reversed(below))


def _entries(directory: str, troubles: Troubles) -> list[os.DirEntry[str]]:
    """As many as can be listed."""
    found: list[os.DirEntry[str]] = []
    try:
        with os.scandir(directory) as entries:
            found.extend(entries)
    except OSError as error:
        troubles.directory(directory, reason_of(error))
    return found


def _was_directory(entry: os.DirEntry[str]) -> bool:
    """As its directory listed it."""
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False


def _reason(entry: os.DirEntry[str], error: OSError) -> str:
    try:
        dangling = isinstance(error, FileNotFoundError) and entry.is_symlink()
    except OSError:
        dangling = False
    return LINK_TO_NOTHING if dangling else reason_of(error)


def reason_of(error: OSError) -> str:
    """What the system says, without the path."""
    return error.strerror or str(error)


def path_text(path: str) -> str:
    """A path as text that any reader takes: bytes that are no UTF-8 as `\\xNN`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
