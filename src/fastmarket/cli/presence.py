"""Whether a registered file is still in place."""

from __future__ import annotations

import os
import stat
from enum import Enum, auto


class Presence(Enum):
    """The state of a registered path."""

    THERE = auto()  # or not accessible: then the walk has reported why
    GONE = auto()
    UNMOUNTED = auto()  # its file system is not mounted: the file may come back


def presence(path: bytes, device: int | None) -> Presence:
    """`device` is the file's device when it was registered, or None if unknown."""
    try:
        regular = stat.S_ISREG(os.stat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return Presence.UNMOUNTED if _is_unmounted(path, device) else Presence.GONE
    except OSError:
        return Presence.THERE
    return Presence.THERE if regular else Presence.GONE


def _is_unmounted(path: bytes, device: int | None) -> bool:
    """Whether the nearest existing directory above is empty and on another file system: a mount point."""
    directory = os.path.dirname(path)
    while True:
        try:
            if os.stat(directory).st_dev == device or device is None:
                return False
            with os.scandir(directory) as entries:
                return not any(entries)
        except (FileNotFoundError, NotADirectoryError):
            directory = os.path.dirname(directory)
        except OSError:
            return True
