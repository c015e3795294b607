"""What travels: messages by protocol and outcome, and the bytes they take on the wire."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

# Beside its body a message has its length, a Yamux header, and Noise's length and tag: a frame of its own
# each, which is the most it can be (several written at once share the Noise part).
YAMUX_HEADER_BYTES = 12
NOISE_BYTES = 2 + 16
# A connection from its first byte until both have identified each other, both ways together, without TCP's
# own packets. Measured between two connections of fastmarket.libp2p with Ed25519 keys and one address each
# (tests/sim/test_wire.py).
CONNECTION_BYTES = 1600


def wire_bytes(body: bytes) -> int:
    """A request or reply as it travels on a stream that is open already."""
    size = len(body)
    length = 1 if size < 1 << 7 else 2 if size < 1 << 14 else 3
    return length + size + YAMUX_HEADER_BYTES + NOISE_BYTES


@dataclass(slots=True)
class Traffic:
    """Counted over a run; `messages` are requests and replies that were sent, arrived or not."""

    requests: int = 0
    replies: int = 0
    connections: int = 0
    bytes: int = 0
    failures: Counter[str] = field(default_factory=Counter)

    @property
    def messages(self) -> int:
        """Requests and replies."""
        return self.requests + self.replies

    @property
    def wire(self) -> int:
        """Bytes of messages and of new connections."""
        return self.bytes + self.connections * CONNECTION_BYTES
