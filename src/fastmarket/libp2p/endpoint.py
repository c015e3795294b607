"""What all connections of a host share, whatever they go over."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fastmarket.config import ConnectionConfig
from fastmarket.formats.identity import Identity
from fastmarket.libp2p.scopes import MemoryScope
from fastmarket.libp2p.streams import ResponderFactory


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A host as its connections know it. `protocols` may change while they live."""

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
        """With a budget of its own for what they hold."""
        config = config or ConnectionConfig()
        return cls(config, identity, entropy, protocols, MemoryScope(config.peer_budget_bytes))
