"""Which peers count among the closest without being queried: those near the key that are known to be
alive."""

from __future__ import annotations

from fastmarket.config import KadConfig
from fastmarket.kad.lookup.known_alive import KnownAlive
from fastmarket.kad.lookup.network_size import KEY_SPACE, NetworkSize
from fastmarket.kad.lookup.query import Query
from fastmarket.native.candidates import LivenessShortcut


def liveness_shortcut(
    query: Query, config: KadConfig, alive: KnownAlive | None, size: NetworkSize
) -> LivenessShortcut | None:
    """None if every peer must be queried: for items, and while the expected distance is unknown."""
    radius = size.radius
    if alive is None or radius is None or not query.seeks_peers:
        return None
    reach = int(config.optimistic_reach * radius)
    within = None if reach >= KEY_SPACE else reach.to_bytes(32, "big")
    return LivenessShortcut(within, alive.connected, alive.alive_s, query)
