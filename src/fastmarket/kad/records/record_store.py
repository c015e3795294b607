"""Values and provider records that this node keeps for others: bounded, each with an expiry time.

In a full store the party that holds most gives way to a party that holds less (`kad.records.shares`). Our own
records are never refused for lack of room, and never displaced.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from fastmarket.bounded_map import BoundedMap
from fastmarket.config import KadConfig
from fastmarket.formats.identity import PeerId
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.records.record import Record
from fastmarket.kad.records.shares import Shares, Source, distance, is_restored
from fastmarket.kad.wire.messages import Field, encode_peer

# The parts of a store's memory that one address block and one sender may use.
_BLOCK_SHARE = 0.75
_SENDER_SHARE = 0.5
# Overhead of an entry, in addition to its bytes.
_RECORD_BYTES = 400
_PROVIDER_BYTES = 500


class RecordStore:
    """Values by key. Expired ones are never returned; `expire` drops them."""

    __slots__ = ("_bytes", "_config", "_first_expiry", "_local", "_records", "_shares")

    def __init__(self, config: KadConfig, local: bytes = bytes(32)) -> None:
        """`local`: our key; of one sender's values those farthest from it are displaced first."""
        self._config = config
        self._local = local
        total = config.max_record_store_bytes + _RECORD_BYTES * config.max_records
        self._shares: Shares[bytes] = Shares(
            lambda key: (distance(local, key), 1), int(total * _BLOCK_SHARE), int(total * _SENDER_SHARE)
        )
        self._records: dict[bytes, Record] = {}
        self._first_expiry = inf  # none expires before: strangers' values for a full store cost no scan each
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._records)

    @property
    def size_bytes(self) -> int:
        """Bytes of all keys and values."""
        return self._bytes

    def get(self, key: bytes, now: float) -> Record | None:
        """The value, unless it has expired."""
        record = self._records.get(key)
        return record if record is not None and record.expires > now else None

    def put(self, record: Record, now: float, source: Source | None = None) -> bool:
        """Stores or replaces; False if there is no room. `source`: the sender; None: this node itself."""
        key = record.key
        if source is not None:
            if not self._fits(record):
                self.expire(now)
            if not self._make_room(record, source):
                return False
            source = self._whose(record, source)
        self.remove(key)
        self._records[key] = record
        self._first_expiry = min(self._first_expiry, record.expires)
        self._bytes += record.size
        if source is not None:
            self._shares.enter(key, source, record.size + _RECORD_BYTES)
        return True

    def would_refuse(self, record: Record, now: float, source: Source) -> bool:
        """Whether there is no room for a value if it is valid, so that it need not be verified. Only what has
        expired leaves."""
        if not self._fits(record):
            self.expire(now)
        more, full = self._added_bytes(record), not self._fits(record)
        if not full and not self._is_over_share(record, source, more):
            return False
        return self._victim(record, source, more, full) is None

    def remove(self, key: bytes) -> bool:
        """Drops a value; whether there was one."""
        record = self._records.pop(key, None)
        if record is None:
            return False
        self._bytes -= record.size
        self._shares.leave(key, record.size + _RECORD_BYTES)
        return True

    def expire(self, now: float) -> int:
        """Drops expired values; returns how many."""
        if now < self._first_expiry:
            return 0
        gone = [key for key, record in self._records.items() if record.expires <= now]
        for key in gone:
            self.remove(key)
        self._first_expiry = min((record.expires for record in self._records.values()), default=inf)
        return len(gone)

    def _whose(self, record: Record, source: Source) -> Source | None:
        """The source that the value is charged to. A value held already stays charged to its first source;
        otherwise anyone could charge it, our own included, to a full share of its own by sending it again.
        The peer that the key names takes it over."""
        key, old = record.key, self._records.get(record.key)
        if old is None or old.value != record.value or key.endswith(source.sender):
            return source
        before = self._shares.source(key)
        return source if before is not None and is_restored(before) else before

    def _make_room(self, record: Record, source: Source) -> bool:
        more = self._added_bytes(record)
        while True:
            full = not self._fits(record)
            if not full and not self._is_over_share(record, source, more):
                return True
            victim = self._victim(record, source, more, full)
            if victim is None:
                return False
            self.remove(victim)

    def _added_bytes(self, record: Record) -> int:
        old = self._records.get(record.key)
        return record.size - old.size if old is not None else record.size + _RECORD_BYTES

    def _is_over_share(self, record: Record, source: Source, more: int) -> bool:
        return record.key not in self._records and self._shares.is_over_share(source, more)

    def _victim(self, record: Record, source: Source, more: int, full: bool) -> bytes | None:
        """The key of the value that gives way; None: the newcomer is refused."""
        found = self._shares.victim(source, more, full)
        if found is None:
            return None
        key, far, rival = found
        if key == record.key or (rival and far <= distance(self._local, record.key)):
            return None
        return key

    def _fits(self, record: Record) -> bool:
        old = self._records.get(record.key)
        count = len(self._records) + (old is None)
        size = self._bytes + record.size - (old.size if old else 0)
        return count <= self._config.max_records and size <= self._config.max_record_store_bytes


# Providers whose encoded entries are cached: a provider usually announces more than one key.
_KEPT_PROVIDERS = 256


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider; `encoded` and `bare` are its providerPeers entries with and without addresses."""

    peer: PeerInfo
    encoded: bytes
    bare: bytes


@dataclass(frozen=True, slots=True)
class ProviderRecord:
    """One announcement. All announcements of a provider share the provider's entry."""

    provider: Provider
    addrs_expire: float
    expires: float

    def entry(self, now: float) -> bytes:
        """The entry valid now."""
        return self.provider.encoded if self.addrs_expire > now else self.provider.bare

    def expires_at(self, now: float) -> float:
        """When the announcement expires."""
        return self.addrs_expire if self.addrs_expire > now else self.expires


class ProviderStore:
    """Which peers announced which key. Both indexes are oldest first, so that expiry only looks at the
    front."""

    __slots__ = ("_by_age", "_changed", "_config", "_keys", "_local", "_providers", "_shares")

    def __init__(
        self,
        config: KadConfig,
        changed: Callable[[bytes], None] = lambda key: None,
        local: bytes = bytes(32),
    ) -> None:
        """`changed(key)` is called when the providers of a key change. `local`: as in `RecordStore`."""
        self._local = local
        total = _PROVIDER_BYTES * config.max_provider_records
        self._shares: Shares[tuple[bytes, bytes]] = Shares(
            lambda unit: (distance(local, unit[0]), 1), int(total * _BLOCK_SHARE), int(total * _SENDER_SHARE)
        )
        self._config = config
        self._changed = changed
        self._keys: dict[bytes, dict[bytes, ProviderRecord]] = {}
        # Ordered, because that finds the first at once: a plain dict searches past all entries removed before
        # it, and 65,536 records that expire together would block the node for seconds.
        self._by_age: OrderedDict[tuple[bytes, bytes], float] = OrderedDict()
        self._providers: BoundedMap[bytes, Provider] = BoundedMap(_KEPT_PROVIDERS)  # by raw id

    def __len__(self) -> int:
        return len(self._by_age)

    def add(self, key: bytes, peer: PeerInfo, now: float, source: Source | None = None) -> bool:
        """Stores or renews an announcement; False if there is no room. `source`: the sender; None: this node
        itself.

        A key with too many providers loses one from the address block with most of them: the one that
        announced itself longest ago.
        """
        config, raw = self._config, peer.peer_id.raw
        providers = self._keys.get(key, {})
        if raw not in providers and source is not None:
            if len(providers) >= config.max_providers_per_key:
                self._give_up_one(key, providers)
            elif not self._make_room(key, source, now):
                return False
        addrs_expire, expires = now + config.provider_addr_ttl_s, now + config.provider_ttl_s
        record = ProviderRecord(self._provider(peer), addrs_expire, expires)
        self._remove(key, raw)
        self._keys.setdefault(key, {})[raw] = record
        self._by_age[key, raw] = record.expires
        if source is not None:
            self._shares.enter((key, raw), source, _PROVIDER_BYTES)
        self._changed(key)
        return True

    def live_records(self, key: bytes, now: float) -> list[ProviderRecord]:
        """Announcements that have not expired, newest first."""
        return [record for record in reversed(self._keys.get(key, {}).values()) if record.expires > now]

    def providers(self, key: bytes, now: float) -> list[PeerInfo]:
        """Their providers; without addresses where those are too old."""
        return [
            record.provider.peer if record.addrs_expire > now else PeerInfo(record.provider.peer.peer_id)
            for record in self.live_records(key, now)
        ]

    def remove(self, key: bytes, peer_id: PeerId) -> bool:
        """Removes an announcement; whether there was one."""
        return self._remove(key, peer_id.raw)

    def expire(self, now: float) -> int:
        """Drops expired announcements; returns how many."""
        count = 0
        while self._by_age:
            (key, raw), expires = next(iter(self._by_age.items()))
            if expires > now:
                break
            self._remove(key, raw)
            count += 1
        return count

    def _give_up_one(self, key: bytes, providers: dict[bytes, ProviderRecord]) -> None:
        sources = {raw: self._shares.source((key, raw)) for raw in providers}
        blocks = Counter(source.block for source in sources.values() if source is not None)
        most = max(blocks.values(), default=0)
        for raw, source in sources.items():  # oldest first
            if source is not None and blocks[source.block] == most:
                self._remove(key, raw)
                return

    def _make_room(self, key: bytes, source: Source, now: float) -> bool:
        while True:
            full = len(self._by_age) >= self._config.max_provider_records and not self.expire(now)
            if not full and not self._shares.is_over_share(source, _PROVIDER_BYTES):
                return True
            found = self._shares.victim(source, _PROVIDER_BYTES, full)
            if found is None or (found[2] and found[1] <= distance(self._local, key)):
                return False
            self._remove(*found[0])

    def _provider(self, peer: PeerInfo) -> Provider:
        """The peer with its encoded entries; the cached ones if nothing has changed."""
        raw, config = peer.peer_id.raw, self._config
        addrs = peer.addrs[: config.max_addrs_per_peer]
        known = self._providers.peek(raw)
        if known is not None and known.peer.addrs == addrs:
            return known
        peer = PeerInfo(peer.peer_id, addrs)
        encoded = encode_peer(Field.PROVIDER_PEERS, peer, config.max_entry_bytes)
        bare = encode_peer(Field.PROVIDER_PEERS, PeerInfo(peer.peer_id), config.max_entry_bytes)
        provider = Provider(peer, encoded, bare)
        self._providers.put(raw, provider)
        return provider

    def _remove(self, key: bytes, raw: bytes) -> bool:
        if self._by_age.pop((key, raw), None) is None:
            return False
        self._shares.leave((key, raw), _PROVIDER_BYTES)
        providers = self._keys[key]
        del providers[raw]
        if not providers:
            del self._keys[key]
        self._changed(key)
        return True
