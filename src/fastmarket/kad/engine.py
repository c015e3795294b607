"""The Kademlia node as one object: requests in, replies and requests out, one timer.

It has no clock, socket or randomness of its own: `now` (unix seconds) and `entropy` are arguments. After
every call the shell takes `poll_actions` and `poll_events`, and arms `next_timer`. (Over 400 lines: one
method for each kind of request and job.)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from enum import Enum
from typing import TypeVar

from fastmarket.config import KadConfig
from fastmarket.errors import CallerFault, PeerFault
from fastmarket.formats.choice import FailureKind
from fastmarket.formats.identity import PeerId
from fastmarket.formats.kad_key import KadKey, RawKey, kad_key
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.bootstrap import BootstrapJob, Surroundings
from fastmarket.kad.events import SendRequest
from fastmarket.kad.handlers import Handlers
from fastmarket.kad.jobs import Job, JobRunner
from fastmarket.kad.lookup.disjoint import DisjointLookup
from fastmarket.kad.lookup.iterative import IterativeLookup, NetworkKnowledge
from fastmarket.kad.lookup.known_alive import KnownAlive
from fastmarket.kad.lookup.lookup import Lookup
from fastmarket.kad.lookup.lookup_job import LookupJob
from fastmarket.kad.lookup.network_size import NetworkSize
from fastmarket.kad.lookup.queries import AnnounceProvider, FindNode, GetProviders
from fastmarket.kad.lookup.query import PutRequest, Query, Quorum, check_quorum
from fastmarket.kad.lookup.rtt import RttEstimator
from fastmarket.kad.maintenance import Maintenance, Own
from fastmarket.kad.providers.find_providers import FindProvidersJob
from fastmarket.kad.providers.source import NO_OTHER_PROVIDERS, ProviderSource
from fastmarket.kad.records.put_job import PutJob
from fastmarket.kad.records.record import DEFAULT_RULES, Record, RecordRule, rule_for
from fastmarket.kad.records.record_store import RecordStore
from fastmarket.kad.records.shares import NEARBY, Source
from fastmarket.kad.records.values import GetValueJob, GetValueQuery, PutValueRequest
from fastmarket.kad.routing.contact import Contact
from fastmarket.kad.routing.liveness import ProbeList
from fastmarket.kad.routing.table import Newcomer, RoutingTable
from fastmarket.kad.wire.response_cache import ResponseCaches
from fastmarket.run_all import run_all
from fastmarket.trace import NULL_TRACE, Trace

_T = TypeVar("_T")


class Mode(Enum):
    """Whether others may query this node (specs kad-dht, "Client and server mode")."""

    CLIENT = "client"  # only queries; does not list the protocol in identify
    SERVER = "server"  # also answers, and is in the tables of others


# Entries for this node as named by others and not taken yet; the newest are kept.
MAX_NAMED = 16

_CLIENT = Mode.CLIENT  # an Enum look-up costs a tenth of a request


class Engine:
    """One node in one Kademlia network."""

    __slots__ = (
        "_alone_s",
        "_around",
        "_entropy",
        "_local",
        "_rules",
        "_seeds",
        "config",
        "handlers",
        "jobs",
        "knowledge",
        "liveness",
        "maintenance",
        "mode",
        "named_us",
        "routing",
    )

    def __init__(
        self,
        config: KadConfig,
        local: PeerId,
        *,
        now: float,
        entropy: Callable[[int], bytes],
        rules: Mapping[bytes, RecordRule] = DEFAULT_RULES,
        trace: Trace = NULL_TRACE,
        records: RecordStore | None = None,
        providers: ProviderSource = NO_OTHER_PROVIDERS,
        caches: ResponseCaches | None = None,
        mode: Mode = Mode.SERVER,
    ) -> None:
        """`rules`: record rules by namespace. `records`: the store of values. `providers`: those known by
        other protocols; `caches`: invalidated when the sources of replies change. A node starts with unknown
        addresses."""
        self.config = config
        self.mode = mode
        self._local = PeerInfo(local)
        self._entropy = entropy
        self._rules = rules
        self.routing = RoutingTable(config, local, trace)
        self.handlers = Handlers(
            config,
            local,
            self.routing,
            rules,
            RecordStore(config, local.key) if records is None else records,
            providers,
            ResponseCaches() if caches is None else caches,
            lambda key: self.maintenance.is_published(Own.PROVIDER, key),
        )
        named = self.routing.full_table.on_named if config.large_table else None
        alive = KnownAlive(config)
        self.knowledge = NetworkKnowledge(RttEstimator(config), NetworkSize(config), named, alive)
        self.jobs = JobRunner(config.max_jobs, self.routing, trace, self.knowledge.rtt, alive)
        self.liveness = ProbeList(config, local, self.jobs, self.routing)
        knowledge = self.knowledge
        self._around = Surroundings(
            config,
            local,
            self.routing,
            self.seeds,
            entropy,
            knowledge.rtt,
            knowledge.size,
            self._note_named,
        )
        self.named_us: deque[PeerInfo] = deque(maxlen=MAX_NAMED)
        self.maintenance = Maintenance(
            config,
            self.jobs,
            entropy,
            now,
            refresh=self._refresh,
            announce=self._announce,
            sweep=self._sweep,
        )
        self._seeds: tuple[PeerInfo, ...] = ()  # of the last bootstrap, used again when the table is empty
        self._alone_s = config.alone_retry_s  # until the next attempt to join, while the table is empty

    # --- events from the shell

    @property
    def local(self) -> PeerInfo:
        """This node, with the addresses where others may reach it."""
        return self._local

    def set_local_addrs(self, addrs: Iterable[Multiaddr]) -> None:
        """Sets our listen addresses, most useful first; addresses beyond max_addrs_per_peer are dropped."""
        bare = tuple(addr.without_peer() for addr in addrs)[: self.config.max_addrs_per_peer]
        self._local = PeerInfo(self._local.peer_id, bare)
        self.handlers.set_local(self._local)
        self.routing.set_local(self._local)

    def on_peer_identified(self, peer: PeerInfo, protocols: Collection[str], now: float) -> None:
        """A connected peer identified itself: `peer.addrs` are the *listen* addresses of its identify
        message.

        This is the only way into the table, so neither hearsay nor an ephemeral source port ever gets there.
        """
        self.knowledge.on_identified(peer.peer_id, protocols, now)
        oldest = self.routing.on_identified(peer, protocols, now)
        if oldest is not None:
            self.liveness.check(oldest, now)
        self.jobs.on_peer_identified(now)
        if self.routing.is_refresh_wanted:
            self._look_at_table(now)

    def on_peer_disconnected(self, peer_id: PeerId, now: float) -> None:
        """The last connection to the peer ended."""
        self.knowledge.on_disconnected(peer_id)
        self.routing.on_disconnected(peer_id)

    def on_peer_unreachable(self, peer_id: PeerId, now: float) -> None:
        """No address of the peer could be dialled."""
        self.routing.on_failure(peer_id, FailureKind.UNREACHABLE, now)
        self._look_at_table(now)

    def handle_request(self, sender: PeerId, body: bytes, now: float, block: bytes = NEARBY) -> bytes | None:
        """The reply to one request (unframed); None: there is no reply. Raises PeerFault: reset the stream.

        `block`: the address block of the sender.
        """
        if self.mode is _CLIENT:
            raise PeerFault("a client serves no requests", protocol=self.config.protocol)
        return self.handlers.handle(sender, body, now, block)

    def handle_reply(self, request_id: int, protocol: str, payload: bytes, now: float) -> None:
        """The reply to a SendRequest; ignored if it is no longer awaited."""
        self.jobs.handle_reply(request_id, protocol, payload, now)
        if self.routing.is_refresh_wanted:
            self._look_at_table(now)

    def handle_failure(self, request_id: int, kind: FailureKind, now: float) -> None:
        """The failure of a SendRequest."""
        self.jobs.handle_failure(request_id, kind, now)
        self._look_at_table(now)

    def next_timer(self) -> float:
        """When to call `handle_timer`."""
        when = self.maintenance.timer
        other = self.jobs.next_timer()
        if other is not None and other < when:
            when = other
        other = self.liveness.next_timer()
        return when if other is None or when < other else other

    def handle_timer(self, now: float) -> None:
        """Lets time pass."""
        try:
            run_all((self.jobs.handle_timer, self.maintenance.handle_timer, self.liveness.handle_timer), now)
        finally:
            self._look_at_table(now)

    def poll_actions(self) -> list[SendRequest]:
        """Requests to send."""
        return self.jobs.poll_actions()

    def poll_events(self) -> list[object]:
        """JobProgress, JobFinished and JobFault."""
        return self.jobs.poll_events()

    # --- state

    @property
    def table_size(self) -> int:
        """Peers in the table."""
        return len(self.routing)

    def contacts(self) -> list[Contact]:
        """The table's entries."""
        return self.routing.contacts()

    def closest(self, key: bytes, count: int) -> list[PeerInfo]:
        """The peers of the table closest to a raw key, closest first."""
        return [contact.info for contact in self.routing.nearest(kad_key(key), count)]

    def closer_to(self, target: KadKey, exclude: PeerId | None, head: bytes = b"") -> bytes:
        """`head`, then the k closest to a 32-byte target without `exclude`, as tagged closerPeers entries."""
        return self.routing.joined(head, target, exclude.key if exclude else None, self.config.k)

    def seeds(self, target: KadKey, now: float) -> list[PeerInfo]:
        """Where a lookup of a 32-byte target starts; its bucket counts as refreshed.

        Twice k, because others name only k, dead ones among them; then our own table supplies the next ones.
        """
        routing, count = self.routing, 2 * self.config.k
        routing.mark_refreshed(target, now)
        near = [contact.info for contact in routing.nearest(target, count)]
        return near + routing.full_table.nearest(target, count) if len(routing.full_table) else near

    def nearest_ids(self, target: KadKey, count: int) -> list[PeerId]:
        """The peers of the table closest to a 32-byte key, closest first."""
        return [contact.info.peer_id for contact in self.routing.nearest(target, count)]

    def take_newcomers(self) -> list[Newcomer]:
        """Peers that entered the table since the last call."""
        newcomers = self.routing.newcomers
        taken = list(newcomers)
        newcomers.clear()
        return taken

    def take_named_us(self) -> list[PeerInfo]:
        """This node's entries as other peers have them, since the last call: another node may have our
        key."""
        named = self.named_us
        taken = list(named)
        named.clear()
        return taken

    # --- jobs

    def start(self, job: Job, now: float) -> int:
        """Starts a job; JobProgress and JobFinished carry the id returned. Raises Busy."""
        return self.jobs.start(job, now)

    def cancel(self, job_id: int, now: float) -> None:
        """Ends a job with what it has."""
        self.jobs.cancel(job_id, now)

    def search(self, key: bytes, query: Query) -> Lookup:
        """A lookup towards a raw key, to be driven by a job; nothing has been added yet."""
        kind = IterativeLookup if self.config.disjoint_paths == 1 else DisjointLookup
        return kind(kad_key(key), query, self.config, self._local.peer_id, self.knowledge)

    def lookup_job(self, key: bytes, query: Query, timeout_s: float | None = None) -> LookupJob:
        """A lookup towards a raw key with any query. Result: LookupResult; progress: the items of answers."""
        return LookupJob(self.search(key, query), self.seeds, self._timeout(timeout_s))

    def store_job(
        self, key: bytes, find: Query, store: PutRequest, timeout_s: float | None = None, retry_s: float = 0.0
    ) -> PutJob:
        """Puts something on the k closest to a raw key; retried for `retry_s` seconds while the quorum is
        missing. Result: PutResult; progress: its `Outcome` at the quorum."""
        timeout_s = self._timeout(timeout_s)
        return PutJob(
            self.search(key, find),
            store,
            self.seeds,
            self.config,
            timeout_s,
            self.knowledge.size,
            lambda: self.search(key, find),
            retry_s,
        )

    def find_node(self, key: bytes, timeout_s: float | None = None) -> LookupJob:
        """Finds the k closest peers to a raw key (a peer id's bytes, a content key). Result: LookupResult."""
        return self.lookup_job(key, FindNode(self.config, RawKey(key)), timeout_s)

    def bootstrap(self, seeds: Sequence[PeerInfo], timeout_s: float | None = None) -> BootstrapJob:
        """Joins through `seeds`, which are queried again whenever the table becomes empty.

        Result: BootstrapResult; progress: SeedSettled.
        """
        self._seeds = tuple(seeds[: self.config.max_seeds])
        return BootstrapJob(self._around, seeds, self._timeout(timeout_s))

    def forget_seeds(self, peers: Collection[PeerId]) -> None:
        """Drops seeds that turned out to be this node."""
        self._seeds = tuple(seed for seed in self._seeds if seed.peer_id not in peers)

    def get_value(
        self, key: bytes, now: float, quorum: Quorum | int = Quorum.ONE, timeout_s: float | None = None
    ) -> GetValueJob:
        """Gets a value on which enough holders agree. Result: GetValueResult; progress: FoundValue. Raises
        CallerFault."""
        self._check_key(key, self.config.max_key_bytes)
        check_quorum(quorum)
        enough = 1 if quorum is Quorum.ONE else quorum if isinstance(quorum, int) else None
        query = _as_callers_fault("key", lambda: GetValueQuery(self.config, key, self._rules, enough))
        own = self.handlers.valid_record(key, now)
        return GetValueJob(self.search(key, query), query, self.seeds, self._timeout(timeout_s), quorum, own)

    def put_value(
        self,
        key: bytes,
        value: bytes,
        now: float,
        quorum: Quorum | int = Quorum.MAJORITY,
        timeout_s: float | None = None,
    ) -> PutJob:
        """Stores a value here at once, and through the job at the k closest; announced until `unpublish`.

        Result: PutResult; progress: its `Outcome` at the quorum. Raises CallerFault.
        """
        self._check_key(key, self.config.max_key_bytes)
        check_quorum(quorum)
        job = self._put_job(key, value, quorum, now, timeout_s)
        self.maintenance.publish(Own.VALUE, key, value, now)
        return job

    def put_value_once(
        self, key: bytes, value: bytes, now: float, quorum: Quorum | int, timeout_s: float | None = None
    ) -> PutJob:
        """Like `put_value`, but without announcing again, which is up to the program that owns the value.
        Here the value uses the room for others' values: CallerFault("value") if that is full."""
        self._check_key(key, self.config.max_key_bytes)
        check_quorum(quorum)
        source = Source(NEARBY, self._local.peer_id.raw)
        return self._put_job(key, value, quorum, now, timeout_s, source)

    def provide(self, key: bytes, now: float, timeout_s: float | None = None) -> PutJob:
        """Announces this node as a provider of `key` until `unpublish`. Result: PutResult. Raises
        CallerFault."""
        self._check_key(key, self.config.max_provider_key_bytes)
        self.maintenance.publish(Own.PROVIDER, key, b"", now)
        return self._provide_job(key, now, timeout_s)

    def unpublish(self, kind: Own, key: bytes) -> bool:
        """Stops announcing; what others hold expires by itself. Returns whether it was announced."""
        if kind is Own.PROVIDER:
            self.handlers.providers.remove(key, self._local.peer_id)
        return self.maintenance.unpublish(kind, key)

    def find_providers(
        self, key: bytes, now: float, limit: int | None = None, timeout_s: float | None = None
    ) -> FindProvidersJob:
        """Finds providers of a key; `limit` are enough. Result: FindProvidersResult; progress: PeerInfo."""
        self._check_key(key, self.config.max_provider_key_bytes)
        handlers = self.handlers
        query = GetProviders(
            self.config, RawKey(key), limit, lambda now: handlers.withdrawn_providers(key, now)
        )
        own = tuple(handlers.known_providers(key, now))
        return FindProvidersJob(self.search(key, query), query, self.seeds, self._timeout(timeout_s), own)

    # --- private

    def _timeout(self, timeout_s: float | None) -> float:
        if timeout_s is None:
            return self.config.job_timeout_s
        if not timeout_s > 0:
            raise CallerFault("timeout_s", f"expects a positive number, got {timeout_s}")
        return timeout_s

    def _check_key(self, key: bytes, limit: int) -> None:
        if not 0 < len(key) <= limit:
            raise CallerFault("key", f"expects 1 to {limit} bytes, got {len(key)}")

    def _put_job(
        self,
        key: bytes,
        value: bytes,
        quorum: Quorum | int,
        now: float,
        timeout_s: float | None,
        source: Source | None = None,
    ) -> PutJob:
        record = Record(key, value, now, now + self.config.record_ttl_s, self._local.peer_id.raw)
        _as_callers_fault("key", lambda: rule_for(self._rules, key))
        _as_callers_fault("value", lambda: self.handlers.store_record(record, now, source))
        store = PutValueRequest(self.config, record, quorum, now)
        find = FindNode(self.config, RawKey(key), spans_region=True)
        return self.store_job(key, find, store, timeout_s, timeout_s or 0.0)

    def _provide_job(self, key: bytes, now: float, timeout_s: float | None) -> PutJob:
        if self._local.addrs:
            self.handlers.providers.add(key, self._local, now)
        store = AnnounceProvider(self.config, RawKey(key), lambda: self._local)
        find = FindNode(self.config, RawKey(key), spans_region=True)
        return self.store_job(key, find, store, timeout_s, timeout_s or 0.0)

    def _refresh(self, now: float) -> Job | None:
        timeout_s = self.config.job_timeout_s
        if len(self.routing):
            self._alone_s = self.config.alone_retry_s
            return BootstrapJob(self._around, (), timeout_s, self.routing.stale_buckets)
        self.maintenance.refresh_soon(self._alone_s, 0.0, now)
        self._alone_s = min(2 * self._alone_s, self.config.refresh_interval_s)
        return BootstrapJob(self._around, self._seeds, timeout_s) if self._seeds else None

    def _note_named(self, us: PeerInfo) -> None:
        self.named_us.append(us)
        self.routing.turn.is_wanted = True

    def _look_at_table(self, now: float) -> None:
        """Schedules a refresh if an unresponsive peer is back, and perhaps others we do not know; or if the
        table is empty."""
        if not self.routing.is_refresh_wanted:
            return
        self.routing.is_refresh_wanted = False
        config = self.config
        if len(self.routing):
            self.maintenance.refresh_soon(config.return_delay_s, config.return_pause_s, now)
        else:
            self.maintenance.refresh_soon(config.alone_retry_s, 0.0, now)

    def _announce(self, kind: Own, key: bytes, value: bytes, now: float) -> Job:
        if kind is Own.VALUE:
            return self._put_job(key, value, Quorum.MAJORITY, now, None)
        return self._provide_job(key, now, None)

    def _sweep(self, now: float) -> None:
        self.handlers.records.expire(now)
        self.handlers.providers.expire(now)


def _as_callers_fault(field: str, action: Callable[[], _T]) -> _T:
    """Runs a check made for strangers on a caller's argument."""
    try:
        return action()
    except PeerFault as fault:
        raise CallerFault(field, fault.reason) from None
