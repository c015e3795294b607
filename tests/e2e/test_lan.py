"""Nodes that find each other by multicast DNS, in a network of their own: nothing leaves it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import Any

import pytest

pytest.importorskip("zeroconf")
pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0 or not (shutil.which("unshare") and shutil.which("ip")),
    reason="wants root, unshare and ip, to make a network of its own",
)


def met(mdns: str, deadline_s: float) -> Any:
    command = ["unshare", "--net", sys.executable, "-m", "tests.e2e.lan", mdns, str(deadline_s)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_nodes_of_one_network_meet_without_a_bootstrap_peer_at_its_addresses() -> None:
    told = met("on", 60.0)
    first, second = told["ids"]
    for known, other in zip(told["known"], (second, first), strict=True):
        assert told["datagrams"] > 0
        assert len(known) == 1
        assert known[0].startswith(f"{other} /ip4/10.77.0.1/tcp/")


def test_off_sends_nothing() -> None:
    told = met("off", 0.0)
    assert told["known"] == [[], []]
    assert told["datagrams"] == 0
