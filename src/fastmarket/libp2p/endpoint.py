"""What all connections of a host share, over any transport."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fastmarket.config import ConnectionConfig
from fastmarket.formats.identity import Identity
from fastmarket.libp2p.scopes import MemoryScope
from fastmarket.libp2p.streams import ResponderFactory


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The host as its connections know it. `protocols` may change while they are open."""

    config: ConnectionConfig
    identity: Identity
    entropy: Callable[[int], bytes]
    protocols: Mapping[str, ResponderFactory | None]  # inbound; None: delivered as events
    scope: MemoryScope  # what all of them hold for their peers

    @classmethod
    def create(
        cls,
        identity: Identity,
        entropy: Callable[[int], bytes],
        protocols: Mapping[str, ResponderFactory | None],
        config: ConnectionConfig | None = None,
    ) -> Endpoint:
        """With a memory budget of its own (`ConnectionConfig.peer_budget_bytes`)."""
        config = config or ConnectionConfig()
        return cls(config, identity, entropy, protocols, MemoryScope(config.peer_budget_bytes))
