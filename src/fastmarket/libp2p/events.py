"""What a `Connection` tells its owner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from fastmarket.errors import FastmarketError
from fastmarket.formats.identity import PeerId


@dataclass(frozen=True, slots=True)
class Opened:
    """Handshake and muxer are done: `peer` proved its identity, streams may be opened."""

    peer: PeerId


@dataclass(frozen=True, slots=True)
class StreamOpened:
    """The peer opened a stream in a protocol that is registered without a responder."""

    stream_id: int
    protocol: str


@dataclass(frozen=True, slots=True)
class StreamReady:
    """The peer accepted `protocol` on a stream of ours."""

    stream_id: int
    protocol: str


@dataclass(frozen=True, slots=True)
class NegotiationFailed:
    """The peer accepted none of the protocols proposed; the stream is gone."""

    stream_id: int


@dataclass(frozen=True, slots=True)
class StreamData:
    """Bytes of an event-delivered stream; give their window back by `Connection.consumed`."""

    stream_id: int
    data: bytes


@dataclass(frozen=True, slots=True)
class StreamEnded:
    """The peer will write no more; our side may still write."""

    stream_id: int


@dataclass(frozen=True, slots=True)
class StreamReset:
    """The stream is gone, by the peer (`reason` says "reset by peer"), a broken rule or a time limit."""

    stream_id: int
    reason: str


@dataclass(frozen=True, slots=True)
class ResponderFailed:
    """A responder of ours raised something other than a PeerFault: a bug. Its stream was reset."""

    stream_id: int
    protocol: str
    error: Exception


@dataclass(frozen=True, slots=True)
class PingAnswered:
    """The round trip of a ping, in seconds."""

    rtt_s: float


@dataclass(frozen=True, slots=True)
class PeerLeaving:
    """The peer takes no new streams; the connection ends when those that are open do."""


@dataclass(frozen=True, slots=True)
class Closed:
    """The connection is over, and every stream with it. `fault` is None for an orderly end."""

    reason: str
    fault: FastmarketError | None = None


Event: TypeAlias = (
    Opened
    | StreamOpened
    | StreamReady
    | NegotiationFailed
    | StreamData
    | StreamEnded
    | StreamReset
    | ResponderFailed
    | PingAnswered
    | PeerLeaving
    | Closed
)
