"""The server: dials one address of the asker's, from another connection, and says how that went.

Whoever asks decides whom we connect to, so an address on another host than the asker's costs the asker
several times the bytes that dialing it takes, and is dialed a random while later: many servers cannot be made
to connect to one host at one moment.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from fastmarket.call_rate import CallRate
from fastmarket.errors import PeerFault
from fastmarket.formats.identity import PeerId
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.remote_peer import RemotePeer
from fastmarket.formats.scope import ip_of
from fastmarket.formats.varint import FrameDecoder
from fastmarket.libp2p.autonat.messages import (
    MAX_DATA_BYTES,
    MAX_MESSAGE_BYTES,
    MIN_DATA_BYTES,
    MIN_PIECE_BYTES,
    DataPiece,
    DataRequest,
    DialRequest,
    DialResponse,
    DialStatus,
    ResponseStatus,
    data_request_frame,
    decode,
    response_frame,
)

# Requests a minute; beyond, they are rejected. A node of ours asks each of its servers a few times.
PER_PEER_RPM: Final = 12  # go-libp2p's
PER_BLOCK_RPM: Final = 30  # of an IPv4 /16 or IPv6 /32: new peer ids cost nothing
ALL_RPM: Final = 60  # a dial costs 1 to 2 ms of CPU; go-libp2p's
COSTLY_RPM: Final = 12  # those that demand dial data, up to 20 kB/s; go-libp2p's
MAX_KNOWN: Final = 4096  # peers, and blocks, whose rate is remembered; some 200 bytes each
MAX_DIALS: Final = 16  # at once, in all
MAX_DIALS_PER_PEER: Final = 2  # at once; go-libp2p's

ASKING_S: Final = 15.0  # for a request with its dial data to arrive: 100 kB by 60 kbit/s; go-libp2p's
DIAL_S: Final = 5.0  # TCP and handshake: the kernel sends a SYN again after 1 s and 3 s
DIAL_BACK_S: Final = 5.0  # for the nonce to be taken; go-libp2p's
MAX_WAIT_S: Final = 3.0  # before an address on another host is dialed, chosen at random; go-libp2p's

_FAULT: Final = "autonat"


@dataclass(frozen=True, slots=True)
class Dial:
    """What to dial, after `wait_s`: the peer there must be `peer`, and is given `nonce`."""

    peer: PeerId
    addr: Multiaddr
    index: int
    nonce: int
    wait_s: float


class _Stage(Enum):
    REQUEST = "request"  # is waited for
    DATA = "data"  # is waited for
    DIAL = "dial"  # is to be done by the shell
    ENDED = "ended"


@dataclass(slots=True)
class ServerCounts:
    """Since the start."""

    requests: int = 0
    rejected: int = 0
    refused: int = 0
    charged: int = 0  # asked for dial data
    reached: int = 0
    unreached: int = 0


class DialServer:
    """Its limits, and what it is willing to dial."""

    def __init__(self, entropy: Callable[[int], bytes], is_willing: Callable[[Multiaddr], bool]) -> None:
        """`is_willing`: whether an IP address of TCP may be dialed, and can be: public, not ours, of a family
        that this machine has."""
        self.entropy = entropy
        self.is_willing = is_willing
        self.counts = ServerCounts()
        self._peers = CallRate(PER_PEER_RPM / 60, PER_PEER_RPM, MAX_KNOWN)
        self._blocks = CallRate(PER_BLOCK_RPM / 60, PER_BLOCK_RPM, MAX_KNOWN)
        self._all = CallRate(ALL_RPM / 60, ALL_RPM, 1)
        self._costly = CallRate(COSTLY_RPM / 60, COSTLY_RPM, 1)
        self._running: Counter[PeerId] = Counter()

    def open(self, remote: RemotePeer, now: float) -> ServerSession:
        """A stream of that peer. Every session must be closed."""
        self.counts.requests += 1
        return ServerSession(self, remote, self._admits(remote, now))

    def _admits(self, remote: RemotePeer, now: float) -> bool:
        """Whether the request is served. The narrowest limit comes first: what it turns away takes nothing of
        the others'."""
        if self._running[remote.peer_id] >= MAX_DIALS_PER_PEER or self._running.total() >= MAX_DIALS:
            return False
        return not (
            self._peers.take(remote.peer_id, now)
            or (remote.block is not None and self._blocks.take(remote.block, now))
            or self._all.take(None, now)
        )

    def admits_costly(self, now: float) -> bool:
        """Likewise, for one that demands dial data."""
        return not self._costly.take(None, now)

    def enter(self, peer: PeerId) -> None:
        self._running[peer] += 1

    def leave(self, peer: PeerId) -> None:
        self._running[peer] -= 1
        if not self._running[peer]:
            del self._running[peer]


class ServerSession:
    """One stream: bytes in and out, then `dial` for the shell, whose outcome `dialed` takes."""

    __slots__ = ("_admitted", "_chosen", "_decoder", "_due", "_open", "_remote", "_server", "_stage")

    def __init__(self, server: DialServer, remote: RemotePeer, admitted: bool) -> None:
        self._server = server
        self._remote = remote
        self._admitted = admitted
        self._stage = _Stage.REQUEST
        self._decoder = FrameDecoder(MAX_MESSAGE_BYTES)
        self._due = 0  # bytes of dial data that are missing
        self._open = admitted
        self._chosen: Dial | None = None
        if admitted:
            server.enter(remote.peer_id)

    @property
    def is_finished(self) -> bool:
        """Whether nothing more is expected of the peer: close the stream, or dial."""
        return self._stage in (_Stage.DIAL, _Stage.ENDED)

    @property
    def dial(self) -> Dial | None:
        """What to dial now."""
        return self._chosen if self._stage is _Stage.DIAL else None

    def feed(self, data: bytes, now: float) -> bytes:
        """Takes bytes of the stream; returns those to write. Raises PeerFault: reset it."""
        out = b""
        for body in self._decoder.feed(data):
            message = decode(body)
            if self._stage is _Stage.REQUEST and isinstance(message, DialRequest):
                out += self._begin(message, now)
            elif self._stage is _Stage.DATA and isinstance(message, DataPiece):
                self._pay(message.byte_count)
            else:
                raise PeerFault("unexpected message", protocol=_FAULT)
        return out

    def dialed(self, status: DialStatus) -> bytes:
        """The answer to write, after which the stream is closed."""
        dial = self.dial
        assert dial is not None, "nothing was to be dialed"
        counts = self._server.counts
        if status is DialStatus.OK:
            counts.reached += 1
        else:
            counts.unreached += 1
        self._stage = _Stage.ENDED
        return response_frame(DialResponse(ResponseStatus.OK, dial.index, status))

    def close(self) -> None:
        """The stream has ended."""
        self._stage = _Stage.ENDED
        if self._open:
            self._open = False
            self._server.leave(self._remote.peer_id)

    def _begin(self, request: DialRequest, now: float) -> bytes:
        server = self._server
        if not self._admitted:
            server.counts.rejected += 1
            return self._end(ResponseStatus.REJECTED)
        chosen = next(
            ((at, addr) for at, addr in enumerate(request.addrs) if addr is not None and self._dials(addr)),
            None,
        )
        if chosen is None:
            server.counts.refused += 1
            return self._end(ResponseStatus.REFUSED)
        index, addr = chosen
        peer, nonce = self._remote.peer_id, request.nonce
        if self._is_askers(addr):
            self._chosen = Dial(peer, addr.without_peer(), index, nonce, 0.0)
            self._stage = _Stage.DIAL
            return b""
        if not server.admits_costly(now):
            server.counts.rejected += 1
            return self._end(ResponseStatus.REJECTED)
        server.counts.charged += 1
        self._due = MIN_DATA_BYTES + self._chance(MAX_DATA_BYTES - MIN_DATA_BYTES)
        self._stage = _Stage.DATA
        wait_s = MAX_WAIT_S * self._chance(1 << 16) / (1 << 16)
        self._chosen = Dial(peer, addr.without_peer(), index, nonce, wait_s)
        return data_request_frame(DataRequest(index, self._due))

    def _dials(self, addr: Multiaddr) -> bool:
        named = addr.peer_id
        return (named is None or named == self._remote.peer_id) and self._server.is_willing(
            addr.without_peer()
        )

    def _is_askers(self, addr: Multiaddr) -> bool:
        """Whether it is on the host that the request comes from."""
        seen = None if self._remote.addr is None else ip_of(self._remote.addr)
        return seen is not None and ip_of(addr.without_peer()) == seen

    def _pay(self, byte_count: int) -> None:
        self._due -= byte_count
        if self._due <= 0:
            self._stage = _Stage.DIAL
        elif byte_count < MIN_PIECE_BYTES:
            raise PeerFault("sends dial data in crumbs", protocol=_FAULT)

    def _end(self, status: ResponseStatus) -> bytes:
        self._stage = _Stage.ENDED
        return response_frame(DialResponse(status))

    def _chance(self, below: int) -> int:
        return int.from_bytes(self._server.entropy(4), "big") % below
