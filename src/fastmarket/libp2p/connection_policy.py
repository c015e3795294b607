"""Which connections to admit, which of two with one peer to keep, and which to close first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from ipaddress import ip_address
from typing import Generic, TypeVar

from fastmarket.config import HostConfig
from fastmarket.formats.address_block import address_block
from fastmarket.formats.identity import PeerId
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.libp2p.muxed import Role

LinkT = TypeVar("LinkT")

_LOOPBACK = 127  # the first byte


class ConnectionRefusal(Enum):
    """Why a new connection is refused."""

    FULL = "too many connections"
    INBOUND_FULL = "too many inbound connections"
    PENDING = "too many handshakes in progress"
    SOURCE_FULL = "too many connections from that address"
    SOURCE_PENDING = "too many handshakes in progress from that address"
    MEMORY = "too little memory"
    SOURCE_RATE = "connections from that address arrive too fast"


class _Source:
    """The inbound connections from one IP address, and how many more may come at once."""

    __slots__ = ("at", "open", "pending", "tokens")

    def __init__(self, tokens: float, now: float) -> None:
        self.open = 0
        self.pending = 0
        self.tokens = tokens
        self.at = now


class Admission:
    """Counts connections, and decides whether one more is admitted. Our dials do not compete with inbound
    connections for the last slots, nor one address with others."""

    def __init__(self, config: HostConfig) -> None:
        self._config = config
        self._total = 0
        self._inbound = 0
        self._pending = 0
        self._sources: OrderedDict[str, _Source] = OrderedDict()  # least recently seen first

    def refuse(self, role: Role, source: str | None, now: float) -> ConnectionRefusal | None:
        """None: admitted and counted; `on_opened` and `on_ended` must follow. `source`: see `source_of`."""
        config = self._config
        if self._total >= config.max_connections:
            return ConnectionRefusal.FULL
        if role is Role.LISTENER:
            if self._inbound >= config.max_inbound_connections:
                return ConnectionRefusal.INBOUND_FULL
            if self._pending >= config.max_pending_inbound:
                return ConnectionRefusal.PENDING
            if source is not None and (refusal := self._refuse_source(source, now)) is not None:
                return refusal
            self._inbound += 1
            self._pending += 1
        self._total += 1
        return None

    def on_opened(self, role: Role, source: str | None) -> None:
        """Its handshake has finished or failed."""
        if role is Role.LISTENER:
            self._pending -= 1
            if source is not None:
                self._sources[source].pending -= 1

    def on_ended(self, role: Role, source: str | None) -> None:
        """It is gone; `on_opened` was called before."""
        self._total -= 1
        if role is Role.LISTENER:
            self._inbound -= 1
            if source is not None:
                self._sources[source].open -= 1

    def _refuse_source(self, name: str, now: float) -> ConnectionRefusal | None:
        config = self._config
        source = self._sources.get(name)
        if source is None:
            self._make_room()
            source = self._sources[name] = _Source(config.inbound_burst_per_ip, now)
        self._sources.move_to_end(name)
        earned = (now - source.at) * config.inbound_rate_per_ip
        source.tokens = min(source.tokens + earned, config.inbound_burst_per_ip)
        source.at = now
        if source.open >= config.max_connections_per_ip:
            return ConnectionRefusal.SOURCE_FULL
        if source.pending >= config.max_pending_per_ip:
            return ConnectionRefusal.SOURCE_PENDING
        if source.tokens < 1:
            return ConnectionRefusal.SOURCE_RATE
        source.tokens -= 1
        source.open += 1
        source.pending += 1
        return None

    def _make_room(self) -> None:
        """At the limit, forgets a source without connections; sources with some are limited by these."""
        if len(self._sources) >= self._config.max_known_ips:
            for name, source in self._sources.items():
                if source.open == 0:
                    del self._sources[name]
                    return


def source_of(remote: Multiaddr | None, config: HostConfig) -> str | None:
    """The key under which connections from there are counted; None for loopback, which is not counted."""
    plain = remote.plain_ip4() if remote is not None else None
    if plain is not None:  # the common case
        local = plain[0] == _LOOPBACK and not config.limit_loopback
        return None if local else ".".join(map(str, plain))
    endpoint = remote.host_port() if remote is not None else None
    if endpoint is None or endpoint.kind not in ("ip4", "ip6"):
        return None
    block = address_block(endpoint.host)
    if not config.limit_loopback and "/" not in block and ip_address(block).is_loopback:
        return None
    return block


def kept_role(local: PeerId, remote: PeerId) -> Role:
    """Our role in the connection to keep if each side has dialed the other: the one dialed by the peer with
    the smaller id. Both sides reach the same result independently."""
    return Role.DIALER if local.raw < remote.raw else Role.LISTENER


# Agents that close a connection themselves after a go-away once their last stream has ended. js-libp2p goes
# on choosing the connection for new streams, and go-libp2p leaves it open.
_ENDS_WHEN_ASKED = ("fastmarket/", "rust-libp2p/")


def ends_when_asked(agent_version: str) -> bool:
    """Whether such a peer closes a connection when asked; with any other, we close it when it is unused."""
    return agent_version.startswith(_ENDS_WHEN_ASKED)


@dataclass(frozen=True, slots=True)
class ConnectionStanding(Generic[LinkT]):
    """One open connection, as input of the choice."""

    link: LinkT
    opened_at: float
    used_at: float
    busy: bool  # a request or stream is in progress, in either direction
    protected: bool


def to_trim(standings: Sequence[ConnectionStanding[LinkT]], config: HostConfig, now: float) -> list[LinkT]:
    """Above the high-water mark, the connections to close to reach the low-water mark, least recently used
    first; fewer if the others are in use, protected or new."""
    if len(standings) <= config.high_connections:
        return []
    idle: Iterable[ConnectionStanding[LinkT]] = (
        s
        for s in standings
        if not s.busy and not s.protected and now - s.opened_at >= config.connection_grace_s
    )
    surplus = len(standings) - config.low_connections
    return [s.link for s in sorted(idle, key=lambda s: s.used_at)[:surplus]]
