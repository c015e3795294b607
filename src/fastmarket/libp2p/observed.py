"""Our own addresses as peers see them (specs: identify, observedAddr), believed once enough of them agree.

Any peer can claim anything, so one word per neighbourhood of the Internet counts, and several are needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_network

from fastmarket.bounded_map import BoundedMap
from fastmarket.formats.identity import PeerId
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.scope import AddressScope, ip_of, scope_of

CONFIRMATIONS = 4  # different peers in different groups that must agree; go-libp2p's ActivationThresh
MAX_CONFIRMED = 3  # believed at once in each family, best confirmed first; the same source
VOTE_TTL_S = 1800.0  # a word counts this long after it was last said; an open connection keeps saying it
MAX_VOTES = 256  # kept, latest said; 64 times what one address takes
MAX_PORTS = 4  # of ours that an address seen from outside is combined with; one or two are listened on

# Who shares this much of a public address is one voice: a /16 is about what one provider's customer can
# get hold of in quantity, a /32 is what a provider itself gets of IPv6.
_GROUP_BITS = {4: 16, 6: 32}


@dataclass(frozen=True, slots=True)
class Report:
    """What `peer`, at `remote`, says that we look like; `dialed_us` tells who opened the connection."""

    peer: PeerId
    remote: Multiaddr
    observed: Multiaddr
    dialed_us: bool


@dataclass(frozen=True, slots=True)
class _Vote:
    """`port` None: the connection was ours, so that what the peer saw of the port is an ephemeral one."""

    peer: PeerId
    ip: IPv4Address | IPv6Address
    port: int | None
    until: float


class ObservedAddrs:
    """Gathers reports; `confirmed` are the addresses they amount to."""

    __slots__ = ("_votes",)

    def __init__(self) -> None:
        self._votes: BoundedMap[tuple[str, int, bool], _Vote] = BoundedMap(MAX_VOTES)

    def __len__(self) -> int:
        return len(self._votes)

    def report(self, report: Report, now: float) -> None:
        """A peer's word replaces the earlier one of its group. Implausible ones are left out: a peer sees us
        by the same kind of network as we see it, so a public address told from a private one is none."""
        seen, observer = ip_of(report.observed), ip_of(report.remote)
        endpoint = report.observed.host_port()
        if seen is None or observer is None or endpoint is None:
            return
        if seen.version != observer.version or scope_of(seen) is not scope_of(observer):
            return
        if seen.is_link_local or endpoint.port == 0:
            return
        # The peer that dialed us tells the address it dialed: where we are reached from outside.
        port = endpoint.port if report.dialed_us else None
        key = (_group(observer, report.peer), seen.version, report.dialed_us)
        self._votes.put(key, _Vote(report.peer, seen, port, now + VOTE_TTL_S))

    def confirmed(self, listening: Sequence[Multiaddr], now: float) -> tuple[Multiaddr, ...]:
        """Addresses beyond those listened on that enough peers agree on; best confirmed first."""
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
    """Ports listened on, by (IP version, on loopback)."""
    ports: _Ports = {}
    for addr in listening:
        ip, endpoint = ip_of(addr), addr.host_port()
        if ip is not None and endpoint is not None:
            of_family = ports.setdefault((ip.version, ip.is_loopback), [])
            if endpoint.port not in of_family and len(of_family) < MAX_PORTS:
                of_family.append(endpoint.port)
    return ports


def _candidates(vote: _Vote, ports: _Ports) -> Iterator[Multiaddr]:
    """What we might be reached at; a listener on loopback only is not reached from outside."""
    reachable = ports.get((vote.ip.version, vote.ip.is_loopback), [])
    for port in [vote.port] if vote.port is not None and reachable else reachable:
        yield Multiaddr.from_endpoint(str(vote.ip), port)


def _group(ip: IPv4Address | IPv6Address, peer: PeerId) -> str:
    """Whose words count as one. On this machine every peer has the same address, so there each is its own;
    in a private network each address is."""
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
