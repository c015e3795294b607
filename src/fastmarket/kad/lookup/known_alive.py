"""Which peers are known to be alive, so that a lookup need not ask them only to see that.

A connection alone proves little: a process that hangs keeps its own. So a peer counts while its connection is
open and it has answered something within `alive_s`; the first request that fails or is late ends it.
"""

from __future__ import annotations

from collections.abc import Collection

from fastmarket.config import KadConfig
from fastmarket.formats.identity import PeerId
from fastmarket.formats.kad_key import KadKey
from fastmarket.native.candidates import Connected

_NEVER = float("-inf")


class KnownAlive:
    """Of every identified peer with a connection; the host bounds how many these are."""

    __slots__ = ("alive_s", "connected")

    def __init__(self, config: KadConfig) -> None:
        self.alive_s = config.alive_s
        self.connected: dict[KadKey, Connected] = {}
        """With what it speaks, and when it last answered."""

    def on_identified(self, peer_id: PeerId, protocols: Collection[str], now: float) -> None:
        """It said who it is, and what it speaks. The first time that is an answer; unasked it is not."""
        known = self.connected.get(peer_id.key)
        if known is None:
            self.connected[peer_id.key] = Connected(protocols, now)
        else:
            known.protocols = protocols

    def on_disconnected(self, peer_id: PeerId) -> None:
        """The last connection ended."""
        known = self.connected.pop(peer_id.key, None)
        if known is not None:
            known.answered_at = _NEVER  # lookups may have it at hand

    def on_answer(self, peer_id: PeerId, now: float) -> None:
        """It replied to a request, and rightly."""
        known = self.connected.get(peer_id.key)
        if known is not None:
            known.answered_at = now

    def on_doubt(self, peer_id: PeerId) -> None:
        """A request to it is late, or has failed: until it answers, nothing is known."""
        known = self.connected.get(peer_id.key)
        if known is not None:
            known.answered_at = _NEVER
