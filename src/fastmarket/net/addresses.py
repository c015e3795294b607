"""The addresses of a node, and which peers are told which of them."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from fastmarket.bounded_map import BoundedMap
from fastmarket.errors import CallerFault
from fastmarket.faults import Faults
from fastmarket.formats.identity import PeerId
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.scope import AddressScope, inner_network, ip_of, scope_of
from fastmarket.libp2p.observed import ObservedAddrs, Report
from fastmarket.libp2p.peerstore import worth_keeping
from fastmarket.net.interfaces import interface_addresses

_LOOPBACK = 127  # first byte

# Mappings at routers that are announced: two ports of ours, in both families, at two routers one behind the
# other; more than any home has, and few enough for every list of addresses.
MAX_MAPPED = 8

Interfaces = Callable[[], Iterable[str]]  # the IP addresses of this machine, as text


class OwnAddresses:
    """The addresses we listen on and those that enough peers observed; or, instead, those the operator
    announces.

    `on_changed` callbacks run after `announced` has changed: immediately by `listen_on`, `map` and `unmap`;
    changes by peers or by the system only take effect with `refresh`, so that the caller sets the pace.
    """

    def __init__(
        self,
        peer_id: PeerId,
        announce: Iterable[str] = (),
        interfaces: Interfaces = interface_addresses,
        faults: Faults | None = None,
    ) -> None:
        """Raises CallerFault("announce") for an address that cannot be dialed."""
        self._faults = faults or Faults()
        self.listening: tuple[Multiaddr, ...] = ()
        self.observed = ObservedAddrs()
        self.on_changed: list[Callable[[], None]] = []
        self.peer_id = peer_id
        self._fixed = tuple(dict.fromkeys(_announceable(text, peer_id) for text in announce))
        self._interfaces = interfaces
        self._bound: list[tuple[str, int]] = []
        self._mapped: BoundedMap[tuple[Multiaddr, Multiaddr], None] = BoundedMap(MAX_MAPPED)
        self._confirmed: tuple[Multiaddr, ...] = ()  # by peers, at the latest `refresh`
        self.announced = self._fixed
        self._inner: frozenset[IPv4Network | IPv6Network] = frozenset()  # networks we belong to
        self._public = False
        self._place()

    def listen_on(self, host: str, port: int, now: float) -> list[Multiaddr]:
        """Adds a bound socket; returns the addresses behind it."""
        self._bound.append((host, port))
        self.refresh(now)
        return expand(host, port, self._interfaces)

    def report(self, report: Report, now: float) -> None:
        """Takes what a peer observed; it counts from the next `refresh`."""
        if not self._fixed:
            self.observed.report(report, now)

    def refresh(self, now: float) -> None:
        """Re-reads the interfaces and evaluates what peers reported."""
        found = [addr for host, port in self._bound for addr in expand(host, port, self._interfaces)]
        self.listening = tuple(dict.fromkeys(found))
        self._confirmed = self.observed.confirmed(self.listening, now)
        self._announce()

    def map(self, internal: Multiaddr, external: Multiaddr) -> None:
        """Takes an address at which a router forwards to one we listen on; announced at once. The oldest of
        more than `MAX_MAPPED` is forgotten."""
        self._mapped.put((internal, external), None)
        self._announce()

    def unmap(self, internal: Multiaddr, external: Multiaddr) -> None:
        """The router no longer forwards it; nothing happens if it never did."""
        self._mapped.pop((internal, external))
        self._announce()

    def confirmed_ips(self) -> tuple[IPv4Address | IPv6Address, ...]:
        """The addresses at which enough peers see us, at the latest `refresh`."""
        return tuple(dict.fromkeys(ip for addr in self._confirmed if (ip := ip_of(addr)) is not None))

    def _announce(self) -> None:
        """Determines what is announced from what is known now."""
        mapped = (external for _, external in self._mapped)
        candidates = dict.fromkeys((*self.listening, *mapped, *self._confirmed))
        announced = self._fixed or tuple(sorted(candidates, key=_nearness))
        changed, self.announced = announced != self.announced, announced
        self._place()
        if changed:
            for call in self.on_changed:
                self._faults.run("announcing changed addresses", call)

    def _place(self) -> None:
        """Determines our networks. Loopback counts only if asked for: 0.0.0.0 always includes it."""
        known = dict.fromkeys((*self.announced, *self.listening))
        asked_for = {host for host, _ in self._bound}
        ips = [ip for addr in known if (ip := ip_of(addr)) is not None]
        inner = [inner_network(ip) for ip in ips if not ip.is_loopback or str(ip) in asked_for]
        self._inner = frozenset(network for network in inner if network is not None)
        # A name that the operator announces is public.
        self._public = any(_nearness(addr) == -AddressScope.PUBLIC for addr in self.announced)

    def may_dial(self, host: str) -> bool:
        """Whether an IP address may be dialed on a stranger's word.

        A publicly reachable node is told of addresses in networks it does not belong to, by mistake or to
        make it probe them: in 10/8 the same address may be another machine at its provider. A node without a
        public address is inside a network, and cannot know where that ends.
        """
        if not self._public:
            return True
        network = inner_network(ipaddress.ip_address(host))
        return network is None or network in self._inner

    def told_to(self, remote: Multiaddr | None) -> list[Multiaddr]:
        """Our addresses that may be useful to a peer at `remote`: loopback ones only on this machine."""
        if self._fixed or (remote is not None and is_loopback(remote)):
            return list(self.announced)
        return [addr for addr in self.announced if not is_loopback(addr)]

    def told_to_all(self) -> list[Multiaddr]:
        """Addresses for entries that are passed on to others: loopback ones only if there is nothing else."""
        return self.told_to(None) or list(self.announced)

    def __contains__(self, addr: object) -> bool:
        """Whether `addr` leads to this node itself."""
        return addr in self.listening or addr in self.announced


def expand(host: str, port: int, interfaces: Interfaces = interface_addresses) -> list[Multiaddr]:
    """The addresses behind a bound one: itself, or those of all interfaces for 0.0.0.0 and ::."""
    address = ipaddress.ip_address(host)
    if not address.is_unspecified:
        return [Multiaddr.from_endpoint(host, port)]
    return [
        Multiaddr.from_endpoint(text, port)
        for text in interfaces()
        if ipaddress.ip_address(text).version == address.version
    ]


def is_loopback(addr: Multiaddr) -> bool:
    """True for 127.0.0.0/8 and ::1."""
    plain = addr.plain_ip4()  # the common case; called several times per connection
    if plain is not None:
        return plain[0] == _LOOPBACK
    ip = ip_of(addr)
    return ip is not None and ip.is_loopback


def _nearness(addr: Multiaddr) -> int:
    """Sort key: the most widely reachable first, because others truncate lists at the end."""
    ip = ip_of(addr)
    return -(AddressScope.PUBLIC if ip is None else scope_of(ip))


def _announceable(text: str, peer_id: PeerId) -> Multiaddr:
    try:
        addr = Multiaddr.from_text(text)
    except CallerFault as fault:
        raise CallerFault("announce", fault.reason) from None
    if addr.peer_id not in (None, peer_id):
        raise CallerFault("announce", f"{text}: ends in the id of another peer")
    if not (addr.is_dnsaddr or addr.host_port()) or not worth_keeping(addr.without_peer()):
        raise CallerFault("announce", f"{text}: cannot be dialed")
    return addr.without_peer()
