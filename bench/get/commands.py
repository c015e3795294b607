"""Commands, with what they cost, and processes that run on, as the kernel counts them."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from fastmarket.cli.processes import environment

_TICKS = os.sysconf("SC_CLK_TCK")


class CommandFailed(Exception):
    """A command did not do what it was to; the text says what it printed."""


@dataclass(frozen=True)
class Ended:
    """A command that ended well: what it printed, the seconds it took, and those of processors."""

    stdout: str
    wall_s: float
    cpu_s: float


class Command:
    """A command under way."""

    def __init__(self, words: Sequence[str], log: IO[bytes], env: Mapping[str, str] | None = None) -> None:
        self._words = words
        self._began = time.perf_counter()
        self.process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            env=environment(**(env or {})),
        )

    @property
    def is_over(self) -> bool:
        """Whether it has ended; `wait` says how."""
        return os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def kill(self) -> None:
        """SIGKILL."""
        os.kill(self.process.pid, signal.SIGKILL)

    def wait(self, deadline_s: float) -> tuple[int, Ended]:
        """Its exit status and what it cost, with all its threads and children. Killed at the deadline."""
        late = threading.Timer(deadline_s, self.kill)
        late.start()
        try:
            assert self.process.stdout is not None
            said = self.process.stdout.read().decode(errors="replace")
            _, status, used = os.wait4(self.process.pid, 0)
        finally:
            late.cancel()
        self.process.returncode = os.waitstatus_to_exitcode(status)
        self.process.stdout.close()
        took = time.perf_counter() - self._began
        return self.process.returncode, Ended(said, took, used.ru_utime + used.ru_stime)


def run(words: Sequence[str], deadline_s: float, env: Mapping[str, str] | None = None) -> Ended:
    """Raises CommandFailed unless it ends with status 0 within the deadline."""
    with tempfile.TemporaryFile() as log:
        status, ended = Command(words, log, env).wait(deadline_s)
        log.seek(0)
        errors = log.read().decode(errors="replace").strip()
    if status != 0:
        raise CommandFailed(f"`{' '.join(words)}` ended with {status}: {errors or ended.stdout}")
    return ended


def processor_s(pid: int) -> float:
    """Seconds of processors that a process took so far, threads that have ended included, in user and in
    kernel mode (utime and stime of proc(5); to 10 ms)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS
