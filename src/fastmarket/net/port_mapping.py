"""Maps the ports of this node at the routers of its network, and tells its addresses of it.

The decisions are `portmap.mapper`'s; here are sockets, the thread of the UPnP library, and the log.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from ipaddress import IPv6Address

from fastmarket.config import PortMapConfig
from fastmarket.errors import NetworkFault
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.scope import AddressScope, ip_of, scope_of
from fastmarket.net.default_route import MAP_PORT, Router, default_routers
from fastmarket.net.host import Host
from fastmarket.net.pump import Pump
from fastmarket.net.upnp import UpnpRouter
from fastmarket.patient_calls import PatientCalls
from fastmarket.portmap.mapper import PortMapper
from fastmarket.portmap.mapping import AskRouter, MapEvent, Mapped, Mapping, MapState, MapStatus, Unmapped
from fastmarket.portmap.messages import IpAddress, MapProtocol
from fastmarket.portmap.outside import Outside
from fastmarket.portmap.pcp import MAX_BYTES
from fastmarket.repeating import Repeating

logger = logging.getLogger(__name__)

ANNOUNCE_GROUP, ANNOUNCE_PORT = "224.0.0.1", 5350  # where routers say that they began (RFC 6887 section 14.1)
UPNP_TIMEOUT_S = 30.0  # of a search, a description and calls over HTTP: as long as the mapper waits
MAX_AT_ONCE = 16  # datagrams taken in one turn of the loop
_PROTOCOLS = {4: tuple(MapProtocol), 6: (MapProtocol.PCP,)}

OnEvent = Callable[[Router, MapEvent], None]


class RouterDriver:
    """One router: its mapper, and the socket to it."""

    def __init__(self, host: Host, config: PortMapConfig, router: Router, on_event: OnEvent) -> None:
        """Raises OSError: there is no way to it."""
        self.router = router
        self.mapper = PortMapper(config, router.client, os.urandom, _PROTOCOLS[router.ip.version])
        self.ended = asyncio.Event()
        self._host = host
        self._on_event = on_event
        self._upnp = UpnpRouter(router, config.discover_s)
        # While a router hangs, its thread is the only one.
        self._calls = PatientCalls("the UPnP library", UPNP_TIMEOUT_S)
        self._calling: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        family = socket.AF_INET if router.ip.version == 4 else socket.AF_INET6
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            self._socket.bind((str(router.client), 0))
            self._socket.connect(router.endpoint)
        except OSError:
            self._socket.close()
            raise
        self._loop.add_reader(self._socket, self._on_readable)
        self._pump = Pump(host.run_queue, self.mapper.next_timer, self._turn, self._failed)

    def set_ports(self, ports: tuple[int, ...]) -> None:
        self.mapper.set_ports(ports, self._host.clock.now())
        self._pump.wake()

    def on_announcement(self) -> None:
        self.mapper.handle_announcement(self._host.clock.now())
        self._pump.wake()

    def on_observed(self, ips: tuple[IpAddress, ...]) -> None:
        self.mapper.handle_observed(ips, self._host.clock.now())
        self._pump.wake()

    async def close(self, patience_s: float) -> None:
        """Removes its mappings, as far as the router answers within that time."""
        self.mapper.close()
        self._pump.wake()
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await self.ended.wait()
        for task in self._calling:
            task.cancel()
        self._pump.close()
        self._loop.remove_reader(self._socket)
        self._socket.close()

    def _turn(self, now: float) -> None:
        self.mapper.handle_timer(now)
        for ask in self.mapper.poll_actions():
            self._send(ask)
        for event in self.mapper.poll_events():
            self._on_event(self.router, event)
        if self.mapper.is_closed and self.mapper.is_done:
            self.ended.set()

    def _failed(self, error: Exception) -> None:
        self._host.faults.tell("mapping ports", error)

    def _send(self, ask: AskRouter) -> None:
        if ask.data is None:
            task = asyncio.ensure_future(self._call_upnp(ask))
            self._calling.add(task)
            task.add_done_callback(self._calling.discard)
            return
        try:
            self._socket.send(ask.data)
        except ConnectionRefusedError:  # of the datagram before
            self._loop.call_soon(self._on_refused)
        except OSError:
            return  # it is sent again

    def _on_readable(self) -> None:
        for _ in range(MAX_AT_ONCE):
            try:
                data = self._socket.recv(MAX_BYTES + 1)
            except BlockingIOError:
                return
            except ConnectionRefusedError:
                self._on_refused()
                continue
            except OSError:
                return
            self.mapper.handle_datagram(data, self._host.clock.now())
            self._pump.wake()

    def _on_refused(self) -> None:
        self.mapper.handle_refused(self._host.clock.now())
        self._pump.wake()

    async def _call_upnp(self, ask: AskRouter) -> None:
        answer = None
        try:
            answer = await self._calls.make(partial(self._upnp.answer, ask.request))
        except NetworkFault as fault:  # as good as silence
            logger.debug("the router %s: %s", self.router.ip, fault)
        now = self._host.clock.now()
        if answer is None:
            self.mapper.handle_silence(now)
        else:
            self.mapper.handle_answer(MapProtocol.UPNP, answer, now)
        self._pump.wake()


class PortMapping:
    """The node's ports at the routers of its network, from `start` to `stop`."""

    def __init__(self, host: Host, config: PortMapConfig) -> None:
        self.on_changed: list[Callable[[], None]] = []
        """Called after a mapping has begun or ended."""
        self._host = host
        self._config = config
        self._drivers: dict[int, RouterDriver] = {}  # by IP version
        self._more: dict[int, IpAddress] = {}  # other ports of ours, and what they are bound to
        self._mapped: dict[tuple[int, int], Mapping] = {}  # by IP version and port of ours
        self._announcements: socket.socket | None = None
        self._stopping = False
        self._looking = Repeating(
            "looking for the router", lambda: config.router_look_s, self.look, host.faults
        )

    def start(self) -> None:
        """Returns at once; routers are asked meanwhile."""
        self._listen()
        self._looking.start(at_once=True)

    async def stop(self) -> None:
        """Removes the mappings."""
        self._stopping = True
        await self._looking.stop()
        if self._announcements is not None:
            asyncio.get_running_loop().remove_reader(self._announcements)
            self._announcements.close()
        drivers, self._drivers = list(self._drivers.values()), {}
        await asyncio.gather(*(driver.close(self._config.stop_s) for driver in drivers))

    def add_port(self, port: int, host: IpAddress) -> None:
        """Maps a TCP port, bound to `host`, besides those on which peers are listened for."""
        self._more[port] = host
        self._set_ports()

    def look_soon(self) -> None:
        """The network has changed: there may be another router."""
        self._looking.soon()

    def external_of(self, port: int) -> tuple[str, int] | None:
        """The public IPv4 address and port that lead to one of ours."""
        found = self._mapped.get((4, port))
        if found is None or scope_of(found.external_ip) is not AddressScope.PUBLIC:
            return None
        return str(found.external_ip), found.external_port

    @property
    def statuses(self) -> tuple[tuple[Router, MapStatus], ...]:
        """How it stands with each router."""
        return tuple((driver.router, driver.mapper.status) for driver in self._drivers.values())

    def trouble(self) -> str:
        """Why what is mapped cannot be reached from outside, or ""."""
        return next((text for router, status in self.statuses if (text := _trouble(router, status))), "")

    async def look(self) -> None:
        """Follows the system's default route: another router is asked in the place of the one before."""
        wanted: dict[int, Router] = {router.ip.version: router for router in self._routers()}
        for version, driver in list(self._drivers.items()):
            if driver.router != wanted.get(version):
                del self._drivers[version]
                self._forget(driver.router)
                await driver.close(0.0)  # there is no way to it any more
        for version, router in wanted.items():
            if version not in self._drivers:
                with suppress(OSError):
                    self._drivers[version] = RouterDriver(self._host, self._config, router, self._on_event)
        self._set_ports()
        observed = self._host.identifier.addresses.confirmed_ips()
        for driver in self._drivers.values():
            driver.on_observed(observed)

    # -- within

    def _routers(self) -> tuple[Router, ...]:
        """Those that have something to map: a public IPv4 address of our own needs no router's."""
        own = [ip for addr in self._host.listen_addrs if (ip := ip_of(addr)) is not None]
        public = [ip for ip in own if scope_of(ip) is AddressScope.PUBLIC]
        own_ip6 = [ip for ip in public if isinstance(ip, IPv6Address)]
        found = default_routers(own_ip6)
        is_public4 = any(ip.version == 4 for ip in public)
        return tuple(router for router in found if router.ip.version == 6 or not is_public4)

    def _ports(self, router: Router) -> tuple[int, ...]:
        """Ports of ours that others can connect to at the address which the router sees."""
        found = []
        for addr in self._host.listen_addrs:
            endpoint = addr.host_port()
            if endpoint is not None and ip_of(addr) == router.client:
                found.append(endpoint.port)
        for port, host in self._more.items():
            if host == router.client or (host.is_unspecified and host.version == router.client.version):
                found.append(port)
        return tuple(dict.fromkeys(found))

    def _set_ports(self) -> None:
        for driver in self._drivers.values():
            driver.set_ports(self._ports(driver.router))

    def _on_event(self, router: Router, event: MapEvent) -> None:
        if isinstance(event, Mapped):
            if event.instead is not None:
                self._unmap(router, event.instead)
            self._map(router, event.mapping)
        elif isinstance(event, Unmapped):
            self._unmap(router, event.mapping)
            if not self._stopping:
                logger.info("no longer forwarded by the router: %s", _external(event.mapping))
        else:
            _log(router, event, self._ports(router))

    def _map(self, router: Router, mapping: Mapping) -> None:
        self._mapped[router.ip.version, mapping.internal_port] = mapping
        protocol = self._drivers[router.ip.version].mapper.protocol.value
        logger.info(
            "the router %s forwards %s to port %d of this machine (%s)",
            router.ip,
            _external(mapping),
            mapping.internal_port,
            protocol,
        )
        self._tell(self._host.identifier.addresses.map, router, mapping)

    def _unmap(self, router: Router, mapping: Mapping) -> None:
        self._mapped.pop((router.ip.version, mapping.internal_port), None)
        self._tell(self._host.identifier.addresses.unmap, router, mapping)

    def _tell(self, call: Callable[[Multiaddr, Multiaddr], None], router: Router, mapping: Mapping) -> None:
        """Only public addresses, of what peers are listened for at, and not those that are our own (IPv6)."""
        is_ours = mapping.internal_port not in self._more and mapping.external_ip != router.client
        if is_ours and scope_of(mapping.external_ip) is AddressScope.PUBLIC:
            internal = Multiaddr.from_endpoint(str(router.client), mapping.internal_port)
            call(internal, Multiaddr.from_endpoint(str(mapping.external_ip), mapping.external_port))
        for told in self.on_changed:
            self._host.faults.run("telling of a mapped port", told)

    def _forget(self, router: Router) -> None:
        for (version, _), mapping in list(self._mapped.items()):
            if version == router.ip.version:
                self._unmap(router, mapping)

    def _listen(self) -> None:
        """Hears routers that begin. Without it their mappings are missed at the next probe."""
        listening = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.setblocking(False)
            listening.bind((ANNOUNCE_GROUP, ANNOUNCE_PORT))
        except OSError:
            listening.close()
            return
        self._announcements = listening
        asyncio.get_running_loop().add_reader(listening, partial(self._on_announcements, listening))

    def _on_announcements(self, listening: socket.socket) -> None:
        for _ in range(MAX_AT_ONCE):
            try:
                _, source = listening.recvfrom(MAX_BYTES)
            except OSError:
                return
            for driver in self._drivers.values():
                if source == (str(driver.router.ip), MAP_PORT):
                    driver.on_announcement()


def _external(mapping: Mapping) -> str:
    host = f"[{mapping.external_ip}]" if mapping.external_ip.version == 6 else str(mapping.external_ip)
    return f"{host}:{mapping.external_port}"


def _trouble(router: Router, status: MapStatus) -> str:
    if status.outside is Outside.CGNAT:
        return f"the router's address {status.external_ip} is shared with others by its provider (CGNAT)"
    if status.outside is Outside.DOUBLE_NAT:
        return f"the router {router.ip}, whose address is {status.external_ip}, is behind another router"
    return ""


def _log(router: Router, status: MapStatus, ports: tuple[int, ...]) -> None:
    shown = ", ".join(map(str, ports))
    if status.outside is Outside.CGNAT:
        logger.warning(
            "the provider shares the address %s of the router %s with other customers (CGNAT), so nobody "
            "outside can connect by IPv4: ask the provider for an address of your own, or for IPv6",
            status.external_ip,
            router.ip,
        )
    elif status.outside is Outside.DOUBLE_NAT:
        logger.warning(
            "the router %s, whose address is %s, is itself behind a router, so nobody outside can connect: "
            "forward TCP port %s there to it, too, or let that one be a bridge",
            router.ip,
            status.external_ip,
            shown,
        )
    elif status.state is MapState.NONE and router.ip.version == 4:
        logger.info(
            "the router %s forwards no ports when asked (%s): forward TCP port %s by hand there, or switch "
            "UPnP on",
            router.ip,
            "it is silent" if status.refusal is None else f"it {status.refusal.value}",
            shown,
        )
