"""A seller behind a home router, with nothing configured, sells to a stranger outside."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.nat import lab as nat
from tests.nat.lab import OTHER, OUTSIDE, SELLER6, STRANGER, STRANGER6, Lab, Miniupnpd, wait_until
from tests.nat.nodes import CONTENT_PORT, Nodes, wait_logged

pytestmark = [nat.wants_namespaces, nat.wants_miniupnpd, pytest.mark.e2e]
PORT = 16899


@pytest.fixture
def nodes(made: Lab) -> Iterator[Nodes]:
    with ExitStack() as stack:
        yield Nodes(made, stack)


@pytest.mark.parametrize(
    ("speaks", "protocol"),
    [({}, "PCP"), ({"natpmp": False}, "UPnP")],
    ids=["pcp", "upnp"],
)
def test_it_sells_to_a_stranger_and_gives_its_ports_back(
    at_home: Lab, nodes: Nodes, speaks: dict[str, bool], protocol: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if protocol == "UPnP":
        pytest.importorskip("miniupnpc")
    router = Miniupnpd(at_home, **speaks)
    stranger = nodes.stranger()
    began = time.monotonic()
    seller = nodes.seller(stranger)
    cid = nodes.sell(seller, "behind a router")
    wait_until(lambda: nodes.buys(stranger, cid, "behind a router"), f"sold:\n{seller.log()}", 60.0)
    with capsys.disabled():
        print(f"\n{protocol}: sold {time.monotonic() - began:.1f} s after the start of the seller's process")
    assert f"forwards {OUTSIDE}:{PORT} to port {PORT} of this machine ({protocol})" in seller.log()
    assert f"dport {PORT} dnat" in router.mapped()
    assert f"dport {CONTENT_PORT} dnat" in router.mapped()
    # Another stranger, who is told of it by the first, reaches it as a peer.
    other = nodes.start("world", "-l", f"/ip4/{OTHER}/tcp/4001", "-b", stranger.address)
    told = nodes.client("world", other, "peers", "--json").stdout
    assert f"/ip4/{OUTSIDE}/tcp/{PORT}" in told
    seller.terminate()
    assert not router.mapped()


def test_it_sells_again_after_the_router_has_restarted(
    at_home: Lab, nodes: Nodes, capsys: pytest.CaptureFixture[str]
) -> None:
    router = Miniupnpd(at_home)
    stranger = nodes.stranger()
    seller = nodes.seller(stranger)
    wait_logged(seller, "forwards")
    wait_until(lambda: f"dport {CONTENT_PORT} " in router.mapped(), "it is mapped")
    cid = nodes.sell(seller, "before and after")
    router.stop()
    assert not router.mapped()
    router.start()
    began = time.monotonic()
    wait_until(lambda: nodes.buys(stranger, cid, "before and after"), f"sold:\n{seller.log()}", 60.0)
    with capsys.disabled():
        print(f"\nsold {time.monotonic() - began:.1f} s after the router's restart")
    assert "no longer forwarded" not in seller.log()


def test_the_firewall_before_a_public_ipv6_address_is_opened(at_home: Lab, nodes: Nodes) -> None:
    nat.ipv6(at_home)
    Miniupnpd(at_home)
    stranger = nodes.stranger(f"/ip6/{STRANGER6}")
    listen = ("-l", f"/ip6/::/tcp/{PORT}")
    closed = nodes.start("seller", *listen)
    assert not reaches(at_home, PORT)
    closed.terminate()
    seller = nodes.seller(stranger, *listen, host="::")
    wait_until(lambda: reaches(at_home, PORT), f"peers get in:\n{seller.log()}")
    cid = nodes.sell(seller, "over IPv6")
    wait_until(lambda: nodes.buys(stranger, cid, "over IPv6"), f"sold:\n{seller.log()}", 60.0)
    assert OUTSIDE not in seller.log(), "it listens on IPv6 alone"
    assert f"forwards [{SELLER6}]:{CONTENT_PORT} to port {CONTENT_PORT}" in seller.log()
    seller.terminate()
    assert not reaches(at_home, PORT)


def reaches(made: Lab, port: int) -> bool:
    """Whether a stranger's SYN gets through to the seller, who may refuse it."""
    code = f"import socket; socket.create_connection(('{SELLER6}', {port}), 0.5)"
    done = subprocess.run(
        [*made.through("world"), sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    return done.returncode == 0 or "refused" in done.stderr


@pytest.mark.parametrize(
    ("outside", "provider", "said"),
    [
        ("100.64.0.2", "100.64.0.1", "the provider shares the address 100.64.0.2 of the router"),
        ("192.168.0.2", "192.168.0.1", "whose address is 192.168.0.2, is itself behind a router"),
    ],
    ids=["cgnat", "double-nat"],
)
def test_a_router_that_is_itself_behind_one_is_told_of(
    made: Lab, nodes: Nodes, outside: str, provider: str, said: str
) -> None:
    nat.home(made, outside=outside, provider=provider)
    nat.port_restricted(made)
    Miniupnpd(made)
    seller = nodes.start("seller", env={"FASTMARKET_PORT_MAP": "auto"})
    wait_logged(seller, said)
    assert seller.log().count(said) == 1
    info = nodes.client("seller", seller, "id", "--json").stdout
    assert outside in info, "the node says it of itself, too"


def test_a_router_that_maps_nothing_is_told_of(at_home: Lab, nodes: Nodes) -> None:
    seller = nodes.start("seller", env={"FASTMARKET_PORT_MAP": "auto"})
    wait_logged(seller, f"forward TCP port {PORT} by hand there")
    assert STRANGER not in seller.log()
