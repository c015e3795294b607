"""Who we know: the routing table with its policy of entry, liveness and replacement.

Only peers that identified themselves as servers of our protocol, with addresses of their own telling, get in;
peers that others merely name never do (specs kad-dht, "Client and server mode").
"""

from __future__ import annotations

from collections.abc import Collection

from fastmarket._kbucket import Inserted, RoutingTable
from fastmarket.config import KadConfig
from fastmarket.formats.choice import FailureKind
from fastmarket.formats.identity import PeerId
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.messages import Field, encode_peer
from fastmarket.trace import NULL_TRACE, Trace


class Contact:
    """A peer of the table. `encoded` is its closerPeers entry with its tag, rebuilt when addresses change."""

    __slots__ = ("encoded", "failed_at", "failures", "info", "seen")

    def __init__(self, info: PeerInfo, encoded: bytes, now: float) -> None:
        self.info = info
        self.encoded = encoded
        self.seen = now  # last reply, request or identification
        self.failures = 0  # failed requests in a row
        self.failed_at = 0.0  # the first of them


# Failures that came over the network: so it works, and the fault is not ours.
_HEARD = frozenset({FailureKind.RESET, FailureKind.PEER_FAULT})


class Routing:
    """The table, its waiting candidates, and the addresses of connected peers that do not belong in it."""

    __slots__ = (
        "_check_next",
        "_config",
        "_heard_at",
        "_local",
        "_table",
        "_trace",
        "_visitors",
        "_waiting",
        "checking",
    )

    def __init__(self, config: KadConfig, local: PeerId, trace: Trace = NULL_TRACE) -> None:
        self._config = config
        self._local = local
        self._trace = trace
        self._table: RoutingTable[Contact] = RoutingTable(local.key, bucket_size=config.k)
        # Bucket -> peers that found it full, the freshest last; at most k each.
        self._waiting: dict[int, dict[bytes, Contact]] = {}
        self._visitors: dict[bytes, Contact] = {}
        self.checking: set[int] = set()  # buckets whose oldest entry is being asked
        self._check_next: dict[int, float] = {}  # bucket -> no check before; 256 buckets at most
        self._heard_at = float("-inf")  # last sign of life from anybody

    def __len__(self) -> int:
        return len(self._table)

    def contacts(self) -> list[Contact]:
        """Every entry of the table."""
        return self._table.items()

    def contact(self, peer_id: PeerId) -> Contact | None:
        """The peer's entry in the table."""
        return self._table.get(peer_id.key)

    def entries(self, target: bytes, asker_key: bytes | None, count: int) -> list[bytes]:
        """Ready closerPeers entries of the `count` nearest to `target`, without the asker."""
        table = self._table
        nearest = table.nearest(target, count + 1)
        if asker_key is not None and (asker := table.get(asker_key)) in nearest:
            nearest.remove(asker)
        elif len(nearest) > count:
            nearest.pop()
        return [contact.encoded for contact in nearest]

    def target_entry(self, target: bytes) -> bytes | None:
        """The entry of the peer whose key is `target`, if we have its addresses outside the table."""
        contact = self._visitors.get(target) or self._waiting_contact(target)
        return contact.encoded if contact is not None and contact.info.addrs else None

    def knows(self, peer_id: PeerId) -> bool:
        """Whether the peer was identified: it is in the table, waits for a place, or is a client."""
        key = peer_id.key
        return key in self._table or key in self._visitors or self._waiting_contact(key) is not None

    def known(self) -> int:
        """Servers identified and not given up: in the table or waiting for a place in it."""
        return len(self._table) + sum(map(len, self._waiting.values()))

    def nearest(self, target: bytes, count: int) -> list[Contact]:
        """The entries closest to a 32-byte key, closest first."""
        return self._table.nearest(target, count)

    # --- what happens to peers

    def identified(self, info: PeerInfo, protocols: Collection[str], now: float) -> Contact | None:
        """Take in what a peer says of itself; returns the entry to check when its bucket is full.

        Checking one entry at a time per bucket: while one is asked, further newcomers wait.
        """
        self._heard_at = now
        key = info.peer_id.key
        if key == self._local.key:
            return None
        if self._config.protocol not in protocols or not info.addrs:
            self._evict(key, now)
            self._visit(key, info, now)
            return None
        self._visitors.pop(key, None)
        contact = self._refreshed(key, info, now)
        inserted, oldest = self._table.insert(key, contact, now)
        bucket = self._table.bucket_index(key)
        if inserted != Inserted.FULL:
            self._drop_waiting(bucket, key)
            return None
        waiting = self._waiting.setdefault(bucket, {})
        waiting.pop(key, None)
        waiting[key] = contact
        if len(waiting) > self._config.k:
            del waiting[next(iter(waiting))]
        if oldest is None or bucket in self.checking or oldest.seen + self._config.check_after_s > now:
            return None
        if now < self._check_next.get(bucket, now):
            return None
        self.checking.add(bucket)
        return oldest

    def checked(self, contact: Contact, alive: bool, now: float) -> None:
        """The end of a check: a dead entry makes room for the freshest that waits."""
        key = contact.info.peer_id.key
        bucket = self._table.bucket_index(key)
        self.checking.discard(bucket)
        if alive:
            self._check_next[bucket] = now + self._config.check_interval_s
        if not alive and self._table.get(key) is contact:
            self._trace.event("kad.table.evicted", peer=contact.info.peer_id)
            self._evict(key, now)

    def seen(self, key: bytes, now: float) -> Contact | None:
        """A sign of life from the peer of that key; its entry if it has one."""
        self._heard_at = now
        contact = self._table.get(key)
        if contact is not None:
            contact.seen = now
            contact.failures = 0
            self._table.touch(key, now)
        return contact

    def replied(self, peer_id: PeerId, now: float) -> None:
        """The peer answered one of our requests."""
        self.seen(peer_id.key, now)

    def failed(self, peer_id: PeerId, kind: FailureKind, now: float) -> None:
        """A request to the peer failed; too often in a row and it leaves the table.

        While nobody at all is heard, the fault is more likely ours: the table is kept.
        """
        if kind is FailureKind.BUSY:
            return
        if kind in _HEARD:
            self._heard_at = now
        key = peer_id.key
        contact = self._table.get(key)
        if contact is None:
            self._drop_waiting(self._table.bucket_index(key), key)
            return
        if contact.failures == 0:
            contact.failed_at = now
        elif now < contact.failed_at + contact.failures * self._config.failure_spacing_s:
            return
        contact.failures += 1
        if contact.failures >= self._config.max_failures and self._others_live(contact):
            self._trace.event("kad.table.failed", peer=peer_id, kind=kind.value)
            self._evict(key, now)

    def refused(self, peer_id: PeerId, protocols: Collection[str], now: float) -> None:
        """A peer that refuses our protocol is no server any more and leaves at once; any other it may."""
        self._heard_at = now
        if self._config.protocol in protocols:
            self._evict(peer_id.key, now)
            self._drop_waiting(self._table.bucket_index(peer_id.key), peer_id.key)

    def disconnected(self, peer_id: PeerId) -> None:
        """The last connection to the peer is gone."""
        self._visitors.pop(peer_id.key, None)

    # --- buckets, for refreshing

    def bucket_of(self, target: bytes) -> int:
        """The bucket a key falls into: the bits it has in common with ours."""
        return self._table.bucket_index(target)

    def stale_buckets(self, now: float) -> list[int]:
        """Buckets without a lookup for a refresh interval."""
        return self._table.stale_buckets(now, self._config.refresh_interval_s)

    def mark_refreshed(self, target: bytes, now: float) -> None:
        """A lookup went to `target`; our own key lies in no bucket."""
        if target != self._local.key:
            self._table.mark_refreshed(self._table.bucket_index(target), now)

    # --- private

    def _refreshed(self, key: bytes, info: PeerInfo, now: float) -> Contact:
        addrs = tuple(addr.without_peer() for addr in info.addrs[: self._config.max_addrs_per_peer])
        contact = self._table.get(key) or self._waiting_contact(key)
        if contact is None or contact.info.addrs != addrs:
            info = PeerInfo(info.peer_id, addrs)
            encoded = encode_peer(Field.CLOSER_PEERS, info, self._config.max_entry_bytes)
            if contact is None:
                return Contact(info, encoded, now)
            contact.info, contact.encoded = info, encoded
        contact.seen = now
        contact.failures = 0
        return contact

    def _visit(self, key: bytes, info: PeerInfo, now: float) -> None:
        if len(self._visitors) >= self._config.max_visitors:
            return
        encoded = encode_peer(Field.CLOSER_PEERS, info, self._config.max_entry_bytes)
        self._visitors[key] = Contact(info, encoded, now)

    def _others_live(self, contact: Contact) -> bool:
        """Whether anyone was heard since the contact began to fail."""
        return self._heard_at >= contact.failed_at

    def _evict(self, key: bytes, now: float) -> None:
        bucket = self._table.bucket_index(key)
        self._drop_waiting(bucket, key)
        if not self._table.remove(key):
            return
        waiting = self._waiting.get(bucket)
        if waiting:
            freshest, contact = waiting.popitem()
            self._table.insert(freshest, contact, contact.seen)
            if not waiting:
                del self._waiting[bucket]

    def _waiting_contact(self, key: bytes) -> Contact | None:
        waiting = self._waiting.get(self._table.bucket_index(key))
        return waiting.get(key) if waiting else None

    def _drop_waiting(self, bucket: int, key: bytes) -> None:
        waiting = self._waiting.get(bucket)
        if waiting and waiting.pop(key, None) is not None and not waiting:
            del self._waiting[bucket]
