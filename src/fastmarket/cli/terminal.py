"""The terminal a server was started from: SIGHUP means another thing once it is gone."""

from __future__ import annotations

import os
import signal

_TTY = "/dev/tty"  # whichever terminal controls the process; without one, opening it fails with ENXIO


class ControllingTerminal:
    """Tells a terminal that closed from a request to reload: both arrive as SIGHUP.

    The kernel takes the terminal from all processes of a session before it signals them.
    """

    def __init__(self) -> None:
        """Must be created before SIGHUP gets a handler that is to act on it."""
        self.is_ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        """The program was started to survive its terminal (`nohup`)."""
        self._was_there = _is_there()

    @property
    def is_gone(self) -> bool:
        """Whether the terminal of the start is there no longer; False for a program that ignores that."""
        return self._was_there and not self.is_ignored and not _is_there()


def _is_there() -> bool:
    try:
        os.close(os.open(_TTY, os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
