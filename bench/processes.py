"""Processes under measurement: started, read by their first line, asked of the kernel what they used."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STOP_S = 10.0
_PR_SET_PDEATHSIG = 1  # prctl(2)


@dataclass(frozen=True)
class Served:
    """A process and what its first line said."""

    pid: int
    hello: dict[str, Any]


@contextmanager
def served(*arguments: str) -> Iterator[Served]:
    """`python -m bench.served ARGUMENTS`; ended by the end of its input."""
    command = [sys.executable, "-m", "bench.served", *arguments]
    with started(command, Path(__file__).parent.parent) as process:
        yield process


@contextmanager
def started(
    command: Sequence[str], folder: Path, env: Mapping[str, str] | None = None, log: Path | None = None
) -> Iterator[Served]:
    """Any program that says one line of JSON when it is ready, and ends with its input. `log`: its stderr."""
    stderr = log.open("wb") if log is not None else None
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        cwd=folder,
        env={**os.environ, **(env or {})},
        text=True,
        preexec_fn=_die_with_parent if sys.platform == "linux" else None,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield Served(process.pid, json.loads(process.stdout.readline()))
    finally:
        process.stdin.close()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
        if stderr is not None:
            stderr.close()


def cpu_s(pid: int) -> float:
    """CPU seconds of all threads of a process so far, to the nanosecond where the kernel keeps that."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
    except (OSError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_mb(pid: int) -> float:
    """Memory that is its own or shared and resident, in MB of 10**6 bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError(f"process {pid} has no memory: it has ended")


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
