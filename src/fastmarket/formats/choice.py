"""A request of a protocol object to the network, in one or more protocols, and the ways it can fail."""

from __future__ import annotations

from enum import Enum


class Choice:
    """One form of a request: `payload` is the unframed message body for `protocol`."""

    __slots__ = ("expects_reply", "payload", "protocol")

    def __init__(self, protocol: str, payload: bytes, expects_reply: bool = True) -> None:
        self.protocol = protocol
        self.payload = payload
        self.expects_reply = expects_reply


class FailureKind(Enum):
    """Why a request brought no reply."""

    TIMEOUT = "timeout"  # the deadline passed; the peer may be slow or gone
    UNREACHABLE = "unreachable"  # no address led to the peer
    GONE = "nobody is there"  # all its addresses refuse, or belong to another peer by now
    REFUSED = "refused"  # connected, but the peer supports none of the protocols
    RESET = "reset"  # the stream was reset before the reply
    PEER_FAULT = "peer fault"  # the reply broke a rule
    CLOSED = "closed"  # the connection ended first
    BUSY = "busy"  # our own limits left no room for the request
