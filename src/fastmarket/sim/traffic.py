"""What travels: messages by protocol and outcome, and the bytes they take on the wire."""

from __future__ import annotations

from fastmarket.native.sim_net import Carrier

# Beside its body a message has its length, a Yamux header, and Noise's length and tag: a frame of its own
# each, which is the most it can be (several written at once share the Noise part).
YAMUX_HEADER_BYTES = 12
NOISE_BYTES = 2 + 16
FRAME_BYTES = YAMUX_HEADER_BYTES + NOISE_BYTES
# A connection from its first byte until both have identified each other, both ways together, without TCP's
# own packets. Measured between two connections of fastmarket.libp2p with Ed25519 keys and one address each
# (tests/sim/test_wire.py).
CONNECTION_BYTES = 1600


class MessageCounts:
    """Counted over a run; `messages` are requests and replies that were sent, arrived or not."""

    __slots__ = ("_carrier",)

    def __init__(self, carrier: Carrier) -> None:
        self._carrier = carrier

    @property
    def requests(self) -> int:
        """Sent."""
        return self._carrier.requests

    @property
    def replies(self) -> int:
        """Sent."""
        return self._carrier.replies

    @property
    def connections(self) -> int:
        """Dialled."""
        return self._carrier.connections

    @property
    def failures(self) -> dict[str, int]:
        """Requests without a reply, by why."""
        return {kind.value: count for kind, count in self._carrier.failures.items()}

    @property
    def messages(self) -> int:
        """Requests and replies."""
        return self._carrier.requests + self._carrier.replies

    @property
    def wire(self) -> int:
        """Bytes of messages that arrived and of new connections."""
        return self._carrier.carried_bytes + self._carrier.connections * CONNECTION_BYTES
