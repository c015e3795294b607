"""The routing table, with its policy of entry, liveness and replacement.

Only peers that identified themselves as servers of our protocol enter, with the addresses they announced;
peers that others merely name never do (specs kad-dht, "Client and server mode"). Only a few peers of one
address block may enter. An entry is passed on while it is fresh, and after that once it has answered a
request.

Over 400 lines: which peers stay and which leave is one policy over one table.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Sized
from typing import Final, NamedTuple

from fastmarket._kbucket import BucketTable, Inserted
from fastmarket.config import KadConfig
from fastmarket.formats.choice import FailureKind
from fastmarket.formats.identity import PeerId
from fastmarket.formats.kad_key import KadKey
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.formats.scope import ip_group
from fastmarket.kad.events import Turn
from fastmarket.kad.jobs import PeerObserver
from fastmarket.kad.routing.contact import Contact, Trust
from fastmarket.kad.routing.diversity import Diversity
from fastmarket.kad.routing.full_table import FullTable
from fastmarket.kad.routing.replacement_cache import ReplacementCache
from fastmarket.kad.routing.unresponsive import UnresponsivePeers
from fastmarket.kad.wire.messages import Field, encode_peer
from fastmarket.trace import NULL_TRACE, Trace

# Looking up an Enum's member costs more than what is done with it (CPython 3.11).
_ADDED: Final = Inserted.ADDED
_FULL: Final = Inserted.FULL
_DOUBTFUL: Final = Trust.DOUBTFUL
_PROVEN: Final = Trust.PROVEN
_CLOSER_PEERS: Final = Field.CLOSER_PEERS
# Failures that arrived over the network: so it works, and the fault is not ours.
_HEARD = frozenset({FailureKind.RESET, FailureKind.PEER_FAULT, FailureKind.GONE})
_NEVER: Final = float("-inf")
MAX_ROOM_BYTES: Final = 1 << 30  # no bound of its own: `count` entries of max_entry_bytes are the bound

# Newcomers kept until the owner takes them; beyond that the oldest are dropped. They are only a hint.
MAX_NEWCOMERS = 1024


class Newcomer(NamedTuple):
    """A peer that entered the routing table, with its protocols and the time."""

    peer: PeerInfo
    protocols: Collection[str]
    entered_at: float


class RoutingTable(PeerObserver):
    """The table, its replacement cache, and the addresses of connected peers that do not belong in it."""

    __slots__ = (
        "_check_next",
        "_config",
        "_diversity",
        "_doubtful",
        "_heard_at",
        "_local",
        "_protocol",
        "_table",
        "_trace",
        "_visitors",
        "_waiting",
        "checking",
        "entries",
        "full_table",
        "is_refresh_wanted",
        "newcomers",
        "turn",
        "unproven",
        "unresponsive",
        "version",
    )

    def __init__(self, config: KadConfig, local: PeerId, trace: Trace = NULL_TRACE) -> None:
        self._config = config
        self._local = local
        self._trace = trace
        self._protocol = config.protocol
        self._table: BucketTable[Contact] = BucketTable(local.key, bucket_size=config.k)
        self.entries: Sized = self._table
        """A live view of the entries."""
        self._visitors: dict[KadKey, Contact] = {}
        self.checking: set[int] = set()  # buckets whose oldest entry is being probed
        self._check_next: dict[int, float] = {}  # bucket -> when the next check may start; at most 256
        self._heard_at = _NEVER  # last sign of life from any peer
        self._diversity = Diversity(config)
        self._waiting = ReplacementCache(config.k, self._diversity.limit)
        self._doubtful = 0  # entries that are not passed on
        self.version = 0  # goes up whenever results of `joined` may change
        self.unproven: deque[tuple[float, Contact]] = deque()
        """Entries that have never answered, and when each is to be probed; see `take_unproven`."""
        self.unresponsive = UnresponsivePeers(config)
        self.newcomers: deque[Newcomer] = deque(maxlen=MAX_NEWCOMERS)
        """Peers that entered the table, or are back after a failure; the owner takes them."""
        self.full_table = FullTable(config, local)
        self.turn = Turn()
        """Wanted once an unresponsive peer has sent a request: it is due earlier than the last timer said."""
        self.is_refresh_wanted = False
        """An unresponsive peer is back, or the table has become empty."""

    def __len__(self) -> int:
        return len(self._table)

    def contacts(self) -> list[Contact]:
        """Every entry of the table."""
        return self._table.items()

    def contact(self, peer_id: PeerId) -> Contact | None:
        """The peer's entry in the table."""
        return self._table.get(peer_id.key)

    def joined(
        self,
        head: bytes,
        target: KadKey,
        asker_key: KadKey | None,
        count: int,
        tail: bytes = b"",
        room: int = MAX_ROOM_BYTES,
    ) -> bytes:
        """`head`, the entries of the `count` closest to `target` without the requester, as far as they fit,
        and `tail`."""
        return self._table.joined(head, target, asker_key, count, self._doubtful, tail, room)

    def near(self, target: KadKey) -> frozenset[KadKey]:
        """The keys of all peers that `joined` may name for a requester that is not among them."""
        return frozenset([c.info.peer_id.key for c in self.nearest(target, self._config.k + self._doubtful)])

    def target_entry(self, target: KadKey) -> bytes | None:
        """The entry of the peer whose key is `target`, if its addresses are known outside the table."""
        if not self._visitors and not self._waiting.contacts:
            return None
        contact = self._visitors.get(target) or self._waiting.contacts.get(target)
        return contact.encoded if contact is not None and contact.info.addrs else None

    def is_identified(self, peer_id: PeerId) -> bool:
        """Whether the peer is identified: it is in the table or the replacement cache, or is a client."""
        key = peer_id.key
        return key in self._table or key in self._visitors or key in self._waiting.contacts

    def known_count(self) -> int:
        """Number of identified servers in the table and the replacement cache."""
        return len(self._table) + len(self._waiting)

    def nearest(self, target: KadKey, count: int) -> list[Contact]:
        """The entries closest to a key, closest first."""
        return self._table.nearest(target, count)

    # --- what happens to peers

    def set_local(self, local: PeerInfo) -> None:
        """Sets the addresses of this node: peers in its address block are neighbours, not a crowd."""
        self._diversity.set_own(ip_group(local))

    def fill(self, contacts: Iterable[Contact]) -> None:
        """Adds entries from knowledge other than identify (in a simulated network), seen when they say.
        Entries for which a bucket has no room are left out."""
        for contact in contacts:
            self._table.insert(contact.info.peer_id.key, contact, contact.seen)
        self.version += 1
        self._diversity.is_counted = False

    def on_identified(self, info: PeerInfo, protocols: Collection[str], now: float) -> Contact | None:
        """Takes a peer's identification; returns the entry to probe if its bucket is full.

        Only one entry of a bucket is probed at a time; further newcomers wait meanwhile.
        """
        self._heard_at = now
        key = info.peer_id.key
        if key == self._local.key:
            return None
        if self._protocol not in protocols or not info.addrs:
            self.unresponsive.pop(key)
            self._evict(key, now)
            self._visit(key, info, now)
            self.full_table.remove(key)
            return None
        self._visitors.pop(key, None)
        contact = self._refreshed(key, info, now)
        self.full_table.put(contact.info, now)
        if key in self.unresponsive.by_key:
            self.unresponsive.pop(key)
            self._on_recovered(key, now)
        known = self._table.get(key) is contact and not contact.failures
        oldest = self._place(key, contact, now)
        if not known and self._table.get(key) is contact:
            self.newcomers.append(Newcomer(contact.info, protocols, now))
        bucket = self._table.bucket_index(key)
        if oldest is None or bucket in self.checking or oldest.seen + self._config.check_after_s > now:
            return None
        if now < self._check_next.get(bucket, now):
            return None
        self.checking.add(bucket)
        return oldest

    def on_checked(self, contact: Contact, alive: bool, now: float) -> None:
        """Takes the result of a probe: a dead entry makes room for the newest peer in the replacement
        cache."""
        key = contact.info.peer_id.key
        bucket = self._table.bucket_index(key)
        self.checking.discard(bucket)
        if alive:
            self._check_next[bucket] = now + self._config.check_interval_s
        if not alive and self._table.get(key) is contact:
            self._trace.event("kad.table.evicted", peer=contact.info.peer_id)
            self._lose(contact, now)

    def take_unproven(self, now: float) -> Contact | None:
        """The next entry to be probed; it is not passed on until it answers. Call `on_proven` with the
        result."""
        while self.unproven and self.unproven[0][0] <= now:
            contact = self.unproven.popleft()[1]
            if contact.trust is not _PROVEN and self._table.get(contact.info.peer_id.key) is contact:
                self._trust(contact, _DOUBTFUL)
                return contact
        return None

    def on_proven(self, contact: Contact, alive: bool, asked_at: float, now: float) -> None:
        """Takes the result. A silent peer loses its place, unless no other peer was heard from meanwhile."""
        if self._table.get(contact.info.peer_id.key) is not contact or contact.trust is _PROVEN:
            return
        if alive or self._heard_at < asked_at:
            self.unproven.append((now + self._config.prove_after_s, contact))
        else:
            self._trace.event("kad.table.unproven", peer=contact.info.peer_id)
            self._lose(contact, now)

    def on_seen(self, key: KadKey, now: float) -> Contact | None:
        """Records a sign of life from the peer of that key; returns its entry, if any."""
        self._heard_at = now
        if self._config.large_table:
            self.full_table.on_heard(key, now)
        contact = self._table.see(key, now)
        if contact is None and key in self.unresponsive.by_key and self.unresponsive.probe_now(key, now):
            self.turn.is_wanted = True
        return contact

    def on_reply(self, peer_id: PeerId, now: float) -> None:
        key = peer_id.key
        contact = self.on_seen(key, now)
        if contact is not None and not contact.proven:
            self._trust(contact, _PROVEN)
        if key in self.unresponsive.by_key:
            peer = self.unresponsive.pop(key)
            self._on_recovered(key, now)
            if contact is None and peer is not None:
                contact = self._refreshed(key, peer.info, now)
                contact.trust = _PROVEN
                self._place(key, contact, now)

    def on_failure(self, peer_id: PeerId, kind: FailureKind, now: float) -> None:
        """Records a failed request. After too many in a row the peer leaves the table; at once if there is no
        node at its addresses. If no peer at all has been heard from, the fault is probably ours: the entries
        stay, and the unresponsive peers are probed now and then."""
        if kind is FailureKind.BUSY:
            return
        if kind in _HEARD:
            self._heard_at = now
        key = peer_id.key
        if now - self._heard_at < self._config.request_timeout_s:
            self.full_table.remove(key)  # other peers were heard from: the fault is not ours
        contact = self._table.get(key)
        if contact is None:
            self._waiting.drop(self._table.bucket_index(key), key)
            return
        if kind is FailureKind.GONE:
            self._trace.event("kad.table.failed", peer=peer_id, kind=kind.value)
            self._lose(contact, now)
            return
        if contact.failures == 0:
            contact.failed_at = now
        elif now < contact.failed_at + contact.failures * self._config.failure_spacing_s:
            return
        contact.failures += 1
        if contact.failures < self._config.max_failures:
            return
        if self._heard_at >= contact.failed_at:
            self._trace.event("kad.table.failed", peer=peer_id, kind=kind.value)
            self._lose(contact, now)
        else:
            self.unresponsive.add(contact.info, now)

    def on_refusal(self, peer_id: PeerId, protocols: Collection[str], now: float) -> None:
        """A peer that refuses our protocol is no longer a server and leaves at once; it may refuse other
        protocols."""
        self._heard_at = now
        if self._protocol in protocols:
            self.full_table.remove(peer_id.key)
            self.unresponsive.pop(peer_id.key)
            self._evict(peer_id.key, now)
            self._waiting.drop(self._table.bucket_index(peer_id.key), peer_id.key)

    def on_disconnected(self, peer_id: PeerId) -> None:
        """The last connection to the peer ended."""
        self._visitors.pop(peer_id.key, None)

    # --- buckets, for refreshing

    def bucket_of(self, target: KadKey) -> int:
        """The bucket of a key: the number of leading bits it shares with ours."""
        return self._table.bucket_index(target)

    def stale_buckets(self, now: float) -> list[int]:
        """Buckets without a lookup during the last refresh interval."""
        return self._table.stale_buckets(now, self._config.refresh_interval_s)

    def mark_refreshed(self, target: KadKey, now: float) -> None:
        """Records a lookup for `target`; our own key belongs to no bucket."""
        if target != self._local.key:
            self._table.mark_refreshed(self._table.bucket_index(target), now)

    # --- private

    def _place(self, key: KadKey, contact: Contact, now: float) -> Contact | None:
        """Puts a peer into the table or the replacement cache; returns the oldest entry of a full bucket."""
        inserted, oldest = self._table.insert(key, contact, now)
        bucket = self._table.bucket_index(key)
        if inserted == _ADDED and not self._settle(bucket, contact, now):
            self._table.remove(key)
            self._waiting.add(bucket, key, contact)
        elif inserted == _FULL:
            self._waiting.add(bucket, key, contact)
        else:
            self._waiting.drop(bucket, key)
        return oldest

    def _settle(self, bucket: int, contact: Contact, now: float) -> bool:
        """Counts a new entry; False: its address block has enough entries."""
        self.version += 1
        diversity = self._diversity
        if not diversity.is_counted:
            diversity.is_counted = True
            for held in self._table.items():
                if held is not contact:
                    diversity.add(self._table.bucket_index(held.info.peer_id.key), held.group)
        if not diversity.has_room(bucket, contact.group):
            return False
        diversity.add(bucket, contact.group)
        if contact.trust is _DOUBTFUL:
            self._doubtful += 1
        if contact.trust is not _PROVEN:
            self._ask_later(contact, now)
        return True

    def _ask_later(self, contact: Contact, now: float) -> None:
        if contact.trust is _DOUBTFUL:
            self.unproven.appendleft((now, contact))
        else:
            self.unproven.append((now + self._config.prove_after_s, contact))

    def _trust(self, contact: Contact, trust: Trust) -> None:
        """Changes the trust of an entry."""
        self._doubtful += (trust is _DOUBTFUL) - (contact.trust is _DOUBTFUL)
        contact.trust = trust
        self.version += 1

    def _refreshed(self, key: KadKey, info: PeerInfo, now: float) -> Contact:
        contact = self._table.get(key) or self._waiting.contacts.get(key)
        if contact is None or contact.info.addrs != info.addrs:
            addrs = tuple([addr.without_peer() for addr in info.addrs[: self._config.max_addrs_per_peer]])
        else:
            addrs = contact.info.addrs  # the usual case
        if contact is None or contact.info.addrs != addrs:
            info = PeerInfo(info.peer_id, addrs)
            encoded = encode_peer(_CLOSER_PEERS, info, self._config.max_entry_bytes)
            group = ip_group(info)
            if contact is None:
                return Contact(info, encoded, now, group)
            if contact.group != group:  # it must find another place
                self._evict(key, now)
                contact.group = group
            contact.info, contact.encoded, self.version = info, encoded, self.version + 1
        if contact.trust is _DOUBTFUL and key not in self._table:
            contact.trust = Trust.FRESH
        contact.seen = now
        contact.failures = 0
        return contact

    def _visit(self, key: KadKey, info: PeerInfo, now: float) -> None:
        if len(self._visitors) >= self._config.max_visitors:
            return
        encoded = encode_peer(_CLOSER_PEERS, info, self._config.max_entry_bytes)
        self._visitors[key] = Contact(info, encoded, now, None)

    def _on_recovered(self, key: KadKey, now: float) -> None:
        """A silent peer is alive: it may lead to a part of the network that no other peer would name."""
        self._trace.event("kad.table.back", key=key)
        self._table.mark_refreshed(self._table.bucket_index(key), _NEVER)
        self.is_refresh_wanted = True

    def _lose(self, contact: Contact, now: float) -> None:
        """Removes an entry that fell silent."""
        self._evict(contact.info.peer_id.key, now)
        self.unresponsive.add(contact.info, now)
        if not len(self._table):
            self.is_refresh_wanted = True

    def _evict(self, key: KadKey, now: float) -> None:
        bucket = self._table.bucket_index(key)
        self._waiting.drop(bucket, key)
        contact = self._table.get(key)
        if contact is None:
            return
        self._table.remove(key)
        self._trust(contact, Trust.FRESH)
        if self._diversity.is_counted:
            self._diversity.remove(bucket, contact.group)
        self._move_up(bucket, now)

    def _move_up(self, bucket: int, now: float) -> None:
        """Gives the free place to the newest peer in the replacement cache that may have it; it is probed if
        it waited long."""
        for key, contact in self._waiting.freshest(bucket):
            if contact.seen + self._config.check_after_s < now:
                contact.trust = _DOUBTFUL
            self._table.insert(key, contact, contact.seen)
            if self._settle(bucket, contact, now):
                self._waiting.drop(bucket, key)
                return
            self._table.remove(key)
