"""Traffic: messages by protocol and outcome, and their bytes on the wire."""

from __future__ import annotations

from fastmarket.native.sim_net import Carrier

# In addition to its body a message has its length, a Yamux header, and Noise's length and tag: each in a
# frame of its own, which is the maximum (messages written together share the Noise part).
YAMUX_HEADER_BYTES = 12
NOISE_BYTES = 2 + 16
FRAME_BYTES = YAMUX_HEADER_BYTES + NOISE_BYTES
# Bytes of a connection until both ends have identified each other, in both directions, without TCP's own
# packets. Measured between two connections of fastmarket.libp2p with Ed25519 keys and one address each
# (tests/sim/test_wire.py).
CONNECTION_BYTES = 1600


class MessageCounts:
    """Counts of a run; `messages` are requests and replies that were sent, whether or not they arrived."""

    __slots__ = ("_carrier",)

    def __init__(self, carrier: Carrier) -> None:
        self._carrier = carrier

    @property
    def requests(self) -> int:
        """Requests sent."""
        return self._carrier.requests

    @property
    def replies(self) -> int:
        """Replies sent."""
        return self._carrier.replies

    @property
    def connections(self) -> int:
        """Connections dialed."""
        return self._carrier.connections

    @property
    def failures(self) -> dict[str, int]:
        """Requests without a reply, by reason."""
        return {kind.value: count for kind, count in self._carrier.failures.items()}

    @property
    def messages(self) -> int:
        """Requests and replies."""
        return self._carrier.requests + self._carrier.replies

    @property
    def wire(self) -> int:
        """Bytes of messages that arrived, and of new connections."""
        return self._carrier.carried_bytes + self._carrier.connections * CONNECTION_BYTES
