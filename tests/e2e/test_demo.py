"""The demo, played as `make demo` plays it."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fastmarket.cli.processes import environment

DEMO = [sys.executable, "-m", "fastmarket.cli.demo"]
DEADLINE_S = 90.0


def test_both_offers_come_cheapest_first_before_and_after_a_node_dies(tmp_path: Path) -> None:
    path = tmp_path / "[bold]song.ogg"
    path.write_text("hello world\n")
    done = subprocess.run(
        [*DEMO, str(path)], capture_output=True, text=True, timeout=DEADLINE_S, env=environment(), check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    before, gone, after = done.stdout.partition("is gone")
    assert gone
    assert "QmT78zSuBmuS4z925WZfrqQ1qHaJ56DQaTfyMUF7F8ff5o" in before
    assert "[bold]song.ogg" in before
    again = after.partition("again")[2]
    for told in (before.partition("Node C")[2], again):
        assert told.index("bob") < told.index("alice")
        assert "finds 2 offers" in told
        assert " ms" in told
    assert "node A (dead)" in again
    assert "all 12 B are there, every block verified, for $1 " in after


def test_without_a_file_it_makes_one(tmp_path: Path) -> None:
    done = subprocess.run(
        DEMO,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        env=environment(TMPDIR=str(tmp_path)),
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "50.3 MB" in done.stdout
    before, _, after = done.stdout.partition("node A is gone")
    assert "MB of 50.3 MB are there" in before  # killed in the middle
    assert "all 50.3 MB are there, every block verified, for $" in after
    assert list(tmp_path.iterdir()) == []


def test_what_it_cannot_offer() -> None:
    done = subprocess.run([*DEMO, "/no/such/file"], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "demo: /no/such/file: no such file\n"


def test_a_server_that_does_not_start_is_shown() -> None:
    program = (
        "import fastmarket.cli.demo as demo, fastmarket.cli.processes as processes, sys;"
        "processes.executable = lambda name: ['/bin/sh', '-c', 'echo out of order >&2; exit 3'];"
        "sys.exit(demo.main([]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )
    assert done.returncode == 1
    assert "out of order" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel for the children of a process")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_process_outlives_it(number: signal.Signals) -> None:
    with subprocess.Popen(
        [*DEMO], stdout=subprocess.PIPE, text=True, env=environment(PYTHONUNBUFFERED="1")
    ) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if "node B" in line:
                break
        children = Path(f"/proc/{demo.pid}/task/{demo.pid}/children").read_text().split()
        assert len(children) >= 2
        watched = [os.pidfd_open(int(pid)) for pid in children]
        demo.send_signal(number)
        end = time.monotonic() + 10
        try:
            for descriptor in watched:
                ready, _, _ = select.select([descriptor], [], [], max(0.0, end - time.monotonic()))
                assert ready, "a server outlived the demo"
        finally:
            for descriptor in watched:
                os.close(descriptor)
