"""Why an address did not lead to a peer, in words for whoever wrote it down."""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass
from enum import Enum

from fastmarket.errors import ConnectionLost, DialFailed, FastmarketError, LimitExceeded, PeerFault
from fastmarket.formats.choice import FailureKind
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.libp2p.muxed import AnotherPeer

# Of what a stranger says it speaks, which goes into a line of the log.
MAX_TOLD_PROTOCOLS = 4
MAX_PROTOCOL_CHARS = 80


class DialReason(Enum):
    """What went wrong, and what to do about it."""

    NO_ADDRESS = "no address of it is known that can be dialed (/ip4|ip6|dns.../tcp/PORT, /dnsaddr)"
    DNS = "DNS does not know that name, or nothing behind it; look at its spelling and the resolver"
    REFUSED = "nobody listens at that port; look whether the node runs, and at the port"
    UNREACHABLE = "no way leads there; look at the network, and the firewall"
    TIMEOUT = "no answer in time; look whether a firewall drops what we send, or something else listens there"
    CLOSED = "it ended the connection before it said who it is; it may be full, or not be a libp2p port"
    NOT_LIBP2P = (
        "what answers there does not speak libp2p; name the port of --listen (16899 by default), not that of "
        "gRPC or HTTP"
    )
    WRONG_IDENTITY = (
        "another peer is there; if that node lost its identity.pem, write its new id behind /p2p/, else look "
        "at host and port"
    )
    SELF = "that is this node itself"
    OTHER_NETWORK = "it is in another network; both need the same --kad-prefix"
    SERVES_NOBODY = "it is there, but serves nobody (--mode client); join by a server"
    OUTSIDE = "it is in a private network that this node is not in"
    FAILED_LATELY = "its addresses failed a moment ago"
    NOT_TRIED = "this node is stopping, or too many dials wait already"
    LOST = "it broke off before it answered; it may be full or be stopping"
    WRONG_ANSWER = "its answer breaks the protocol; the programs do not understand each other"
    BUG = "a bug of ours; the log tells"
    SILENT = "it is connected, but does not answer in time; it may hang"

    @property
    def words(self) -> str:
        """For logs and people."""
        return self.value


ABSENT = frozenset({DialReason.REFUSED, DialReason.WRONG_IDENTITY, DialReason.SELF})
"""The peer is known not to be there: for all others it may be."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One address, or one peer where no address is to blame."""

    where: str
    reason: DialReason
    detail: str = ""

    def __str__(self) -> str:
        return ": ".join(filter(None, (self.where, self.detail, self.reason.words)))


class NobodyThere(DialFailed):
    """Neither the peer nor another."""


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
    """What the system says of a connection, or the resolver of a name."""
    if isinstance(error, socket.gaierror):
        return DialReason.DNS
    return _ERRNOS.get(error.errno or 0, DialReason.UNREACHABLE)


def of_handshake(fault: FastmarketError, ourselves: str) -> DialReason:
    """How somebody who was connected turned out not to be the peer. `ourselves`: our own id."""
    if isinstance(fault, AnotherPeer):
        return DialReason.SELF if fault.found == ourselves else DialReason.WRONG_IDENTITY
    if isinstance(fault, ConnectionLost):
        return DialReason.CLOSED
    if isinstance(fault, LimitExceeded) and "second" in fault.what:
        return DialReason.TIMEOUT
    return DialReason.NOT_LIBP2P if isinstance(fault, PeerFault) else DialReason.CLOSED


def failed(where: Multiaddr | str, reason: DialReason, detail: str = "") -> DialFailed:
    """A fault that carries its reason; nobody is there but for those that answered."""
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

    `dial`: how the last dial of it failed; `protocols`: what it says it speaks, None where it is not
    connected; `wanted`: our protocol.
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
    """An address as it stands in a list of bootstrap peers."""
    return where if not where.startswith("/") or "/p2p/" in where else f"{where}/p2p/{peer.peer_id}"
