"""A server at a terminal that is closed, and SIGHUP while it is open: real processes on a pseudo-terminal."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from fastmarket.cli.processes import environment, executable
from tests.e2e.conftest import LOOPBACK, Run
from tests.e2e.terminal import DEADLINE_S, Terminal
from tests.e2e.test_server import STOP_WITHIN_S, eventually

RELOADED = "SIGHUP: reloaded"
Open = Callable[..., Terminal]


@pytest.fixture
def open_server(tmp_path: Path) -> Iterator[Open]:
    """Starts `fastmarket-server` at a terminal."""
    with ExitStack() as stack:

        def open_it(*before: str) -> Terminal:
            command = [*before, *executable("fastmarket-server"), *LOOPBACK, "--ephemeral"]
            return stack.enter_context(Terminal(command, environment(), tmp_path))

        yield open_it


def test_it_ends_in_order_with_its_terminal_and_reloads_before(open_server: Open) -> None:
    server = open_server()
    server.wait_for("ready {")
    server.process.send_signal(signal.SIGHUP)
    server.wait_for(RELOADED)
    server.hang_up()
    assert server.process.wait(STOP_WITHIN_S) == 0


def test_it_ends_with_its_terminal_while_it_starts(open_server: Open) -> None:
    server = open_server()
    eventually(DEADLINE_S, lambda: _is_started(server.process.pid))
    server.hang_up()
    # The latter: before it has run any code of ours.
    assert server.process.wait(DEADLINE_S) in (0, -signal.SIGHUP)


def _is_started(pid: int) -> bool:
    """Whether the process runs the server, and no longer what `Terminal` runs before it."""
    command_line = Path(f"/proc/{pid}/cmdline").read_bytes()
    return b"--ephemeral" in command_line and b"TIOCSCTTY" not in command_line


@pytest.mark.skipif(shutil.which("nohup") is None, reason="needs nohup")
def test_with_nohup_it_outlives_its_terminal(open_server: Open, run_client: Run, tmp_path: Path) -> None:
    server = open_server("nohup")
    output = tmp_path / "nohup.out"
    eventually(DEADLINE_S, lambda: output.exists() and "\nready {" in "\n" + output.read_text())
    line = next(line for line in output.read_text().splitlines() if line.startswith("ready {"))
    server.hang_up()
    eventually(DEADLINE_S, lambda: RELOADED in output.read_text())
    port = json.loads(line.removeprefix("ready "))["grpc"].rpartition(":")[2]
    assert run_client("-p", port, "id").status == 0
    server.process.terminate()
    assert server.process.wait(STOP_WITHIN_S) == 0
