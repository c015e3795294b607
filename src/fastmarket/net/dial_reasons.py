"""Why an address did not lead to a peer, in words for people."""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass
from enum import Enum

from fastmarket.config import HostConfig
from fastmarket.errors import ConnectionLost, DialFailed, FastmarketError, LimitExceeded, PeerFault
from fastmarket.formats.choice import FailureKind
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.libp2p.muxed import AnotherPeer

# Of the protocols that a stranger claims to speak, for a log line.
MAX_TOLD_PROTOCOLS = 4
MAX_PROTOCOL_CHARS = 80
_LISTEN_PORT = HostConfig().listen[0].rpartition("/")[2]


class DialReason(Enum):
    """What went wrong, and what to do about it."""

    NO_ADDRESS = "it has no known address that can be dialed (/ip4|ip6|dns.../tcp/PORT, /dnsaddr)"
    DNS = "its name does not resolve to any address; check its spelling and the resolver"
    REFUSED = "nothing listens on that port; check whether the node is running, and the port"
    UNREACHABLE = "there is no route to it; check the network and firewalls"
    TIMEOUT = "no answer in time; check whether a firewall drops packets, or another program listens there"
    CLOSED = "it closed the connection during the handshake; it may be full, or not a libp2p port"
    NOT_LIBP2P = (
        f"it does not speak libp2p; give the port of --listen ({_LISTEN_PORT} by default), "
        "not that of gRPC or HTTP"
    )
    WRONG_IDENTITY = (
        "another peer answers there; if that node lost its identity.pem, put its new id after "
        "/p2p/, else check host and port"
    )
    SELF = "it is this node itself"
    OTHER_NETWORK = "it is in another network; both need the same --kad-prefix"
    SERVES_NOBODY = "it is a client and serves no requests (--mode client); join through a server"
    OUTSIDE = "it is in a private network that this node is not in"
    RECENTLY_FAILED = "its addresses have just failed"
    NOT_TRIED = "this node is shutting down, or too many dials are queued"
    LOST = "it disconnected before it answered; it may be full or shutting down"
    WRONG_ANSWER = "its answer violates the protocol; the implementations are incompatible"
    BUG = "a bug of ours; see the log"
    SILENT = "it is connected, but does not answer in time; it may hang"

    @property
    def words(self) -> str:
        """For logs and people."""
        return self.value


ABSENT = frozenset({DialReason.REFUSED, DialReason.WRONG_IDENTITY, DialReason.SELF})
"""The peer is known not to be there; for all other reasons it may be."""


@dataclass(frozen=True, slots=True)
class Failure:
    """The failure of one address, or of one peer if no address is to blame."""

    where: str
    reason: DialReason
    detail: str = ""

    def __str__(self) -> str:
        return ": ".join(filter(None, (self.where, self.detail, self.reason.words)))


class NobodyThere(DialFailed):
    """No node answers there, neither the peer nor another."""


_ERRNOS = {
    errno.ECONNREFUSED: DialReason.REFUSED,
    errno.ETIMEDOUT: DialReason.TIMEOUT,
    errno.ECONNRESET: DialReason.CLOSED,
    errno.EPIPE: DialReason.CLOSED,
}
_OF_REQUESTS = {
    FailureKind.TIMEOUT: DialReason.SILENT,
    FailureKind.UNREACHABLE: DialReason.UNREACHABLE,
    FailureKind.GONE: DialReason.REFUSED,
    FailureKind.RESET: DialReason.LOST,
    FailureKind.CLOSED: DialReason.LOST,
    FailureKind.PEER_FAULT: DialReason.WRONG_ANSWER,
    FailureKind.BUSY: DialReason.NOT_TRIED,
    FailureKind.REFUSED: DialReason.SERVES_NOBODY,
}


def of_system(error: OSError) -> DialReason:
    """The reason behind an OSError of a connection or a name resolution."""
    if isinstance(error, socket.gaierror):
        return DialReason.DNS
    return _ERRNOS.get(error.errno or 0, DialReason.UNREACHABLE)


def of_handshake(fault: FastmarketError, ourselves: str) -> DialReason:
    """The reason behind a failed handshake. `ourselves`: our own id."""
    if isinstance(fault, AnotherPeer):
        return DialReason.SELF if fault.found == ourselves else DialReason.WRONG_IDENTITY
    if isinstance(fault, ConnectionLost):
        return DialReason.CLOSED
    if isinstance(fault, LimitExceeded) and "second" in fault.what:
        return DialReason.TIMEOUT
    return DialReason.NOT_LIBP2P if isinstance(fault, PeerFault) else DialReason.CLOSED


def failed(where: Multiaddr | str, reason: DialReason, detail: str = "") -> DialFailed:
    """A fault that carries its reason; `NobodyThere` unless something answered."""
    answered = (DialReason.WRONG_IDENTITY, DialReason.SELF, DialReason.NOT_LIBP2P, DialReason.CLOSED)
    failure = Failure(str(where), reason, detail)
    fault = (DialFailed if reason in answered else NobodyThere)(detail or reason.words)
    fault.failures = (failure,)
    return fault


def of_seed(
    peer: PeerInfo,
    kind: FailureKind,
    dial: tuple[Failure, ...],
    protocols: frozenset[str] | None,
    wanted: str,
) -> tuple[Failure, ...]:
    """Why a bootstrap peer did not answer.

    `dial`: the failures of its last dial; `protocols`: those it announced, None if it is not connected;
    `wanted`: our protocol.
    """
    where = str(peer.addrs[0].with_peer(peer.peer_id)) if peer.addrs else str(peer.peer_id)
    if protocols is not None and wanted not in protocols and kind in (FailureKind.REFUSED, FailureKind.RESET):
        others = sorted(_clean(one) for one in protocols if "/kad/" in one)[:MAX_TOLD_PROTOCOLS]
        if others:
            return (Failure(where, DialReason.OTHER_NETWORK, f"it speaks {', '.join(others)}, we {wanted}"),)
        return (Failure(where, DialReason.SERVES_NOBODY),)
    if protocols is None and dial:
        return tuple(Failure(_whole(one.where, peer), one.reason, one.detail) for one in dial)
    if protocols is None and kind is FailureKind.TIMEOUT:
        return (Failure(where, DialReason.TIMEOUT),)
    return (Failure(where, _OF_REQUESTS[kind]),)


def _clean(protocol: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in protocol[:MAX_PROTOCOL_CHARS])


def _whole(where: str, peer: PeerInfo) -> str:
    """An address as it is written in a list of bootstrap peers."""
    return where if not where.startswith("/") or "/p2p/" in where else f"{where}/p2p/{peer.peer_id}"
