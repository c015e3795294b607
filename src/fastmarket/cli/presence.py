"""Whether a file that was registered is still in its place."""

from __future__ import annotations

import os
import stat
from enum import Enum, auto


class Presence(Enum):
    """Of a registered path."""

    THERE = auto()  # or nobody may look: then the walk has told why
    GONE = auto()
    UNMOUNTED = auto()  # so is the file system it was on: it may come back


def presence(path: bytes, device: int | None) -> Presence:
    """`device`: of the file as it was registered; None: not known."""
    try:
        regular = stat.S_ISREG(os.stat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return Presence.UNMOUNTED if _is_unmounted(path, device) else Presence.GONE
    except OSError:
        return Presence.THERE
    return Presence.THERE if regular else Presence.GONE


def _is_unmounted(path: bytes, device: int | None) -> bool:
    """Whether the nearest directory above it is an empty one of another file system: a mount point."""
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
