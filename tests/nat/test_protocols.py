"""Each protocol against a real router (miniupnpd), without a node around the mapper."""

from __future__ import annotations

import os
import time
from ipaddress import ip_address

import pytest

from fastmarket.config import PortMapConfig
from fastmarket.net.default_route import MAP_PORT
from fastmarket.portmap.mapper import PortMapper
from fastmarket.portmap.mapping import MapState
from fastmarket.portmap.messages import MapProtocol
from tests.nat import lab as nat
from tests.nat.lab import HOME, OUTSIDE, SELLER, Lab, Miniupnpd, wait_until

pytestmark = [nat.wants_namespaces, nat.wants_miniupnpd]
OTHER_CLIENT = "192.168.7.9"
BY_DATAGRAMS = (MapProtocol.PCP, MapProtocol.NAT_PMP)


class Asking:
    """A mapper and its socket, in real time."""

    def __init__(self, made: Lab, protocol: MapProtocol, client: str = SELLER) -> None:
        self.mapper = PortMapper(PortMapConfig(), ip_address(client), os.urandom, (protocol,))
        self._socket = made.socket("seller")
        self._socket.bind((client, 0))
        self._socket.connect((HOME, MAP_PORT))
        self._socket.settimeout(0.05)

    def turn(self) -> None:
        self.mapper.handle_timer(time.time())
        for ask in self.mapper.poll_actions():
            assert ask.data is not None
            self._socket.send(ask.data)
        try:
            self.mapper.handle_datagram(self._socket.recv(2000), time.time())
        except TimeoutError:
            return
        except ConnectionRefusedError:
            self.mapper.handle_refused(time.time())

    def close(self) -> None:
        self._socket.close()


@pytest.mark.parametrize("protocol", BY_DATAGRAMS)
def test_ports_are_mapped_and_given_back(at_home: Lab, protocol: MapProtocol) -> None:
    router = Miniupnpd(at_home)
    asking = Asking(at_home, protocol)

    try:
        asking.mapper.set_ports((4001, 4002), time.time())
        wait_until(lambda: asking.turn() or len(asking.mapper.mappings) == 2, "two mappings")
        status = asking.mapper.status
        assert (status.state, status.protocol, status.external_ip) == (
            MapState.MAPPED,
            protocol,
            ip_address(OUTSIDE),
        )
        assert "dport 4001 dnat" in router.mapped()
        assert "dport 4002 dnat" in router.mapped()
        asking.mapper.close()
        wait_until(lambda: asking.turn() or asking.mapper.is_done, "an end")
        assert not router.mapped()
    finally:
        asking.close()


@pytest.mark.parametrize("protocol", BY_DATAGRAMS)
def test_a_port_that_another_machine_has_is_replaced(at_home: Lab, protocol: MapProtocol) -> None:
    router = Miniupnpd(at_home)
    at_home.ip("seller", f"addr add {OTHER_CLIENT}/24 dev lan")
    first, second = Asking(at_home, protocol, OTHER_CLIENT), Asking(at_home, protocol)
    try:
        for asking in (first, second):
            asking.mapper.set_ports((4001,), time.time())
            wait_until(lambda asking=asking: asking.turn() or asking.mapper.mappings, "a mapping")
        (mapping,) = second.mapper.mappings
        assert mapping.external_port != 4001
        assert f"dport 4001 dnat ip to {OTHER_CLIENT}:4001" in router.mapped()
        assert f"dport {mapping.external_port} dnat ip to {SELLER}:4001" in router.mapped()
    finally:
        first.close()
        second.close()
