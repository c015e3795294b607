"""Real server processes for the demo and the end-to-end tests: started, awaited, and always ended."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

READY_DEADLINE_S = (
    120.0  # ends what never comes: on a busy machine a dozen servers that start at once take long
)
STOP_DEADLINE_S = 10.0
TAIL_LINES = 12
MAX_READY_BYTES = 64 * 1024
# Nothing of the demo, the tests and the benchmarks leaves the machine.
QUIET = {"FASTMARKET_MDNS": "off", "FASTMARKET_PORT_MAP": "off"}
_PR_SET_PDEATHSIG = 1  # prctl(2)


class ProcessFault(Exception):
    """A process did not behave as expected; the text describes what was seen."""


def executable(name: str) -> list[str]:
    """The command line of this installation's `fastmarket-server` or `fastmarket-client`."""
    script = Path(sys.executable).parent / name
    if script.exists():
        return [str(script)]
    return [sys.executable, "-m", "fastmarket", name.removeprefix("fastmarket-")]


def environment(**more: str) -> dict[str, str]:
    """This process's environment plus `more`, without variables that change how our commands behave, and with
    those that keep them from talking to the local network unasked."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FASTMARKET_")}
    return kept | QUIET | more


# Run before the command, in its own process: the kernel kills it when the parent exits, even by SIGKILL.
# Not as `preexec_fn`: that makes subprocess fork, and a fork of a process with gRPC in it occasionally aborts
# before it reaches exec (github.com/grpc/grpc, issue 43055).
_DIE_WITH_PARENT = f"""
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl({_PR_SET_PDEATHSIG}, signal.SIGKILL)
if os.getppid() != int(sys.argv[1]):  # the parent exited before the prctl
    sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


def _dying_with_us(command: Sequence[str]) -> list[str]:
    """The command, wrapped on Linux so that it does not outlive this process."""
    if sys.platform != "linux":
        return list(command)
    return [sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, str(os.getpid()), *command]


class ServerProcess:
    """One `fastmarket-server`; its stderr goes to a file, so that it never blocks and can be shown later."""

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        directory: Path,
        env: Mapping[str, str] | None = None,
        through: Sequence[str] = (),
    ) -> None:
        """Start it with `arguments`, by the command `through` if there is one; its log goes to `directory`.
        Raises OSError if it cannot be started."""
        self.name = name
        self.ready: dict[str, Any] = {}
        self.log_path = directory / f"{name}.log"
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                _dying_with_us([*through, *executable("fastmarket-server"), *arguments]),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment(**(env or {})),
            )
        self._output = b""

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def port(self) -> str:
        """The gRPC port it reported."""
        return str(self.ready["grpc"].rpartition(":")[2])

    @property
    def address(self) -> str:
        """The first multiaddr that others can reach it at, with /p2p."""
        return str(self.ready["listen"][0])

    def wait_ready(self, deadline_s: float = READY_DEADLINE_S) -> dict[str, Any]:
        """Its `ready` line as an object; raises ProcessFault if it exits or the deadline passes first."""
        line = self.read_line(deadline_s)
        word, _, rest = line.partition(" ")
        if word != "ready":
            raise self.fault(f"printed {line!r} instead of ready")
        self.ready = json.loads(rest)
        return self.ready

    def read_line(self, deadline_s: float) -> str:
        """One line of its stdout without the line end."""
        stdout = self.process.stdout
        assert stdout is not None
        end = time.monotonic() + deadline_s
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            while b"\n" not in self._output:
                if not selector.select(end - time.monotonic()):
                    raise self.fault(f"silent for {deadline_s:g} s")
                data = stdout.read1(4096)  # type: ignore[attr-defined]
                if not data or len(self._output) > MAX_READY_BYTES:
                    raise self.fault(f"exited with status {self.wait()}" if not data else "printed too much")
                self._output += data
        line, _, self._output = self._output.partition(b"\n")
        return line.decode()

    def rest_of_output(self) -> str:
        """The rest of its stdout, after it has exited."""
        assert self.process.stdout is not None
        return (self._output + self.process.stdout.read()).decode()

    def wait(self, deadline_s: float = STOP_DEADLINE_S) -> int:
        """Its exit status; raises ProcessFault if it is still running at the deadline."""
        try:
            return self.process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            raise self.fault(f"still running after {deadline_s:g} s") from None

    def terminate(self, deadline_s: float = STOP_DEADLINE_S) -> int:
        """SIGTERM, then its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait(deadline_s)

    def kill(self) -> None:
        """SIGKILL, and reap it; harmless if it has already exited."""
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None and not self.process.stdout.closed:
            self.process.stdout.close()

    def log(self) -> str:
        """Everything it has written to stderr so far."""
        return self.log_path.read_text("utf-8", "replace")

    def fault(self, reason: str) -> ProcessFault:
        """A ProcessFault with the last lines of the log."""
        tail = self.log().splitlines()[-TAIL_LINES:]
        shown = "\n".join(f"    {line}" for line in tail) or "    (nothing)"
        return ProcessFault(f"{self.name}: {reason}; the end of its stderr:\n{shown}")
