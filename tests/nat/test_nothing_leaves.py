"""What tests, benchmarks and the demo start sends nothing to the network unasked: counted by nftables."""

from __future__ import annotations

import re
import subprocess
import sys
from contextlib import ExitStack

import pytest

from fastmarket.cli.processes import environment
from tests.nat import lab as nat
from tests.nat.lab import Lab, wait_until
from tests.nat.nodes import ASKS, Nodes

pytestmark = [nat.wants_namespaces, pytest.mark.e2e]
DEADLINE_S = 240.0
COUNTER = """table inet counted {
  counter left { }
  chain output { type filter hook output priority 0; oifname != "lo" counter name left; }
}"""


@pytest.fixture
def counted(at_home: Lab) -> Lab:
    """A machine in a home network, whose packets to others are counted."""
    # IPv6 greets its neighbours by itself.
    at_home.run("seller", "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
    at_home.nft("seller", COUNTER)
    return at_home


def left(made: Lab) -> int:
    found = re.search(
        r"packets (\d+)", made.run("seller", "nft", "list", "counter", "inet", "counted", "left")
    )
    assert found is not None
    return int(found[1])


def test_a_server_that_nobody_told_to_be_quiet_is_counted(counted: Lab) -> None:
    with ExitStack() as stack:
        Nodes(counted, stack).start("seller", env=ASKS)
        wait_until(lambda: left(counted) > 0, "it asks the router")


def test_a_server_of_a_test_sends_nothing(counted: Lab) -> None:
    """It listens on all interfaces, and has a way out."""
    with ExitStack() as stack:
        server = Nodes(counted, stack).start("seller")  # until it is ready: routers are asked before that
        assert server.terminate() == 0
    assert left(counted) == 0


def test_the_demo_sends_nothing(counted: Lab) -> None:
    command = [*counted.through("seller"), sys.executable, "-m", "fastmarket.cli.demo"]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment(), timeout=DEADLINE_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert left(counted) == 0
