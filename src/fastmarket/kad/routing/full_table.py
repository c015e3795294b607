"""The full routing table: every live server, so that a lookup can start next to its target.

It supplements the routing table and never replaces it: its entries are not passed on. Peers enter when they
identify themselves, as in the routing table, and leave when a request to them fails.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Sized
from dataclasses import dataclass

from fastmarket._kbucket import BucketTable, Inserted
from fastmarket.bounded_map import BoundedMap
from fastmarket.config import KadConfig
from fastmarket.formats.identity import PeerId
from fastmarket.formats.kad_key import KadKey
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.formats.scope import ip_group

_AT_ONCE = 0.0  # unix seconds: in the past at any time


@dataclass(frozen=True, slots=True)
class _Entry:
    info: PeerInfo
    group: bytes | None


class FullTable:
    """Bounded by `max_large_table`, and by `max_group_in_large` for each address block; the peer not heard
    from for longest is evicted. Peers named by others are probed one by one, and enter if they answer.

    It stays empty without `KadConfig.large_table`.
    """

    __slots__ = ("_config", "_groups", "_heard", "_most", "_named", "_table")

    def __init__(self, config: KadConfig, local: PeerId) -> None:
        self._config = config
        most = self._most = config.max_large_table
        self._table: BucketTable[_Entry] | None = None  # empty it would take 6 KB of every node
        if config.large_table:
            self._table = BucketTable(local.key, bucket_size=most, max_entries=most)
        # Key -> time of the last sign of life, oldest first. Not a BoundedMap: the oldest must leave the
        # table as well, before a newcomer can enter that.
        self._heard: OrderedDict[KadKey, float] = OrderedDict()
        self._groups: Counter[bytes] = Counter()
        # Named by others, not probed yet.
        self._named: BoundedMap[KadKey, PeerInfo] = BoundedMap(config.max_large_named)

    def __len__(self) -> int:
        return len(self._heard)

    @property
    def entries(self) -> Sized:
        """A live view of the entries."""
        return self._heard

    def put(self, info: PeerInfo, now: float) -> None:
        """A server identified itself."""
        if self._table is None:
            return
        key, group = info.peer_id.key, ip_group(info)
        self.remove(key)
        self._named.pop(key)
        if group is not None and self._groups[group] >= self._config.max_group_in_large:
            return
        if len(self._heard) >= self._most:
            self.remove(next(iter(self._heard)))
        if self._table.insert(key, _Entry(info, group), now)[0] is Inserted.ADDED:
            self._heard[key] = now
            if group is not None:
                self._groups[group] += 1

    def on_heard(self, key: KadKey, now: float) -> None:
        """Records a sign of life from the peer of that key."""
        if key in self._heard:
            self._heard[key] = now
            self._heard.move_to_end(key)

    def on_named(self, peers: Iterable[PeerInfo]) -> None:
        """Takes peers that others named; they may not be alive."""
        if self._table is None:
            return
        for info in peers:
            key = info.peer_id.key
            if key not in self._heard and key not in self._named and info.addrs:
                self._named.put(key, info)

    def remove(self, key: KadKey) -> None:
        """Removes a peer that failed, or is no server."""
        table = self._table
        entry = table.get(key) if table is not None and key in self._heard else None
        if table is None or entry is None:
            return
        table.remove(key)
        del self._heard[key]
        if entry.group is not None:
            self._groups[entry.group] -= 1
            if not self._groups[entry.group]:
                del self._groups[entry.group]

    def nearest(self, target: KadKey, count: int) -> list[PeerInfo]:
        """The peers closest to a key, closest first."""
        near = [] if self._table is None else self._table.nearest(target, count)
        return [entry.info for entry in near]

    def next_due(self) -> float | None:
        """When the next probe is due: at once for a named peer, otherwise for the peer not heard from for
        longest."""
        if self._named:
            return _AT_ONCE
        if not self._heard:
            return None
        return next(iter(self._heard.values())) + self._config.large_check_after_s

    def take_due(self, now: float) -> PeerInfo | None:
        """The peer to probe now, if any; it is not due again before another interval has passed."""
        if (named := self._named.pop_newest()) is not None:
            return named[1]
        due = self.next_due()
        if due is None or due > now:
            return None
        key = next(iter(self._heard))
        self.on_heard(key, now)
        entry = None if self._table is None else self._table.get(key)
        return None if entry is None else entry.info
