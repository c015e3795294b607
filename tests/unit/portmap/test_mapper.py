"""Mappings are made by the first protocol that maps, live on, heal, and are removed."""

from __future__ import annotations

import itertools
from ipaddress import IPv4Address, ip_address

import pytest

from fastmarket.config import PortMapConfig
from fastmarket.portmap.mapping import Mapped, MapState, MapStatus, Unmapped
from fastmarket.portmap.messages import MapProtocol, MapRefusal, RequestKind
from fastmarket.portmap.outside import Outside, outside_of
from tests.unit.portmap.router import OUTSIDE, START, Home, Router

PCP, NAT_PMP, UPNP = MapProtocol.PCP, MapProtocol.NAT_PMP, MapProtocol.UPNP
CONFIG = PortMapConfig()
SOON_S = 8.0  # the longest way: two protocols are silent, the third maps


@pytest.mark.parametrize("speaks", [{PCP}, {NAT_PMP}, {UPNP}, {PCP, NAT_PMP, UPNP}, {NAT_PMP, UPNP}])
def test_the_first_protocol_that_maps_is_used(speaks: set[MapProtocol]) -> None:
    home = Home(Router(frozenset(speaks)), None, 4001, 4002)
    home.run(SOON_S)
    first = next(protocol for protocol in MapProtocol if protocol in speaks)
    assert home.mapper.status == MapStatus(MapState.MAPPED, first, OUTSIDE, Outside.PUBLIC)
    assert home.router.mapped == {4001: 4001, 4002: 4002}
    made = [event.mapping for event in home.take(Mapped) if isinstance(event, Mapped)]
    assert [(one.internal_port, one.external_ip, one.external_port) for one in made] == [
        (4001, OUTSIDE, 4001),
        (4002, OUTSIDE, 4002),
    ]


@pytest.mark.parametrize("protocol", list(MapProtocol))
def test_a_mapping_is_renewed_at_half_of_what_was_granted(protocol: MapProtocol) -> None:
    home = Home(Router(frozenset({protocol}), lifetime_s=600))
    home.run(4 * CONFIG.lifetime_s)
    asked = [at for at, _, kind in home.asked if kind is RequestKind.MAP and at > START + SOON_S]
    granted = CONFIG.lifetime_s if protocol is UPNP else 600
    gaps = [later - earlier for earlier, later in itertools.pairwise(asked)]
    assert gaps
    assert all(gap == pytest.approx(granted / 2, abs=11) for gap in gaps)
    assert not home.take(Unmapped)
    assert len(home.take(Mapped)) == 1, "a renewal is no news"


@pytest.mark.parametrize("protocol", list(MapProtocol))
def test_a_router_that_restarted_maps_again_at_the_next_probe(protocol: MapProtocol) -> None:
    home = Home(Router(frozenset({protocol})), None, 4001, 4002)
    home.run(100)
    home.router.restart(home.now)
    assert not home.router.mapped
    home.run(CONFIG.probe_s + 1)
    assert home.router.mapped == {4001: 4001, 4002: 4002}
    assert not home.take(Unmapped)


@pytest.mark.parametrize("protocol", list(MapProtocol))
def test_a_router_that_is_away_for_a_while_maps_soon_after(protocol: MapProtocol) -> None:
    home = Home(Router(frozenset({protocol})))
    home.run(100)
    home.router.is_silent = True
    home.run(40)
    home.router.restart(home.now)
    home.router.is_silent = False
    home.run(2 * CONFIG.silent_retry_s + 2)
    assert home.router.mapped == {4001: 4001}


def test_another_outside_address_is_told() -> None:
    for protocol in MapProtocol:
        home = Home(Router(frozenset({protocol})))
        home.run(100)
        assert len(home.take(Mapped)) == 1
        home.router.outside = IPv4Address("11.0.0.9")
        home.router.restart(home.now)
        home.run(CONFIG.probe_s + 1)
        (made,) = home.take(Mapped)
        assert isinstance(made, Mapped)
        assert made.instead is not None
        assert (made.instead.external_ip, made.mapping.external_ip) == (OUTSIDE, home.router.outside), (
            protocol
        )


def test_an_announcement_of_the_router_is_followed_at_once_but_not_each_time() -> None:
    home = Home(Router())
    home.run(100)
    before = len(home.asked)
    for _ in range(50):
        home.mapper.handle_announcement(home.now)
        home.turn()
    assert len(home.asked) == before + 1


@pytest.mark.parametrize("protocol", list(MapProtocol))
def test_an_outside_port_that_is_taken_is_replaced(protocol: MapProtocol) -> None:
    home = Home(Router(frozenset({protocol}), taken={4001}))
    home.run(SOON_S)
    (outside,) = home.router.mapped
    assert outside != 4001
    home.run(2 * CONFIG.lifetime_s)
    assert home.router.mapped == {outside: 4001}, "a renewal keeps the port"


@pytest.mark.parametrize("protocol", list(MapProtocol))
def test_mappings_are_removed_at_the_end(protocol: MapProtocol) -> None:
    home = Home(Router(frozenset({protocol})), None, 4001, 4002)
    home.run(100)
    home.mapper.set_ports((4002,), home.now)
    home.run(1)
    assert home.router.mapped == {4002: 4002}
    home.mapper.close()
    home.run(1)
    assert home.mapper.is_done
    assert not home.router.mapped
    assert len(home.take(Unmapped)) == 2


def test_the_end_does_not_wait_for_a_router_that_is_gone() -> None:
    home = Home(Router())
    home.run(100)
    home.router.is_silent = True
    home.mapper.close()
    home.run(3)
    assert home.mapper.is_done
    assert home.mapper.next_timer() == float("inf")


def test_where_nobody_maps_it_is_asked_for_less_and_less_often() -> None:
    home = Home(Router(frozenset()))
    home.run(SOON_S)
    assert home.mapper.status == MapStatus(MapState.NONE)
    home.run(24 * 3600)
    rounds = [at for at, protocol, _ in home.asked if protocol is UPNP]
    gaps = [later - earlier for earlier, later in itertools.pairwise(rounds)]
    assert gaps[0] < CONFIG.retry_s + SOON_S
    assert max(gaps) < CONFIG.max_retry_s + SOON_S
    assert len(rounds) < 24 * 3600 / CONFIG.max_retry_s + 12
    home.router.speaks = frozenset({UPNP})  # somebody enabled it
    home.run(CONFIG.max_retry_s + SOON_S)
    assert home.mapper.status.state is MapState.MAPPED


def test_why_a_router_does_not_map_is_known() -> None:
    home = Home(Router(frozenset({PCP, NAT_PMP}), code=2))
    home.run(SOON_S)
    assert home.mapper.status == MapStatus(MapState.NONE, None, OUTSIDE, refusal=MapRefusal.NOT_AUTHORIZED)


def test_a_router_that_refuses_because_it_is_behind_another_one_is_told_of() -> None:
    """As miniupnpd does: in PCP "no resources", with its address."""
    home = Home(Router(frozenset({PCP}), code=8, outside=IPv4Address("100.64.3.4")))
    home.run(SOON_S)
    status = home.mapper.status
    assert (status.state, status.outside, status.refusal) == (
        MapState.NONE,
        Outside.CGNAT,
        MapRefusal.NO_ROOM,
    )
    home.router.code, home.router.outside = 0, OUTSIDE
    home.run(CONFIG.max_retry_s)
    assert home.mapper.status.outside is Outside.PUBLIC


def test_a_closed_port_of_the_router_is_not_waited_for() -> None:
    home = Home(Router(frozenset({UPNP}), is_silent=False))
    home.mapper.handle_timer(home.now)
    home.mapper.poll_actions()
    for _ in range(2):  # PCP, NAT-PMP: the same port
        home.mapper.handle_refused(home.now)
        home.mapper.handle_timer(home.now)
    (ask,) = home.mapper.poll_actions()[1:]
    assert ask.protocol is UPNP


def test_a_mapping_that_cannot_be_renewed_ends() -> None:
    config = PortMapConfig(lifetime_s=120, silent_limit_s=1e6)
    home = Home(Router(lifetime_s=120), config)
    home.run(10)
    home.router.is_silent = True
    home.run(200)
    assert len(home.take(Unmapped)) == 1
    assert not home.mapper.mappings


def test_answers_to_others_change_nothing() -> None:
    """Another program's nonce or port, another version, noise."""
    home = Home(Router())
    home.mapper.handle_timer(home.now)
    (ask,) = home.mapper.poll_actions()
    assert ask.data is not None
    right = home.router.answer(ask.data, home.now)
    assert right is not None
    for at in (24, 30, 40, 0, 1):  # nonce, nonce, port, version, opcode
        wrong = bytearray(right)
        wrong[at] ^= 1
        home.mapper.handle_datagram(bytes(wrong), home.now)
    for noise in (b"", right[:-1], right[:24], bytes(1200)):
        home.mapper.handle_datagram(noise, home.now)
    assert not home.mapper.mappings
    home.mapper.handle_datagram(right, home.now)
    assert home.mapper.mappings


@pytest.mark.parametrize(
    ("external", "observed", "outside"),
    [
        ("11.0.0.2", (), Outside.PUBLIC),
        ("11.0.0.2", ("11.0.0.2", "2600::1"), Outside.PUBLIC),
        ("11.0.0.2", ("2600::1",), Outside.PUBLIC),
        ("11.0.0.2", ("12.0.0.1",), Outside.DOUBLE_NAT),
        ("100.64.0.1", (), Outside.CGNAT),
        ("100.127.255.254", ("11.0.0.2",), Outside.CGNAT),
        ("100.128.0.1", (), Outside.PUBLIC),
        ("192.168.1.2", (), Outside.DOUBLE_NAT),
        ("10.0.0.7", (), Outside.DOUBLE_NAT),
        ("2600::1", (), Outside.PUBLIC),
        ("fd00::1", (), Outside.DOUBLE_NAT),
    ],
)
def test_outside_addresses(external: str, observed: tuple[str, ...], outside: Outside) -> None:
    seen = tuple(map(ip_address, observed))
    assert outside_of(ip_address(external), seen) is outside


def test_a_router_behind_a_router_is_told_of() -> None:
    home = Home(Router(outside=IPv4Address("100.64.3.4")))
    home.run(SOON_S)
    assert home.mapper.status.outside is Outside.CGNAT
    home = Home(Router())
    home.run(SOON_S)
    assert home.mapper.status.outside is Outside.PUBLIC
    home.mapper.handle_observed([IPv4Address("12.0.0.1")], home.now)
    home.run(1)
    assert home.mapper.status.outside is Outside.DOUBLE_NAT
