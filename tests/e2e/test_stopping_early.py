"""SIGTERM during the start: the promise to end within 5 s holds whatever part of the start hangs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from fastmarket.cli.processes import environment
from tests.e2e.terminal import DEADLINE_S

# The program as it is, around a node of which one part never ends, not even when it is cancelled.
PROGRAM = """
import asyncio, sys
from fastmarket.cli import server

async def hang():
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            pass

class HangingNode:
    async def start(self):
        print("starting", flush=True)
        await (hang() if "start" in sys.argv[1] else asyncio.Event().wait())
    async def stop(self):
        if "stop" in sys.argv[1]:
            await hang()
    def reload(self):
        pass

server._compose = lambda settings, identity: HangingNode()
server.STOP_DEADLINE_S = 0.2
sys.exit(server.main(["--ephemeral", "-p", "0"]))
"""


@pytest.mark.parametrize(("hanging", "in_order"), [("nothing", True), ("start", False), ("stop", False)])
def test_it_ends_in_time_whatever_hangs(hanging: str, in_order: bool) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, hanging],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "starting\n"
        process.terminate()
        _, log = process.communicate(timeout=DEADLINE_S)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    assert ("did not stop within 0.2 s; exiting anyway" not in log) == in_order, log
    assert "Traceback" not in log
