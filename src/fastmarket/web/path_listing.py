"""What is below the directories that callers may sell from, for people who choose by pointing."""

from __future__ import annotations

import os
import stat
from itertools import islice

from fastmarket.config import WebConfig
from fastmarket.content.allowed import AllowedPaths, shown_path
from fastmarket.errors import CallerFault, Forbidden

Json = dict[str, object]


def listing(allowed: AllowedPaths, path: str, config: WebConfig) -> Json:
    """The entries of a directory, those that are no files or directories or start with a dot left out; of ""
    the allowed directories themselves. Reads the disk.

    Raises Forbidden where nothing is allowed by name, or not that; NoSuchGood, CallerFault.
    """
    if not allowed.directories:
        raise Forbidden("path", "there is no list to choose from without --allow-path; type the path")
    if not path:
        tops = [_shown(top, top, is_directory=True) for top in allowed.directories]
        return {"path": "", "shown": "", "parent": None, "entries": tops, "more": False}
    real = allowed.check(path)
    entries, is_cut = _entries(allowed, real, config)
    entries.sort(key=lambda entry: (not entry["directory"], str(entry["name"]).casefold()))
    return {
        "path": real,
        "shown": shown_path(real),
        "parent": _parent(allowed, real),
        "entries": entries[: config.max_listed_paths],
        "more": is_cut or len(entries) > config.max_listed_paths,
    }


def _entries(allowed: AllowedPaths, directory: str, config: WebConfig) -> tuple[list[Json], bool]:
    """And whether there are more."""
    found = []
    try:
        with os.scandir(directory) as entries:
            for entry in islice(entries, config.max_scanned_paths):
                if not entry.name.startswith(".") and (shown := _entry(allowed, entry)) is not None:
                    found.append(shown)
            return found, next(entries, None) is not None
    except OSError as error:
        raise CallerFault("path", f"{shown_path(directory)}: {error.strerror}") from None


def _entry(allowed: AllowedPaths, entry: os.DirEntry[str]) -> Json | None:
    try:
        real = allowed.check(entry.path) if entry.is_symlink() else entry.path
        allowed.check_real(real)
        status = entry.stat()
    except (CallerFault, OSError):  # gone meanwhile, or not to be sold
        return None
    if stat.S_ISDIR(status.st_mode):
        return _shown(real, entry.name, is_directory=True)
    if stat.S_ISREG(status.st_mode):
        return _shown(real, entry.name, is_directory=False, size=status.st_size)
    return None


def _parent(allowed: AllowedPaths, real: str) -> str:
    """The directory above, or "" for the list of those that are allowed."""
    if real in allowed.directories:
        return ""
    return os.path.dirname(real)


def _shown(path: str, name: str, *, is_directory: bool, size: int | None = None) -> Json:
    """`path` as it is sent back, `name` for people."""
    return {"path": path, "name": shown_path(name), "directory": is_directory, "size": size}
