"""Peers known to be alive, which a lookup need not query just to find that out.

An open connection proves little: a hanging process keeps its connections. So a peer counts while its
connection is open and it has answered something within `alive_s`; the first request that fails or is late
ends that.
"""

from __future__ import annotations

from collections.abc import Collection

from fastmarket.config import KadConfig
from fastmarket.formats.identity import PeerId
from fastmarket.formats.kad_key import KadKey
from fastmarket.native.candidates import Connected

_NEVER = float("-inf")


class KnownAlive:
    """All identified peers with a connection; the host bounds their number."""

    __slots__ = ("alive_s", "connected")

    def __init__(self, config: KadConfig) -> None:
        self.alive_s = config.alive_s
        self.connected: dict[KadKey, Connected] = {}
        """Their protocols, and the time of their last answer."""

    def on_identified(self, peer_id: PeerId, protocols: Collection[str], now: float) -> None:
        """The peer told its protocols. The first identify counts as an answer, a push does not."""
        known = self.connected.get(peer_id.key)
        if known is None:
            self.connected[peer_id.key] = Connected(protocols, now)
        else:
            known.protocols = protocols

    def on_disconnected(self, peer_id: PeerId) -> None:
        """The last connection ended."""
        known = self.connected.pop(peer_id.key, None)
        if known is not None:
            known.answered_at = _NEVER  # lookups may hold a reference

    def on_answer(self, peer_id: PeerId, now: float) -> None:
        """The peer gave a valid reply to a request."""
        known = self.connected.get(peer_id.key)
        if known is not None:
            known.answered_at = now

    def on_doubt(self, peer_id: PeerId) -> None:
        """A request to the peer is late or has failed: until it answers, it is not known to be alive."""
        known = self.connected.get(peer_id.key)
        if known is not None:
            known.answered_at = _NEVER
