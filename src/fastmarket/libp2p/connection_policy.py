"""Which connections there is room for, which of two with one peer is kept, and which are closed first."""

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
    """Why a new connection is not taken."""

    FULL = "too many connections"
    INBOUND_FULL = "too many inbound connections"
    PENDING = "too many handshakes under way"
    SOURCE_FULL = "too many connections from that address"
    SOURCE_PENDING = "too many handshakes under way from that address"
    SOURCE_RATE = "connections from that address come too fast"


class _Source:
    """The inbound connections from one IP address, and how many more may come at once."""

    __slots__ = ("at", "open", "pending", "tokens")

    def __init__(self, tokens: float, now: float) -> None:
        self.open = 0
        self.pending = 0
        self.tokens = tokens
        self.at = now


class Admission:
    """Counts connections, and says whether one more may come. Ours do not compete with inbound ones for the
    last places, nor one address with the others."""

    def __init__(self, config: HostConfig) -> None:
        self._config = config
        self._total = 0
        self._inbound = 0
        self._pending = 0
        self._sources: OrderedDict[str, _Source] = OrderedDict()  # least recently seen first

    def refuse(self, role: Role, source: str | None, now: float) -> ConnectionRefusal | None:
        """None: it was counted in; `on_opened` and `on_ended` are to follow. `source`: see `source_of`."""
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
        """Its handshake is done, or over without success."""
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
        """Forgets a source without connections at the bound; those with some are bounded with these."""
        if len(self._sources) >= self._config.max_known_ips:
            for name, source in self._sources.items():
                if source.open == 0:
                    del self._sources[name]
                    return


def source_of(remote: Multiaddr | None, config: HostConfig) -> str | None:
    """What connections from there are counted under; None: they are not, because it is this machine."""
    plain = remote.plain_ip4() if remote is not None else None
    if plain is not None:  # nearly always
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
    """Our role in the connection to keep when each side has dialed the other: the one that the smaller peer
    id dialed. Both sides come to the same answer by themselves."""
    return Role.DIALER if local.raw < remote.raw else Role.LISTENER


# Agents that end a connection themselves when go-away has come and their last stream is over. js-libp2p goes
# on choosing the connection for new streams, and go-libp2p leaves it as it is.
_ENDS_WHEN_ASKED = ("fastmarket/", "rust-libp2p/")


def ends_when_asked(agent_version: str) -> bool:
    """Whether a connection with such a peer is left by asking; any other is closed when not in use."""
    return agent_version.startswith(_ENDS_WHEN_ASKED)


@dataclass(frozen=True, slots=True)
class ConnectionStanding(Generic[LinkT]):
    """One open connection as the choice sees it."""

    link: LinkT
    opened_at: float
    used_at: float
    busy: bool  # a request or stream is under way, in either direction
    protected: bool


def to_trim(standings: Sequence[ConnectionStanding[LinkT]], config: HostConfig, now: float) -> list[LinkT]:
    """Past the high mark the connections to close so that the low mark is reached, the longest unused first;
    fewer when the others are in use, protected or new."""
    if len(standings) <= config.high_connections:
        return []
    idle: Iterable[ConnectionStanding[LinkT]] = (
        s
        for s in standings
        if not s.busy and not s.protected and now - s.opened_at >= config.connection_grace_s
    )
    surplus = len(standings) - config.low_connections
    return [s.link for s in sorted(idle, key=lambda s: s.used_at)[:surplus]]
