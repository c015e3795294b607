"""Our own addresses as seen by peers (specs: identify, observedAddr), trusted once enough of them agree.

Any peer can claim anything, so only one report per address block counts, and several blocks are needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_network

from fastmarket.bounded_map import BoundedMap
from fastmarket.formats.identity import PeerId
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.scope import AddressScope, ip_of, scope_of

CONFIRMATIONS = 4  # peers in different groups that must agree; go-libp2p's ActivationThresh
MAX_CONFIRMED = 3  # trusted per address family, best confirmed first; the same source
VOTE_TTL_S = 1800.0  # lifetime of a report since it was last made; an open connection keeps renewing it
MAX_VOTES = 256  # kept, the latest ones; 64 times what one address needs
MAX_PORTS = 4  # of ours combined with an observed IP address; usually one or two are listened on

# Peers in the same block of public addresses count as one: a /16 is about the most one provider's customer
# can obtain, a /32 is what a provider itself is assigned of IPv6.
_GROUP_BITS = {4: 16, 6: 32}


@dataclass(frozen=True, slots=True)
class Report:
    """The observed address `peer`, at `remote`, reported; `dialed_us`: the peer opened the connection."""

    peer: PeerId
    remote: Multiaddr
    observed: Multiaddr
    dialed_us: bool


@dataclass(frozen=True, slots=True)
class _Vote:
    """`port` None: we opened the connection, so the port the peer saw is an ephemeral one."""

    peer: PeerId
    ip: IPv4Address | IPv6Address
    port: int | None
    until: float


class ObservedAddrs:
    """Collects reports; `confirmed` returns the addresses that follow from them."""

    __slots__ = ("_votes",)

    def __init__(self) -> None:
        self._votes: BoundedMap[tuple[str, int, bool], _Vote] = BoundedMap(MAX_VOTES)

    def __len__(self) -> int:
        return len(self._votes)

    def report(self, report: Report, now: float) -> None:
        """A peer's report replaces the earlier one of its group. Implausible ones are ignored: a peer sees us
        from the same scope as we see it, so a public address reported from a private one is wrong."""
        seen, observer = ip_of(report.observed), ip_of(report.remote)
        endpoint = report.observed.host_port()
        if seen is None or observer is None or endpoint is None:
            return
        if seen.version != observer.version or scope_of(seen) is not scope_of(observer):
            return
        if seen.is_link_local or endpoint.port == 0:
            return
        # A peer that dialed us reports the address it dialed: where we are reachable from outside.
        port = endpoint.port if report.dialed_us else None
        key = (_group(observer, report.peer), seen.version, report.dialed_us)
        self._votes.put(key, _Vote(report.peer, seen, port, now + VOTE_TTL_S))

    def confirmed(self, listening: Sequence[Multiaddr], now: float) -> tuple[Multiaddr, ...]:
        """Addresses besides those listened on that enough peers agree on; best confirmed first."""
        for key in [key for key, vote in self._votes.items() if vote.until <= now]:
            self._votes.pop(key)
        ports = _ports(listening)
        groups: dict[Multiaddr, set[str]] = {}
        peers: dict[Multiaddr, set[PeerId]] = {}
        for (group, _, _), vote in self._votes.items():
            for addr in _candidates(vote, ports):
                groups.setdefault(addr, set()).add(group)
                peers.setdefault(addr, set()).add(vote.peer)
        strength = {addr: min(len(groups[addr]), len(peers[addr])) for addr in groups}
        known = set(listening)
        enough = [addr for addr, count in strength.items() if count >= CONFIRMATIONS and addr not in known]
        ranked = sorted(enough, key=lambda addr: (-strength[addr], addr.raw))
        return tuple(_first_of_each_family(ranked))


_Ports = dict[tuple[int, bool], list[int]]


def _ports(listening: Iterable[Multiaddr]) -> _Ports:
    """Listening ports, by (IP version, on loopback)."""
    ports: _Ports = {}
    for addr in listening:
        ip, endpoint = ip_of(addr), addr.host_port()
        if ip is not None and endpoint is not None:
            of_family = ports.setdefault((ip.version, ip.is_loopback), [])
            if endpoint.port not in of_family and len(of_family) < MAX_PORTS:
                of_family.append(endpoint.port)
    return ports


def _candidates(vote: _Vote, ports: _Ports) -> Iterator[Multiaddr]:
    """Where we might be reachable; a listener only on loopback is not reachable from outside."""
    reachable = ports.get((vote.ip.version, vote.ip.is_loopback), [])
    for port in [vote.port] if vote.port is not None and reachable else reachable:
        yield Multiaddr.from_endpoint(str(vote.ip), port)


def _group(ip: IPv4Address | IPv6Address, peer: PeerId) -> str:
    """The group whose reports count as one. On loopback all peers have the same address, so each is its own
    group; in a private network each address is."""
    scope = scope_of(ip)
    if scope is AddressScope.LOOPBACK:
        return str(peer)
    if scope is AddressScope.PRIVATE:
        return str(ip)
    return str(ip_network((ip, _GROUP_BITS[ip.version]), strict=False))


def _first_of_each_family(addrs: Iterable[Multiaddr]) -> Iterator[Multiaddr]:
    taken: dict[int, int] = {}
    for addr in addrs:
        ip = ip_of(addr)
        assert ip is not None  # it came out of a vote
        taken[ip.version] = taken.get(ip.version, 0) + 1
        if taken[ip.version] <= MAX_CONFIRMED:
            yield addr
