"""/ipfs/ping/1.0.0 (specs: ping/ping.md): echoes 32-byte blocks until the stream ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from fastmarket.errors import LimitExceeded, PeerFault

if TYPE_CHECKING:
    from fastmarket.libp2p.connection import Connection
    from fastmarket.libp2p.streams import ResponderFactory

PING_PROTOCOL = "/ipfs/ping/1.0.0"
PING_BYTES = 32


class PingResponder:
    """Returns each complete block; an incomplete one is kept."""

    __slots__ = ("_partial", "finished", "quiet")

    def __init__(self, connection: Connection) -> None:
        self._partial = b""
        self.finished = False
        self.quiet = False

    @classmethod
    def factory(
        cls, limit: int, connections: Callable[[Connection], Iterable[Connection]]
    ) -> ResponderFactory:
        """For the table of protocols: at most `limit` concurrent streams per peer, over all its
        `connections(connection)`."""

        def make(connection: Connection) -> PingResponder:
            if sum(each.responding(PING_PROTOCOL) for each in connections(connection)) >= limit:
                raise LimitExceeded("ping streams", limit, protocol=PING_PROTOCOL)
            return cls(connection)

        return make

    def opened(self, now: float) -> bytes:
        return b""

    def received(self, data: bytes, now: float) -> bytes:
        data = self._partial + data
        whole = len(data) - len(data) % PING_BYTES
        self._partial = data[whole:]
        return data[:whole]

    def ended(self, now: float) -> bytes:
        return b""


class PingExchange:
    """One ping of ours on a stream: send `block`, feed the reply, and `rtt_s` is set."""

    __slots__ = ("_left", "_sent_at", "block", "rtt_s")

    def __init__(self, block: bytes, now: float) -> None:
        self.block = block
        self.rtt_s: float | None = None
        self._sent_at = now
        self._left = block

    def feed(self, data: bytes, now: float) -> None:
        """Raises PeerFault if the peer echoes anything else."""
        if not data or not self._left.startswith(data):
            raise PeerFault("the echo differs from the bytes sent", protocol=PING_PROTOCOL)
        self._left = self._left[len(data) :]
        if not self._left:
            self.rtt_s = now - self._sent_at
