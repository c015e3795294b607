"""Joining the network, and staying in it (specs kad-dht, "Bootstrap process").

A bootstrap is complete when the node is usable: seeds are connected and identified, a lookup of our own id
has ended, the buckets farther than our closest neighbour have had a lookup, and every peer that answered is
identified. A second self-lookup finds peers that joined at the same time and were in no table before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from fastmarket.config import KadConfig
from fastmarket.formats.choice import FailureKind
from fastmarket.formats.identity import PeerId
from fastmarket.formats.kad_key import KadKey, RawKey, kad_key
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.events import SendRequest
from fastmarket.kad.jobs import PeerWatcher
from fastmarket.kad.lookup.iterative import IterativeLookup, NetworkKnowledge
from fastmarket.kad.lookup.lookup_job import Seeds
from fastmarket.kad.lookup.network_size import NetworkSize
from fastmarket.kad.lookup.queries import FindNode, FindSelf
from fastmarket.kad.lookup.rtt import RttEstimator
from fastmarket.kad.routing.table import RoutingTable
from fastmarket.native.sha256 import sha256_many

# Concurrent lookups of a refresh, which is not urgent.
PARALLEL_LOOKUPS = 3
# Tokens: the number of the lookup times this, plus the lookup's own token; seeds have number 0.
_TOKENS_EACH = 1 << 20
_NEVER = float("-inf")
# Hashes per call in the search for a key in a bucket.
_HASH_BATCH = 512


class Phase(Enum):
    """The phase of a bootstrap."""

    SEEDS = auto()  # seeds are queried; left when all have settled, or some have and the rest is slow
    LOOKUPS = auto()  # self-lookup, then buckets; left when none is planned or running
    # Peers that answered are being identified; left when all are, or after settle_s: the first time for a
    # second self-lookup, then for the end.
    IDENTIFYING = auto()
    DONE = auto()


@dataclass(frozen=True, slots=True)
class SeedSettled:
    """Progress: one seed is connected and identified, or failed; `remaining_count` have not settled."""

    peer: PeerInfo
    failure: FailureKind | None
    remaining_count: int


@dataclass(frozen=True, slots=True)
class BootstrapResult:
    """`known_count` servers are known; the deadline cut off `remaining_count` lookups (0: the bootstrap is
    complete).

    `unanswered_count` requests of its lookups were not answered: part of the network may have been busy
    joining, like this node. The buckets concerned do not count as refreshed.
    """

    connected: tuple[PeerInfo, ...]
    failed: tuple[tuple[PeerInfo, FailureKind], ...]
    known_count: int
    remaining_count: int
    unanswered_count: int = 0


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a bootstrap works with."""

    config: KadConfig
    local: PeerId
    routing: RoutingTable
    seeds: Seeds
    entropy: Callable[[int], bytes]
    rtt: RttEstimator  # shared, so that a node which has just joined knows how fast its peers are
    size: NetworkSize
    named: Callable[[PeerInfo], None]
    """Called with this node's entry as other peers have it (`FindSelf`)."""

    def key_in(self, bucket: int) -> RawKey:
        """A raw key whose hash falls into `bucket`, found by trial."""
        nonce = self.entropy(16)
        for start in range(0, 16 << bucket, _HASH_BATCH):
            raws = [nonce + number.to_bytes(4, "big") for number in range(start, start + _HASH_BATCH)]
            for raw, target in zip(raws, sha256_many(raws), strict=True):
                if self.routing.bucket_of(KadKey(target)) == bucket:
                    return RawKey(raw)
        return RawKey(nonce)  # once in a million times, for another bucket

    def lookup(self, raw_key: RawKey, target: KadKey, now: float) -> IterativeLookup:
        """A FIND_NODE lookup, seeded from the table."""
        knowledge = NetworkKnowledge(self.rtt, self.size)
        own = raw_key == self.local.raw
        query = FindSelf(self.config, self.local, self.named) if own else FindNode(self.config, raw_key)
        lookup = IterativeLookup(target, query, self.config, self.local, knowledge)
        lookup.add(self.seeds(target, now))
        return lookup


class _SeedRound:
    """The seeds of one bootstrap, and what became of each."""

    __slots__ = ("_answered", "_pending", "_routing", "connected", "events", "failed")

    def __init__(self, seeds: Sequence[PeerInfo], routing: RoutingTable) -> None:
        self._pending = dict(enumerate(seeds))
        self._answered: set[int] = set()
        self._routing = routing
        self.connected: list[PeerInfo] = []
        self.failed: list[tuple[PeerInfo, FailureKind]] = []
        self.events: list[object] = []

    @property
    def pending(self) -> dict[int, PeerInfo]:
        """Seeds that have not settled."""
        return self._pending

    def on_answer(self, index: int) -> None:
        """The seed answered; it counts as connected once it is identified."""
        self._answered.add(index)
        self.check_identified()

    def check_identified(self) -> None:
        """Settles the answered seeds that have been identified by now."""
        for index in [index for index in self._answered if index in self._pending]:
            peer = self._pending[index]
            if self._routing.is_identified(peer.peer_id):
                del self._pending[index]
                self.connected.append(peer)
                self.events.append(SeedSettled(peer, None, len(self._pending)))

    def on_failure(self, index: int, kind: FailureKind) -> None:
        """The seed failed."""
        peer = self._pending.pop(index, None)
        if peer is not None:
            self.failed.append((peer, kind))
            self.events.append(SeedSettled(peer, kind, len(self._pending)))

    def give_up(self) -> None:
        """Fails the seeds that have not settled."""
        for index in list(self._pending):
            self.on_failure(index, FailureKind.TIMEOUT)


class BootstrapJob(PeerWatcher):
    """Seeds, self-lookup, buckets, self-lookup; without seeds, a refresh. Result: BootstrapResult."""

    __slots__ = (
        "_again",
        "_around",
        "_buckets",
        "_lookups",
        "_met",
        "_number",
        "_phase",
        "_plan",
        "_round",
        "_started",
        "_targets",
        "_unanswered",
        "_wake",
    )

    def __init__(
        self,
        around: Surroundings,
        seeds: Sequence[PeerInfo],
        timeout_s: float,
        buckets: Callable[[float], Sequence[int]] | None = None,
    ) -> None:
        """`buckets(now)`: the buckets that need a lookup; None: all that are farther than the closest
        neighbour."""
        super().__init__(timeout_s)
        self._around = around
        self._buckets = buckets
        self._started = 0.0
        self._phase = Phase.SEEDS
        self._round = _SeedRound([seed for seed in seeds if seed.peer_id != around.local], around.routing)
        # Buckets that need a lookup; None is our own key.
        self._plan: list[int | None] = []
        self._lookups: dict[int, IterativeLookup] = {}
        self._targets: dict[int, KadKey] = {}  # of the lookups for buckets
        self._unanswered = 0
        self._number = 0  # of the last lookup
        self._again = False  # a second self-lookup is still to come
        self._met: list[PeerInfo] = []  # answered, and to be identified before the end
        self._wake: float | None = None  # when the phase times out

    def start(self, now: float) -> None:
        super().start(now)
        self._started = now

    def poll_requests(self, now: float) -> list[SendRequest]:
        """The requests of the current phase."""
        requests: list[SendRequest] = []
        if self._phase is Phase.SEEDS:
            requests = self._poll_seeds(now)
        while self._phase in (Phase.LOOKUPS, Phase.IDENTIFYING):
            if self._phase is Phase.LOOKUPS:
                requests += self._poll_lookups(now)
                if self._phase is Phase.LOOKUPS:
                    break
            if not self._all_identified(now):
                break
            self._after_identifying()
        return requests

    def on_reply(self, token: int, protocol: str, payload: bytes, now: float) -> None:
        number, own = divmod(token, _TOKENS_EACH)
        if number == 0:
            around = self._around
            FindSelf(around.config, around.local, around.named).read(
                PeerInfo(around.local), protocol, payload, now
            )
            self._round.on_answer(own)
        elif number in self._lookups:
            self._lookups[number].on_reply(own, protocol, payload, now)

    def on_failure(self, token: int, kind: FailureKind, now: float) -> None:
        number, own = divmod(token, _TOKENS_EACH)
        if number == 0:
            self._round.on_failure(own, kind)
        elif number in self._lookups:
            self._lookups[number].on_failure(own, kind, now)

    def on_peer_identified(self, now: float) -> None:
        """The peer may be one that this job waits for."""
        self._round.check_identified()

    def next_timer(self) -> float | None:
        """The earliest of the phase's timeout, the lookups' timers, and the deadline."""
        timers = [self._deadline]
        if self._wake is not None:
            timers.append(self._wake)
        timers += [when for lookup in self._lookups.values() if (when := lookup.next_timer()) is not None]
        return min(timers)

    def handle_timer(self, now: float) -> None:
        """Gives up what has taken too long."""
        if now >= self._deadline:
            self._finish()
            return
        for lookup in self._lookups.values():
            lookup.handle_timer(now)

    def poll_events(self) -> list[object]:
        """SeedSettled for each seed."""
        events, self._round.events = self._round.events, []
        return events

    def cancel(self, now: float) -> None:
        self._finish()

    def _poll_seeds(self, now: float) -> list[SendRequest]:
        around, seeds = self._around, self._round
        config = around.config
        requests: list[SendRequest] = []
        if self._wake is None:  # the first poll
            choices = FindNode(config, RawKey(around.local.raw)).choices(PeerInfo(around.local))
            timeout_s = config.request_timeout_s
            requests = [SendRequest(index, peer, choices, timeout_s) for index, peer in seeds.pending.items()]
        give_up_at = self._started + config.request_timeout_s
        # One seed is enough to go on; the others are waited for like any late peer.
        self._wake = self._started + config.settle_s if seeds.connected else give_up_at
        if now >= give_up_at:
            seeds.give_up()
        if not seeds.pending or now >= self._wake:
            self._wake = None
            self._phase = Phase.LOOKUPS
            self._plan = [None]
        return requests

    def _poll_lookups(self, now: float) -> list[SendRequest]:
        requests: list[SendRequest] = []
        while True:
            for number, lookup in list(self._lookups.items()):
                base = number * _TOKENS_EACH
                requests += [
                    SendRequest(base + out.token, out.peer, out.choices, out.timeout_s)
                    for out in lookup.poll(now)
                ]
                if lookup.end is not None:
                    del self._lookups[number]
                    self._count(number, lookup)
                    self._met += [answered.peer for answered in lookup.closest()]
                    if number == 1:
                        self._plan_buckets(lookup, now)
            if not self._plan or len(self._lookups) >= self._parallel():
                break
            self._begin_lookup(self._plan.pop(0), now)
        if not self._plan and not self._lookups:
            self._phase = Phase.IDENTIFYING
            self._wake = now + self._around.config.settle_s
        return requests

    def _count(self, number: int, ended: IterativeLookup) -> None:
        """If seeds are connected and part of a lookup was not answered, its bucket needs another lookup
        soon."""
        target = self._targets.pop(number, None)
        if ended.queried_count > ended.answered_count and self._round.connected:
            self._unanswered += ended.queried_count - ended.answered_count
            if target is not None:
                self._around.routing.mark_refreshed(target, _NEVER)

    def _all_identified(self, now: float) -> bool:
        knows = self._around.routing.is_identified
        self._met = [peer for peer in self._met if not knows(peer.peer_id)]
        return not self._met or (self._wake is not None and now >= self._wake)

    def _after_identifying(self) -> None:
        """Looks up our own key once more, now that the peers met know us and those that joined with us; or
        ends."""
        if not self._again:
            self._finish()
            return
        self._again = False
        self._met.clear()
        self._wake = None
        self._plan = [None]
        self._phase = Phase.LOOKUPS

    def _parallel(self) -> int:
        """A lookup of our own key runs alone, because the others start from its results."""
        return 1 if self._plan[0] is None else PARALLEL_LOOKUPS

    def _begin_lookup(self, bucket: int | None, now: float) -> None:
        around = self._around
        if bucket is None:
            raw_key, target = RawKey(around.local.raw), around.local.key
        else:
            raw_key = around.key_in(bucket)
            target = self._targets[self._number + 1] = kad_key(raw_key)
        self._number += 1
        self._lookups[self._number] = around.lookup(raw_key, target, now)

    def _plan_buckets(self, own: IterativeLookup, now: float) -> None:
        """After the first self-lookup: plans the buckets, and whether to look up ourselves once more."""
        around = self._around
        nearest = own.closest()
        if not nearest:
            return
        if self._buckets is not None:
            wanted: Sequence[int] = self._buckets(now)
        else:
            # In buckets closer than the k-th closest peer, the self-lookup has met every peer.
            wanted = range(around.routing.bucket_of(nearest[-1].peer.peer_id.key) + 1)
        # With fewer than k queried in all, the self-lookup has met every peer, and so will the next one.
        if own.queried_count >= around.config.k:
            self._plan += [bucket for bucket in wanted if bucket <= around.config.max_refresh_bucket]
        self._again = bool(self._round.connected)

    def _finish(self) -> None:
        if self.result is not None:
            return
        self._round.give_up()
        self._phase = Phase.DONE
        self.result = BootstrapResult(
            tuple(self._round.connected),
            tuple(self._round.failed),
            self._around.routing.known_count(),
            len(self._plan) + len(self._lookups) + self._again,
            self._unanswered,
        )
        self._lookups.clear()
