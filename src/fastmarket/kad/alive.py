"""Which peers are known to be alive, so that a lookup need not ask them only to see that.

A connection alone proves little: a process that hangs keeps its own. So a peer counts while its connection is
open and it has answered something within `alive_s`; the first request that fails or is late ends it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from fastmarket.config import KadConfig
from fastmarket.formats.choice import Choice
from fastmarket.formats.identity import PeerId

_NEVER = float("-inf")


class _Connected:
    """A peer with an open connection: what it speaks, and when it last answered."""

    __slots__ = ("answered_at", "protocols")

    def __init__(self, protocols: Collection[str], now: float) -> None:
        self.protocols = protocols
        self.answered_at = now


class Alive:
    """Of every identified peer with a connection; the host bounds how many these are."""

    __slots__ = ("_alive_s", "_connected")

    def __init__(self, config: KadConfig) -> None:
        self._alive_s = config.alive_s
        self._connected: dict[bytes, _Connected] = {}  # by the raw bytes of the id

    def identified(self, peer_id: PeerId, protocols: Collection[str], now: float) -> None:
        """It said who it is, and what it speaks. The first time that is an answer; unasked it is not."""
        known = self._connected.get(peer_id.raw)
        if known is None:
            self._connected[peer_id.raw] = _Connected(protocols, now)
        else:
            known.protocols = protocols

    def disconnected(self, peer_id: PeerId) -> None:
        """The last connection ended."""
        self._connected.pop(peer_id.raw, None)

    def answered(self, peer_id: PeerId, now: float) -> None:
        """It replied to a request, and rightly."""
        known = self._connected.get(peer_id.raw)
        if known is not None:
            known.answered_at = now

    def doubted(self, peer_id: PeerId) -> None:
        """A request to it is late, or has failed: until it answers, nothing is known."""
        known = self._connected.get(peer_id.raw)
        if known is not None:
            known.answered_at = _NEVER

    def speaks(self, peer_id: PeerId, choices: Sequence[Choice], now: float) -> str | None:
        """The first protocol of `choices` that the peer speaks; None: none, or it may be dead."""
        known = self._connected.get(peer_id.raw)
        if known is None or now - known.answered_at > self._alive_s:
            return None
        protocols = known.protocols
        for choice in choices:
            if choice.protocol in protocols:
                return choice.protocol
        return None
