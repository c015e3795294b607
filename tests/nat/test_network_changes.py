"""A machine whose address changes: peers, connections and mappings follow."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack

import pytest

from fastmarket.cli.processes import ServerProcess
from tests.nat import lab as nat
from tests.nat.lab import OUTSIDE, SELLER, Lab, Miniupnpd, wait_until
from tests.nat.nodes import CONTENT_PORT, Nodes, wait_logged

pytestmark = [nat.wants_namespaces, nat.wants_miniupnpd, pytest.mark.e2e]
PORT, NEXT = 16899, "192.168.7.20"


@pytest.fixture
def moving(at_home: Lab) -> Lab:
    """Else Linux drops the second address of a network with the first."""
    at_home.run("seller", "sysctl", "-qw", "net.ipv4.conf.all.promote_secondaries=1")
    return at_home


def told(nodes: Nodes, stranger: ServerProcess, seller: ServerProcess) -> set[str]:
    """The seller's IP addresses, as a stranger was told of them."""
    peers = json.loads(nodes.client("world", stranger, "peers", "--json").stdout)["peers"]
    of_seller = [peer["addrs"] for peer in peers if peer["peer_id"] == seller.ready["peer_id"]]
    return {addr.split("/")[2] for addrs in of_seller for addr in addrs}


def test_another_address_is_followed_by_all(moving: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    with ExitStack() as stack:
        nodes, router = Nodes(moving, stack), Miniupnpd(moving)
        stranger = nodes.stranger()
        seller = nodes.seller(stranger)
        wait_until(lambda: f"dport {CONTENT_PORT} " in router.mapped(), "it is mapped")
        cid = nodes.sell(seller, "from anywhere")
        began = time.monotonic()
        moving.ip("seller", f"addr add {NEXT}/24 dev lan")
        wait_logged(seller, "the network has changed")
        wait_until(lambda: {SELLER, NEXT, OUTSIDE} <= told(nodes, stranger, seller), "peers are told")
        told_s = time.monotonic() - began

        began = time.monotonic()
        moving.ip("seller", f"addr del {SELLER}/24 dev lan")
        wait_until(
            # At other ports outside: the old address has the old ones, and nobody can give them back for it.
            lambda: all(f" dnat ip to {NEXT}:{port}" in router.mapped() for port in (PORT, CONTENT_PORT)),
            "both ports lead to the new address",
        )
        mapped_s = time.monotonic() - began
        wait_until(lambda: told(nodes, stranger, seller) == {NEXT, OUTSIDE}, "the old address is gone")
        assert nodes.buys(stranger, cid, "from anywhere"), seller.log()
        with capsys.disabled():
            print(f"\ntold after {told_s:.1f} s, mapped at the new address after {mapped_s:.1f} s")
        assert f"forwards {OUTSIDE}:{PORT} to port {PORT}" in seller.log()
