"""The client: asks a server to dial our addresses, and takes only its word that it can show us the nonce for.

A server that dialed proves it by the nonce, which comes on a connection of its own. That it could not connect
is its bare word: `reachability` asks several of different address blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from fastmarket.bounded_map import BoundedMap
from fastmarket.errors import PeerFault
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.remote_peer import RemotePeer
from fastmarket.formats.scope import ip_of
from fastmarket.formats.varint import FrameDecoder
from fastmarket.libp2p.autonat.messages import (
    MAX_DATA_BYTES,
    MAX_DIAL_BACK_BYTES,
    MAX_MESSAGE_BYTES,
    MAX_PIECE_BYTES,
    DataRequest,
    DialResponse,
    DialStatus,
    ResponseStatus,
    data_frame,
    decode,
    decode_dial_back,
    dial_back_answer_frame,
    request_frame,
)
from fastmarket.libp2p.streams import ResponderFactory

ANSWER_S: Final = 30.0  # for a whole request: 15 s of dial data, 3 s of waiting, 10 s of dialing (go-libp2p)
NONCE_S: Final = 5.0  # for the nonce to come after an answer that it was sent; go-libp2p's
NONCE_BYTES: Final = 8
MAX_PENDING: Final = 64  # requests of ours at once

_FAULT: Final = "autonat"


class DialOutcome(Enum):
    """What an answer says of an address."""

    REACHED = "reached"  # with the nonce as proof
    NOT_REACHED = "not reached"
    REFUSED = "refused"  # the server dials no such address
    NOTHING = "nothing"  # no answer, too many requests, or not proven


@dataclass(frozen=True, slots=True)
class Verdict:
    """`addr` is None where nothing is said."""

    outcome: DialOutcome
    addr: Multiaddr | None = None


class DialAsk:
    """One request of ours on its stream."""

    __slots__ = ("_addrs", "_decoder", "_has_paid", "_response", "families", "nonce")

    def __init__(self, addrs: Sequence[Multiaddr], nonce: int) -> None:
        """`addrs`: the most wanted first."""
        self._addrs = tuple(addrs)
        self.nonce = nonce
        self.families: set[int] = set()
        """IP versions of the connections on which the nonce came."""
        self._decoder = FrameDecoder(MAX_MESSAGE_BYTES)
        self._has_paid = False
        self._response: DialResponse | None = None

    def request(self) -> bytes:
        return request_frame(self._addrs, self.nonce)

    @property
    def is_answered(self) -> bool:
        """Whether the server has answered; the nonce may still be missing (`is_proven`)."""
        return self._response is not None

    @property
    def is_proven(self) -> bool:
        """Whether nothing more can change the verdict."""
        response = self._response
        if response is None or response.status is not ResponseStatus.OK:
            return response is not None
        claimed = response.dial_status in (DialStatus.OK, DialStatus.NO_DIAL_BACK)
        return not claimed or _version(self._addrs[response.index]) in self.families

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Takes bytes of the stream; yields those to write. Raises PeerFault."""
        for body in self._decoder.feed(data):
            message = decode(body)
            if self._response is not None:
                raise PeerFault("answers twice", protocol=_FAULT)
            if isinstance(message, DialResponse):
                self._take(message)
            elif isinstance(message, DataRequest) and not self._has_paid:
                self._check_index(message.index)
                if message.byte_count > MAX_DATA_BYTES:
                    raise PeerFault("demands too much dial data", protocol=_FAULT)
                self._has_paid = True
                yield from _pieces(message.byte_count)
            else:
                raise PeerFault("unexpected message", protocol=_FAULT)

    def verdict(self) -> Verdict:
        """What it says in the end. A connection without a nonce says nothing: whoever is there may be
        somebody else."""
        response = self._response
        if response is not None and response.status is ResponseStatus.REFUSED:
            return Verdict(DialOutcome.REFUSED)
        if response is None or response.status is not ResponseStatus.OK or not self.is_proven:
            return Verdict(DialOutcome.NOTHING)
        addr = self._addrs[response.index]
        if response.dial_status is DialStatus.NO_CONNECTION:
            return Verdict(DialOutcome.NOT_REACHED, addr)
        return Verdict(DialOutcome.REACHED, addr)

    def _take(self, response: DialResponse) -> None:
        if response.status is ResponseStatus.OK:
            self._check_index(response.index)
            if response.dial_status is DialStatus.UNUSED:
                raise PeerFault("dialed without an outcome", protocol=_FAULT)
        self._response = response

    def _check_index(self, index: int) -> None:
        if index >= len(self._addrs):
            raise PeerFault("names an address that was not asked about", protocol=_FAULT)


class PendingAsks:
    """The requests that wait for their nonce, and the protocol on which it comes."""

    __slots__ = ("_by_nonce", "on_nonce")

    def __init__(self, on_nonce: Callable[[DialAsk], None]) -> None:
        """`on_nonce` is called when one has come."""
        self._by_nonce: BoundedMap[int, DialAsk] = BoundedMap(MAX_PENDING)
        self.on_nonce = on_nonce

    def __len__(self) -> int:
        return len(self._by_nonce)

    def add(self, ask: DialAsk) -> None:
        self._by_nonce.put(ask.nonce, ask)

    def drop(self, ask: DialAsk) -> None:
        self._by_nonce.pop(ask.nonce)

    def responders(self) -> ResponderFactory:
        """For the table of protocols."""
        return lambda peer: DialBackResponder(peer, self)

    def take(self, nonce: int, remote: RemotePeer) -> None:
        """A nonce has come. Raises PeerFault: none that we wait for. Who brings it does not matter, since
        nobody else knows it (a server may dial with another key)."""
        ask = self._by_nonce.peek(nonce)
        if ask is None:
            raise PeerFault("unknown nonce", protocol=_FAULT)
        if remote.addr is not None:
            ask.families.add(_version(remote.addr))
        self.on_nonce(ask)


class DialBackResponder:
    """Takes one nonce, answers, and closes."""

    __slots__ = ("_asks", "_decoder", "_peer", "is_finished", "is_quiet")

    def __init__(self, peer: RemotePeer, asks: PendingAsks) -> None:
        self._peer = peer
        self._asks = asks
        self._decoder = FrameDecoder(MAX_DIAL_BACK_BYTES)
        self.is_finished = False
        self.is_quiet = False

    def on_open(self, now: float) -> bytes:
        return b""

    def on_data(self, data: bytes, now: float) -> bytes:
        answer = b""
        for body in self._decoder.feed(data):
            if self.is_finished:
                raise PeerFault("dials back twice on one stream", protocol=_FAULT)
            self._asks.take(decode_dial_back(body), self._peer)
            self.is_finished = True
            answer = dial_back_answer_frame()
        return answer

    def on_end(self, now: float) -> bytes:
        return b""


def _version(addr: Multiaddr) -> int:
    ip = ip_of(addr)
    return 0 if ip is None else ip.version


def _pieces(byte_count: int) -> Iterator[bytes]:
    """That much dial data."""
    whole, rest = divmod(byte_count, MAX_PIECE_BYTES)
    piece = data_frame(MAX_PIECE_BYTES)
    for _ in range(whole):
        yield piece
    if rest:
        yield data_frame(rest)
