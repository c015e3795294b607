"""The iterative lookup: ever closer peers, at most alpha requests in flight, never in lockstep (specs
kad-dht)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from fastmarket.config import KadConfig
from fastmarket.formats.choice import FailureKind
from fastmarket.formats.identity import PeerId
from fastmarket.formats.kad_key import KadKey
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.formats.scope import ip_group
from fastmarket.kad.events import SendRequest
from fastmarket.kad.lookup.known_alive import KnownAlive
from fastmarket.kad.lookup.liveness_shortcut import liveness_shortcut
from fastmarket.kad.lookup.lookup import End, Lookup
from fastmarket.kad.lookup.network_size import NetworkSize
from fastmarket.kad.lookup.policy import STATE_TABLE, hold_s, slow_hold_s
from fastmarket.kad.lookup.query import Query
from fastmarket.kad.lookup.region import region_reach
from fastmarket.kad.lookup.rtt import RttEstimator
from fastmarket.native.candidates import Answered, Candidate, Candidates


@dataclass(frozen=True, slots=True)
class NetworkKnowledge:
    """What the lookups of a node have learned, for later ones."""

    rtt: RttEstimator
    size: NetworkSize
    named: Callable[[Iterable[PeerInfo]], None] | None = None
    """Called with the peers of every answer."""
    alive: KnownAlive | None = None
    """Peers that count without being queried; None: every peer is queried."""

    def on_identified(self, peer_id: PeerId, protocols: Collection[str], now: float) -> None:
        """A connection to the peer is open and the peer has told its protocols."""
        self.rtt.on_connected(peer_id)
        if self.alive is not None:
            self.alive.on_identified(peer_id, protocols, now)

    def on_disconnected(self, peer_id: PeerId) -> None:
        """The last connection to the peer ended."""
        self.rtt.on_disconnected(peer_id)
        if self.alive is not None:
            self.alive.on_disconnected(peer_id)


# There is no node, or it speaks none of our protocols.
_ABSENT = (FailureKind.GONE, FailureKind.REFUSED)

# Which path queried a peer, for lookups that share one query: by 32-byte key.
Claims = dict[KadKey, Candidate]


class IterativeLookup(Lookup):
    """The algorithm for one query. It does no I/O: it is polled for requests and fed their outcomes.

    It ends when the closest peers it knows (`native.candidates`), except failed ones, have answered; for a
    query that spans a region (`kad.lookup.region`), all that lie in it. A late peer among them is waited for
    in proportion to the slowest answer. Peers beyond them are not queried, and
    never more than `max_asked` peers in all.

    If only peers are wanted, those known to be alive need not answer again (`kad.lookup.liveness_shortcut`),
    except the `min_queried` closest, which by then have named the closer peers they know.
    """

    __slots__ = (
        "_absent_count",
        "_alive",
        "_answered_count",
        "_awaited_count",
        "_claims",
        "_config",
        "_failed_count",
        "_held_until",
        "_hops",
        "_named",
        "_outstanding",
        "_queried_count",
        "_query",
        "_rtt",
        "_size",
        "_slow_hold_s",
        "_slowest_s",
        "candidates",
    )

    def __init__(
        self,
        target: KadKey,
        query: Query,
        config: KadConfig,
        local: PeerId,
        knowledge: NetworkKnowledge | None = None,
        claims: Claims | None = None,
    ) -> None:
        """`local` is never queried.

        `claims` are shared with other lookups for the same query: a peer that one of them queries, the others
        do not. Such a lookup says little about the size of the network, so it does not report it.
        """
        self.target = target
        self.end = None
        self._answered_count = 0
        self._failed_count = 0
        self._absent_count = 0
        self._hops = 0
        self._query = query
        self._config = config
        knowledge = knowledge or NetworkKnowledge(RttEstimator(config), NetworkSize(config))
        self._rtt = knowledge.rtt
        self._size = knowledge.size
        self._named = knowledge.named
        self._alive = knowledge.alive
        self._claims = claims
        self.candidates = Candidates(target, local.key, config, STATE_TABLE, ip_group, claims)
        # On disjoint paths no peer is trusted for having been there before.
        if claims is None:
            self.candidates.shortcut = liveness_shortcut(query, config, knowledge.alive, knowledge.size)
        self.candidates.reach = region_reach(query, config, knowledge.size)
        self._queried_count = 0
        self._outstanding: dict[int, Candidate] = {}  # by token, in the order of queries
        self._slowest_s = -1.0
        self._slow_hold_s: float | None = None
        self._held_until: float | None = None
        # How many of the closest must answer before the next walk can change anything; 0: not known.
        self._awaited_count = 0

    @property
    def queried_count(self) -> int:
        return self._queried_count

    @property
    def heard_count(self) -> int:
        return self.candidates.heard_count

    @property
    def answered_count(self) -> int:
        return self._answered_count

    @property
    def failed_count(self) -> int:
        return self._failed_count

    @property
    def silent_count(self) -> int:
        return self._queried_count - self._answered_count - self._absent_count

    @property
    def hops(self) -> int:
        return self._hops

    @property
    def in_flight_count(self) -> int:
        """Slots in use: requests in flight that are not late."""
        return self.candidates.in_flight_count

    @property
    def is_only_late(self) -> bool:
        return self.end is None and self._answered_count > 0 and not self.candidates.in_flight_count

    def add(self, peers: Iterable[PeerInfo], hops: int = 1) -> None:
        """Adds peers that are `hops` away. Known ones, and this node itself, are ignored."""
        if self.candidates.add(peers, hops):
            self._awaited_count = 0

    def poll(self, now: float) -> list[SendRequest]:
        if self.end is not None or self._awaited_count > 0:
            return []
        requests: list[SendRequest] = []
        shortcut = self.candidates.shortcut
        end = self._walk(requests, now)
        if self.candidates.shortcut is not shortcut:
            end = self._walk(requests, now)
        if end is not None and requests:
            self._held_until = now  # queries to unresponsive peers, which do not delay the end
        elif end is not None:
            self._complete(end)
        return requests

    def _walk(self, requests: list[SendRequest], now: float) -> End | None:
        """Appends the queries due now to `requests`; returns the end if nothing has to be waited for."""
        candidates = self.candidates
        candidates.begin(now, self._queried_count, self._slow_hold_s)
        while (candidate := candidates.next_to_query()) is not None:
            requests.append(self._query_now(candidate, now))
        self._held_until, self._awaited_count = candidates.held_until, candidates.awaited_count
        if candidates.is_open:
            return None
        return End.LIMIT if candidates.is_cut else End.COMPLETE

    def on_reply(self, token: int, protocol: str, payload: bytes, now: float) -> tuple[object, ...]:
        candidate = self._outstanding.get(token)
        if candidate is None or self.end is not None:
            return ()
        answer = self._query.read(candidate.peer, protocol, payload, now)
        del self._outstanding[token]
        self.candidates.free_slot(candidate)
        took = candidate.answer(protocol, now)
        self._answered_count += 1
        self._awaited_count -= 1
        self._rtt.on_answer(candidate.peer.peer_id, took, candidate.connected)
        if took > self._slowest_s:
            self._slowest_s = took
            self._slow_hold_s = slow_hold_s(self._config, took)
        hops = candidate.hops
        if hops > self._hops:
            self._hops = hops
        if self.candidates.add(answer.closer, hops + 1):
            self._awaited_count = 0
        if self._named is not None:
            self._named(answer.closer)
        if answer.stop:
            self.end = End.STOPPED
        return answer.items

    def on_failure(self, token: int, kind: FailureKind, now: float) -> None:
        """Takes the failure of a request; the next closest moves up."""
        candidate = self._outstanding.get(token)
        if candidate is not None and self.end is None:
            del self._outstanding[token]
            self._awaited_count = 0
            self.candidates.free_slot(candidate)
            self.candidates.fail(candidate)
            self._failed_count += 1
            self._absent_count += kind in _ABSENT
            if kind is not FailureKind.BUSY:
                self._drop_shortcut(candidate)

    def on_lost(self, key: KadKey) -> None:
        """Drops a candidate; a complete lookup is resumed."""
        for candidate in self.candidates.listed():
            if candidate.key == key:
                self.candidates.fail(candidate)
                self._awaited_count = 0
                if self.end is End.COMPLETE:
                    self.end = None

    def stop(self, end: End) -> None:
        if self.end is None:
            self.end = end

    def next_timer(self) -> float | None:
        """When a slot is freed, a request fails, or a late peer is no longer waited for."""
        if self.end is not None:
            return None
        return self.candidates.next_timer(self._outstanding, self._held_until)

    def handle_timer(self, now: float) -> None:
        """Ages the requests in flight; poll afterwards."""
        outstanding = self._outstanding
        self._awaited_count = 0
        for candidate in self.candidates.overdue(now):
            self._rtt.on_late(candidate.peer.peer_id, now)
            self._fell_silent(candidate)
        while outstanding:
            token, candidate = next(iter(outstanding.items()))
            if candidate.queried_at + self._config.request_timeout_s > now:
                break
            self.on_failure(token, FailureKind.TIMEOUT, now)

    def closest(self) -> tuple[Answered, ...]:
        return self.candidates.closest()

    def storers(self) -> tuple[Answered, ...]:
        return self.candidates.storers()

    def nearest(self) -> list[Candidate]:
        return self.candidates.chosen(False)

    def own(self) -> list[Candidate]:
        """All candidates that this lookup has queried or may query, closest first."""
        claims, listed = self._claims, self.candidates.listed()
        if claims is None:
            return listed
        return [one for one in listed if claims.get(one.key, one) is one]

    def _query_now(self, candidate: Candidate, now: float) -> SendRequest:
        token = self._queried_count
        self._queried_count += 1
        peer, rtt = candidate.peer, self._rtt
        peer_id = peer.peer_id
        connected = peer_id.raw in rtt.connected
        self._outstanding[token] = candidate
        if self._claims is not None:
            self._claims[candidate.key] = candidate
        if peer_id.raw in rtt.unresponsive and rtt.is_unresponsive(peer_id, now):
            candidate.query_unresponsive(now, connected)
            self._fell_silent(candidate)
        else:
            late_s = rtt.soft_timeout_s(peer_id)
            self.candidates.query(candidate, now, connected, late_s, hold_s(self._config, late_s))
        return SendRequest(token, peer, self._query.choices(peer), self._config.request_timeout_s)

    def _complete(self, end: End) -> None:
        self.end = end
        if end is End.COMPLETE and self._claims is None:
            self._size.learn(self.target, self.candidates.closest_keys())

    def _fell_silent(self, late: Candidate) -> None:
        if self._alive is not None:
            self._alive.on_doubt(late.peer.peer_id)
        self._drop_shortcut(late)

    def _drop_shortcut(self, candidate: Candidate) -> None:
        """If a connected peer falls silent, others may have, too: from now on every peer is queried."""
        if candidate.connected:
            self.candidates.shortcut = None
