"""The routers of the lab do what their names say."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.nat import lab as nat
from tests.nat.lab import OTHER, OUTSIDE, SELLER, STRANGER, Lab, received

pytestmark = nat.wants_namespaces
PORT = 4001


@pytest.mark.parametrize(
    ("kind", "same_port", "from_another_port", "from_another_host"),
    [
        (nat.full_cone, True, True, True),
        (nat.address_restricted, True, True, False),
        (nat.port_restricted, True, False, False),
        (nat.symmetric, False, False, False),
    ],
)
def test_who_gets_in(
    wired: Lab,
    kind: Callable[[Lab], None],
    same_port: bool,
    from_another_port: bool,
    from_another_host: bool,
) -> None:
    kind(wired)
    inside = wired.socket("seller")
    inside.bind((SELLER, PORT))
    places = ((STRANGER, 5000), (STRANGER, 5001), (OTHER, 5000), (STRANGER, 6000))
    asked, of_same_host, other, second = outside = [wired.socket("world") for _ in places]
    for one, place in zip(outside, places, strict=True):
        one.bind(place)
    try:
        inside.sendto(b"to one", places[0])
        seen = received(asked)
        assert seen is not None
        assert seen[0] == OUTSIDE
        inside.sendto(b"to another", places[3])
        assert (received(second) == seen) is same_port
        for one, comes in ((asked, True), (of_same_host, from_another_port), (other, from_another_host)):
            one.sendto(b"back", seen)
            assert (received(inside) is not None) is comes
    finally:
        for one in (inside, *outside):
            one.close()


@pytest.mark.parametrize("hairpin", [True, False])
def test_the_outside_address_from_inside(wired: Lab, hairpin: bool) -> None:
    nat.port_restricted(wired, hairpin=hairpin)
    inside, other = wired.socket("seller"), wired.socket("seller")
    inside.bind((SELLER, PORT))
    try:
        other.sendto(b"to myself", (OUTSIDE, PORT))
        assert (received(inside) is not None) is hairpin
    finally:
        inside.close()
        other.close()


def test_a_lossy_way_loses_some(wired: Lab) -> None:
    nat.port_restricted(wired)
    nat.loses(wired, "router", 50)
    inside, outside = wired.socket("seller"), wired.socket("world")
    outside.bind((STRANGER, PORT))
    try:
        for _ in range(200):
            inside.sendto(b"x", (STRANGER, PORT))
        came = 0
        while received(outside) is not None:
            came += 1
        assert 30 < came < 170
    finally:
        inside.close()
        outside.close()


def test_there_is_no_way_out_of_the_lab(wired: Lab) -> None:
    for name in ("seller", "router", "world"):
        interfaces = wired.run(name, "ip", "-o", "link", "show", "type", "veth").splitlines()
        assert interfaces
        assert all("link-netns fm" in line for line in interfaces), "the other end is in the lab, too"
    assert "default" not in wired.run("router", "ip", "route")
    assert "default" not in wired.run("world", "ip", "route")
