"""A program at a terminal: its keys are pressed and its screen is read by the test."""

from __future__ import annotations

import errno
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from fcntl import ioctl
from pathlib import Path
from types import TracebackType

DEADLINE_S = 60.0
# Not as preexec_fn: see fastmarket.cli.processes.
_AT_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>()][A-Z0-9]?|\r")


class Terminal:
    """One program on a pseudo-terminal; killed on the way out."""

    def __init__(self, command: Sequence[str], env: dict[str, str], cwd: Path, columns: int = 120) -> None:
        self._fd, slave = pty.openpty()
        ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        # Nobody here answers the question where the cursor is.
        env = env | {"TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"}
        env.pop("NO_COLOR", None)
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _AT_TERMINAL, *command],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=env,
            cwd=cwd,
            start_new_session=True,
        )
        os.close(slave)
        self._unread = ""
        self.seen = ""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        self.hang_up()

    def hang_up(self) -> None:
        """Close the terminal, as its window or connection does."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def press(self, keys: str) -> None:
        """Type; `\\r` is Enter, `\\x03` Ctrl-C, `\\x04` Ctrl-D, `\\t` Tab."""
        os.write(self._fd, keys.encode())

    def wait_for(self, text: str, deadline_s: float = DEADLINE_S) -> str:
        """What came until `text` did, it included, without the terminal's control sequences."""
        end = time.monotonic() + deadline_s
        while text not in (plain := _ESCAPES.sub("", self._unread)):
            assert self._read(end), f"{text!r} did not come; seen: {self.seen!r}"
        before, _, after = plain.partition(text)
        self._unread = after
        return before + text

    def wait(self, deadline_s: float = DEADLINE_S) -> int:
        """Its exit status; what it wrote until then is in `seen`."""
        end = time.monotonic() + deadline_s
        while self._read(end):
            pass
        return self.process.wait(max(0.0, end - time.monotonic()))

    def _read(self, end: float) -> bool:
        """False at the end of the output; fails the test at the deadline."""
        ready, _, _ = select.select([self._fd], [], [], max(0.0, end - time.monotonic()))
        assert ready, f"silent; seen: {self.seen!r}"
        try:
            data = os.read(self._fd, 65536)
        except OSError as error:
            if error.errno != errno.EIO:  # Linux's way to say that the other side is closed
                raise
            return False
        self._unread += data.decode("utf-8", "replace")
        self.seen += data.decode("utf-8", "replace")
        return bool(data)
