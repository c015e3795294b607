"""Walks a directory tree for regular files, and reports what cannot be one."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from typing import NamedTuple

from fastmarket.hashing import FileState

LINK_TO_NOTHING = "is a dangling link"
IRREGULAR = "is not a regular file"


class WalkedFile(NamedTuple):
    """A regular file, found by its path or through a link, and its state at that time."""

    path: str
    state: FileState


class Troubles(NamedTuple):
    """Callbacks for entries that are not readable files, each with the path; the walk goes on."""

    directory: Callable[[str, str], None]
    """The directory cannot be listed; gets the reason."""

    file: Callable[[str, str], None]
    """The file cannot be read or is not a regular file; gets the reason."""

    left_out: Callable[[str], None]
    """A link to a directory, which is not followed: it may form a cycle."""


def files_under(root: str, troubles: Troubles) -> Iterator[WalkedFile]:
    """Regular files in order of their names; a directory's files come before its subdirectories'."""
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
    """As many entries as can be listed."""
    found: list[os.DirEntry[str]] = []
    try:
        with os.scandir(directory) as entries:
            found.extend(entries)
    except OSError as error:
        troubles.directory(directory, reason_of(error))
    return found


def _was_directory(entry: os.DirEntry[str]) -> bool:
    """Whether its parent listed it as a directory."""
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
    """The system's error message, without the path."""
    return error.strerror or str(error)


def path_text(path: str) -> str:
    """The path as text that any reader accepts: bytes that are not UTF-8 as `\\xNN`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
