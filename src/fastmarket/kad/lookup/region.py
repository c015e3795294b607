"""The region of a key: where its value is stored, and where it is looked for.

Ids are free, and with them every place among the k closest to a key. Nothing can be kept out of these places,
so they are not limited: all peers count that lie as close to the key as the k-th closest peer usually does.
The distance is learned from past lookups of other keys, which an attacker of one key does not shift. Ids
placed around a key then add to its storers and displace none (Netto, Cholez and Ignat, arXiv:2505.01139,
"SR-DHT-Store"; always, without detecting an attack first). Without an attack, k peers are expected there.
"""

from __future__ import annotations

from fastmarket.config import KadConfig
from fastmarket.kad.lookup.network_size import KEY_SPACE, NetworkSize
from fastmarket.kad.lookup.query import Query


def region_distance(config: KadConfig, size: NetworkSize) -> int:
    """The distance from a key up to which every peer counts; 0: unknown so far, or in a network so small that
    the k closest are nearly all of it."""
    radius = size.radius
    if radius is None or 2 * radius >= KEY_SPACE:
        return 0
    return int(config.region_reach * radius)


def region_reach(query: Query, config: KadConfig, size: NetworkSize) -> bytes | None:
    """That distance, in 32 bytes, for a query that spans a region; None: the k closest are asked."""
    reach = region_distance(config, size) if query.spans_region else 0
    return min(reach, KEY_SPACE - 1).to_bytes(32, "big") if reach else None
