"""Values: puts and gets with a quorum, and correction of stale holders (specs kad-dht, "Value retrieval")."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from fastmarket.config import KadConfig
from fastmarket.errors import PeerFault
from fastmarket.formats.choice import Choice
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.events import SendRequest
from fastmarket.kad.lookup.lookup import End, Lookup
from fastmarket.kad.lookup.lookup_job import LookupJob, Seeds
from fastmarket.kad.lookup.queries import closer_peers, read_reply
from fastmarket.kad.lookup.query import Answer, Query, Quorum, quorum_size
from fastmarket.kad.records.record import Record, RecordRule, decode_record, encode_record, rule_for
from fastmarket.kad.wire.messages import Kind, encode_put, encode_request
from fastmarket.native.candidates import Answered

# No job waits for the answers to these requests; their tokens only have to be distinct.
_FIRST_CACHE_TOKEN = -1000


@dataclass(frozen=True, slots=True)
class FoundValue:
    """Progress: a valid value and its holder (None: this node)."""

    peer: PeerInfo | None
    record: Record


@dataclass(frozen=True, slots=True)
class GetValueResult:
    """`record` is the best one found. `agreed_count` nodes hold it and `holder_count` hold any valid record;
    both include this node.

    `corrected_count` peers were sent the best record; their answers are not awaited.
    """

    record: Record | None
    agreed_count: int
    holder_count: int
    wanted_count: int
    corrected_count: int
    closest: tuple[Answered, ...]
    end: End

    @property
    def has_succeeded(self) -> bool:
        """Whether a value was found and the quorum agrees on it."""
        return self.record is not None and self.agreed_count >= self.wanted_count


class GetValueQuery(Query):
    """Query for the value of a key. Collects what each peer holds; ends the lookup when enough peers
    agree."""

    __slots__ = ("_choices", "_config", "_enough", "_key", "_rule", "held", "holders")

    def __init__(
        self, config: KadConfig, key: bytes, rules: Mapping[bytes, RecordRule], enough: int | None
    ) -> None:
        """`enough` holders that agree end the lookup; None: it goes on to the k closest."""
        super().__init__(seeks_peers=False)
        self._config = config
        self._key = key
        self._rule = rule_for(rules, key)
        self._enough = enough
        self._choices = (Choice(config.protocol, encode_request(Kind.GET_VALUE, key)),)
        self.held: list[Record] = []
        self.holders: list[PeerInfo | None] = []  # parallel to `held`; None: this node

    def choices(self, peer: PeerInfo) -> tuple[Choice, ...]:
        """The same for all peers."""
        return self._choices

    def read(self, peer: PeerInfo, protocol: str, payload: bytes, now: float) -> Answer:
        """A valid value is an item. An invalid one is not, but the closer peers of its holder are used."""
        config = self._config
        message = read_reply(config, Kind.GET_VALUE, payload)
        closer = closer_peers(config, message)
        if message.record is None:
            return Answer(closer)
        record = decode_record(message.record, config.record_ttl_s, now)
        if record.key != self._key:
            raise PeerFault("record belongs to another key")
        try:
            if len(record.value) > config.max_value_bytes:
                return Answer(closer)
            self._rule.validate(self._key, record.value, now)
        except PeerFault:
            return Answer(closer)
        return Answer(closer, (self.take(peer, record),), self.has_enough)

    def take(self, peer: PeerInfo | None, record: Record) -> FoundValue:
        """Adds a holder."""
        self.held.append(record)
        self.holders.append(peer)
        return FoundValue(peer, record)

    @property
    def has_enough(self) -> bool:
        """Whether as many as wanted hold the best value."""
        return self._enough is not None and self.agreed_count >= self._enough

    @property
    def agreed_count(self) -> int:
        """Number of holders of the best value."""
        best = self.best()
        return 0 if best is None else sum(record.value == best.value for record in self.held)

    def best(self) -> Record | None:
        """The value the namespace's rule selects."""
        if not self.held:
            return None
        return self.held[self._rule.select(self._key, [record.value for record in self.held])]

    def stale(self, best: Record) -> list[PeerInfo]:
        """Peers that hold a value other than the best."""
        pairs = zip(self.holders, self.held, strict=True)
        return [peer for peer, record in pairs if peer is not None and record.value != best.value]

    @property
    def cache_ttl_s(self) -> float:
        """Lifetime of the copy cached on the path of the lookup."""
        return self._config.cache_ttl_s

    def corrections(
        self, peers: list[PeerInfo], best: Record, now: float, first_token: int = -1
    ) -> list[SendRequest]:
        """PUT_VALUE of the best record to `peers`, at most 2 k of them."""
        payload = encode_put(self._key, encode_record(best, now))
        choices = (Choice(self._config.protocol, payload),)
        timeout_s = self._config.request_timeout_s
        return [
            SendRequest(first_token - index, peer, choices, timeout_s)
            for index, peer in enumerate(peers[: 2 * self._config.k])
        ]


class GetValueJob(LookupJob):
    """A lookup for a value. Progress: FoundValue; result: GetValueResult."""

    __slots__ = ("_cached", "_corrections", "_own", "_query", "_quorum")

    def __init__(
        self,
        lookup: Lookup,
        query: GetValueQuery,
        seeds: Seeds,
        timeout_s: float,
        quorum: Quorum | int,
        own: Record | None,
    ) -> None:
        """`own`: the value held here, which counts as one holder."""
        super().__init__(lookup, seeds, timeout_s)
        self._query = query
        self._quorum = quorum
        self._own = own
        self._corrections: list[SendRequest] = []
        self._cached: list[SendRequest] = []

    def start(self, now: float) -> None:
        """The value held here may already be enough."""
        super().start(now)
        if self._own is not None:
            self._events.append(self._query.take(None, self._own))
            if self._query.has_enough:
                self.lookup.stop(End.STOPPED)

    def conclude(self, now: float) -> GetValueResult:
        """Chooses the best and prepares corrections for peers that hold a worse one, or should hold one and
        do not."""
        query, closest = self._query, self.lookup.closest()
        end = self.lookup.end or End.CANCELLED
        best = query.best()
        if best is not None and end is not End.CANCELLED:
            self._corrections = self._correct(best, closest, end, now)
            self._cached = self._cache(best, closest, end, now)
        return GetValueResult(
            best,
            query.agreed_count,
            len(query.held),
            quorum_size(self._quorum, len(closest)),
            len(self._corrections),
            closest,
            end,
        )

    def final_requests(self) -> list[SendRequest]:
        """The corrections, and the cached copy."""
        return self._corrections + self._cached

    def _cache(self, best: Record, closest: tuple[Answered, ...], end: End, now: float) -> list[SendRequest]:
        """If the lookup ended early, caches a copy for some time at the closest peer without one: so a
        popular key is found sooner (Maymounkov and Mazieres, section 2.3)."""
        if end is not End.STOPPED:
            return []
        holding = {peer.peer_id.raw for peer in self._query.holders if peer is not None}
        lacking = [one.peer for one in closest if one.peer.peer_id.raw not in holding]
        brief = replace(best, expires=min(best.expires, now + self._query.cache_ttl_s))
        return self._query.corrections(lacking[:1], brief, now, _FIRST_CACHE_TOKEN)

    def _correct(
        self, best: Record, closest: tuple[Answered, ...], end: End, now: float
    ) -> list[SendRequest]:
        peers = {peer.peer_id.raw: peer for peer in self._query.stale(best)}
        if end is End.COMPLETE:  # otherwise these may not be the closest
            holding = {peer.peer_id.raw for peer in self._query.holders if peer is not None}
            for answered in closest:
                if answered.peer.peer_id.raw not in holding:
                    peers[answered.peer.peer_id.raw] = answered.peer
        return self._query.corrections(list(peers.values()), best, now)


class PutValueRequest:
    """Puts one record with PUT_VALUE; the peer acknowledges by echoing it."""

    __slots__ = ("_choices", "_config", "_quorum", "_record")

    def __init__(self, config: KadConfig, record: Record, quorum: Quorum | int, now: float) -> None:
        self._config = config
        self._record = record
        self._quorum = quorum
        self._choices = (Choice(config.protocol, encode_put(record.key, encode_record(record, now))),)

    def choices(self, peer: PeerInfo, answered_protocol: str | None) -> tuple[Choice, ...]:
        """The same for all peers."""
        return self._choices

    def is_counted(self, peer: PeerInfo, answered_protocol: str | None) -> bool:
        """Every peer of this protocol counts."""
        return True

    def read_ack(self, peer: PeerInfo, protocol: str, payload: bytes, now: float) -> bool | None:
        """Whether key and value were echoed unchanged, as go checks it."""
        message = read_reply(self._config, Kind.PUT_VALUE, payload)
        if message.key != self._record.key or message.record is None:
            return False
        return decode_record(message.record, self._config.record_ttl_s, 0.0).value == self._record.value

    def refusal(self, peer: PeerInfo) -> tuple[str, bool]:
        """The peer answered with something other than the value."""
        return "refused", False

    def quorum_size(self, counting_peers: int) -> int:
        """The quorum of that many peers."""
        return quorum_size(self._quorum, counting_peers)
