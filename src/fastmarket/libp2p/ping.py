"""/ipfs/ping/1.0.0 (specs: ping/ping.md): echo 32-byte blocks until the stream ends."""

from __future__ import annotations

from collections.abc import Callable

from fastmarket.errors import LimitExceeded, PeerFault
from fastmarket.formats.remote_peer import RemotePeer
from fastmarket.libp2p.streams import ResponderFactory

PING_PROTOCOL = "/ipfs/ping/1.0.0"
PING_BYTES = 32


class PingResponder:
    """Returns each whole block; less than one is kept."""

    __slots__ = ("_partial", "is_finished", "is_quiet")

    def __init__(self, peer: RemotePeer) -> None:
        self._partial = b""
        self.is_finished = False
        self.is_quiet = False

    @classmethod
    def factory(cls, limit: int, open_streams: Callable[[RemotePeer], int]) -> ResponderFactory:
        """For the table of protocols: at most `limit` streams at once of one peer, `open_streams(peer)` of
        which are open over all its connections."""

        def make(peer: RemotePeer) -> PingResponder:
            if open_streams(peer) >= limit:
                raise LimitExceeded("ping streams", limit, protocol=PING_PROTOCOL)
            return cls(peer)

        return make

    def on_open(self, now: float) -> bytes:
        return b""

    def on_data(self, data: bytes, now: float) -> bytes:
        data = self._partial + data
        whole = len(data) - len(data) % PING_BYTES
        self._partial = data[whole:]
        return data[:whole]

    def on_end(self, now: float) -> bytes:
        return b""


class PingExchange:
    """One ping of ours on a stream: send `block`, feed what comes, and `rtt_s` is known."""

    __slots__ = ("_left", "_sent_at", "block", "rtt_s")

    def __init__(self, block: bytes, now: float) -> None:
        self.block = block
        self.rtt_s: float | None = None
        self._sent_at = now
        self._left = block

    def feed(self, data: bytes, now: float) -> None:
        """PeerFault when the peer echoes anything else."""
        if not data or not self._left.startswith(data):
            raise PeerFault("not the bytes sent", protocol=PING_PROTOCOL)
        self._left = self._left[len(data) :]
        if not self._left:
            self.rtt_s = now - self._sent_at
