"""What all connections of a host share, over any transport."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fastmarket.config import ConnectionConfig
from fastmarket.formats.identity import Identity
from fastmarket.libp2p.scopes import MemoryScope, NodeScope, PeerScopes
from fastmarket.libp2p.streams import ResponderFactory


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The host as its connections know it. `protocols` may change while they are open."""

    config: ConnectionConfig
    identity: Identity
    entropy: Callable[[int], bytes]
    protocols: Mapping[str, ResponderFactory | None]  # inbound; None: delivered as events
    scopes: PeerScopes  # what they hold for their peers

    @classmethod
    def create(
        cls,
        identity: Identity,
        entropy: Callable[[int], bytes],
        protocols: Mapping[str, ResponderFactory | None],
        config: ConnectionConfig | None = None,
        memory: NodeScope | None = None,
    ) -> Endpoint:
        """Its connections have a part of `memory` (`ConnectionConfig.peer_budget_bytes`); None: nothing else
        does."""
        config = config or ConnectionConfig()
        scopes = PeerScopes(config.peer_budget_bytes, memory or NodeScope(0))
        return cls(config, identity, entropy, protocols, scopes)

    @property
    def scope(self) -> MemoryScope:
        """What all of them hold together."""
        return self.scopes.all
