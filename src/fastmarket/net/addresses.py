"""Where a node can be reached, and which of it is told to whom."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from ipaddress import IPv4Network, IPv6Network

from fastmarket.errors import CallerFault
from fastmarket.faults import Faults
from fastmarket.formats.identity import PeerId
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.scope import AddressScope, inner_network, ip_of, scope_of
from fastmarket.libp2p.observed import ObservedAddrs, Report
from fastmarket.libp2p.peerstore import worth_keeping
from fastmarket.net.interfaces import interface_addresses

_LOOPBACK = 127  # the first byte

Interfaces = Callable[[], Iterable[str]]  # the IP addresses of this machine, as text


class OwnAddresses:
    """What we listen on, what enough peers observed beyond it, or, instead of both, what the operator says.

    `changed` are called after `announced` has become another; by `listen_on` at once, by everything that
    others or the system can change only by `refresh`, so that the time between two of those is the caller's.
    """

    def __init__(
        self,
        peer_id: PeerId,
        announce: Iterable[str] = (),
        interfaces: Interfaces = interface_addresses,
        faults: Faults | None = None,
    ) -> None:
        """CallerFault("announce") for an address nobody could dial."""
        self._faults = faults or Faults()
        self.listening: tuple[Multiaddr, ...] = ()
        self.observed = ObservedAddrs()
        self.changed: list[Callable[[], None]] = []
        self.peer_id = peer_id
        self._fixed = tuple(dict.fromkeys(_announceable(text, peer_id) for text in announce))
        self._interfaces = interfaces
        self._bound: list[tuple[str, int]] = []
        self.announced = self._fixed
        self._inner: frozenset[IPv4Network | IPv6Network] = frozenset()  # networks we are in
        self._public = False
        self._place()

    def listen_on(self, host: str, port: int, now: float) -> list[Multiaddr]:
        """We are bound there; the addresses behind it."""
        self._bound.append((host, port))
        self.refresh(now)
        return expand(host, port, self._interfaces)

    def report(self, report: Report, now: float) -> None:
        """A peer told what it sees; it counts from the next `refresh`."""
        if not self._fixed:
            self.observed.report(report, now)

    def refresh(self, now: float) -> None:
        """Looks again at the interfaces and at what peers reported."""
        found = [addr for host, port in self._bound for addr in expand(host, port, self._interfaces)]
        self.listening = tuple(dict.fromkeys(found))
        beyond = self.observed.confirmed(self.listening, now)
        announced = self._fixed or tuple(sorted((*self.listening, *beyond), key=_nearness))
        changed, self.announced = announced != self.announced, announced
        self._place()
        if changed:
            for call in self.changed:
                self._faults.run("telling of changed addresses", call)

    def _place(self) -> None:
        """Where we are ourselves. Loopback counts where it was asked for: 0.0.0.0 has it anyway."""
        known = dict.fromkeys((*self.announced, *self.listening))
        asked_for = {host for host, _ in self._bound}
        ips = [ip for addr in known if (ip := ip_of(addr)) is not None]
        inner = [inner_network(ip) for ip in ips if not ip.is_loopback or str(ip) in asked_for]
        self._inner = frozenset(network for network in inner if network is not None)
        # A name that the operator announces is for everybody.
        self._public = any(_nearness(addr) == -AddressScope.PUBLIC for addr in self.announced)

    def may_dial(self, host: str) -> bool:
        """Whether a stranger's word is enough to dial that IP address.

        A node that everybody can reach is told of addresses in networks that it is not in, by mistake or to
        make it knock there: in 10/8 whoever has that address at its provider is somebody else. A node without
        a public address is inside itself, and cannot know where its network ends.
        """
        if not self._public:
            return True
        network = inner_network(ipaddress.ip_address(host))
        return network is None or network in self._inner

    def told_to(self, remote: Multiaddr | None) -> list[Multiaddr]:
        """Of our addresses those that may help a peer at `remote`: loopback ones only on this machine."""
        if self._fixed or (remote is not None and is_loopback(remote)):
            return list(self.announced)
        return [addr for addr in self.announced if not is_loopback(addr)]

    def told_to_all(self) -> list[Multiaddr]:
        """For those who will pass them on to anybody: loopback ones only if there is nothing else."""
        return self.told_to(None) or list(self.announced)

    def __contains__(self, addr: object) -> bool:
        """Whether dialing `addr` would lead to ourselves."""
        return addr in self.listening or addr in self.announced


def expand(host: str, port: int, interfaces: Interfaces = interface_addresses) -> list[Multiaddr]:
    """The addresses behind a bound one: itself, or for 0.0.0.0 and :: those of all interfaces."""
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
    plain = addr.plain_ip4()  # the common case, asked several times for each connection
    if plain is not None:
        return plain[0] == _LOOPBACK
    ip = ip_of(addr)
    return ip is not None and ip.is_loopback


def _nearness(addr: Multiaddr) -> int:
    """What can be reached from farthest away first: lists that others cut off are cut at their end."""
    ip = ip_of(addr)
    return -(AddressScope.PUBLIC if ip is None else scope_of(ip))


def _announceable(text: str, peer_id: PeerId) -> Multiaddr:
    try:
        addr = Multiaddr.from_text(text)
    except CallerFault as fault:
        raise CallerFault("announce", fault.reason) from None
    if addr.peer_id not in (None, peer_id):
        raise CallerFault("announce", f"{text}: ends in another peer's id")
    if not (addr.is_dnsaddr or addr.host_port()) or not worth_keeping(addr.without_peer()):
        raise CallerFault("announce", f"{text}: nobody could dial that")
    return addr.without_peer()
