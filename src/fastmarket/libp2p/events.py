"""The events a `Connection` emits to its owner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from fastmarket.errors import FastmarketError
from fastmarket.formats.identity import PeerId


@dataclass(frozen=True, slots=True)
class Opened:
    """Handshake and muxer are done: `peer` has proved its identity, and streams may be opened."""

    peer: PeerId


@dataclass(frozen=True, slots=True)
class StreamOpened:
    """The peer opened a stream in a protocol registered without a responder."""

    stream_id: int
    protocol: str


@dataclass(frozen=True, slots=True)
class StreamReady:
    """The peer accepted `protocol` on a stream of ours."""

    stream_id: int
    protocol: str


@dataclass(frozen=True, slots=True)
class NegotiationFailed:
    """The peer accepted none of the proposed protocols; the stream is gone."""

    stream_id: int


@dataclass(frozen=True, slots=True)
class StreamData:
    """Bytes of an event-delivered stream; grant their window back with `Connection.consumed`."""

    stream_id: int
    data: bytes


@dataclass(frozen=True, slots=True)
class StreamEnded:
    """The peer will write no more; our side still may."""

    stream_id: int


@dataclass(frozen=True, slots=True)
class StreamReset:
    """The stream is gone: reset by the peer (`reason` is "reset by peer"), after a broken rule, or timed
    out."""

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
    """The peer accepts no new streams; the connection ends when the open ones have ended."""


@dataclass(frozen=True, slots=True)
class Closed:
    """The connection and all its streams have ended. `fault` is None for an orderly end."""

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
