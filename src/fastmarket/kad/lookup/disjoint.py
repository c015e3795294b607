"""One lookup on several paths that share no peer (Baumgart and Mies, "S/Kademlia", 2007, section 4.4).

A peer that names only its accomplices misleads the path it is on, and no other. The price is more requests:
each path has to approach the key by itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from fastmarket.config import KadConfig
from fastmarket.formats.choice import FailureKind
from fastmarket.formats.identity import PeerId
from fastmarket.formats.kad_key import KadKey
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.events import SendRequest
from fastmarket.kad.lookup.iterative import Claims, IterativeLookup, NetworkKnowledge
from fastmarket.kad.lookup.lookup import End, Lookup, earlier
from fastmarket.kad.lookup.query import Query
from fastmarket.native.candidates import Answered, Candidate

# Minimum of slots for each path: with one, a single slow peer would block it.
MIN_ALPHA = 3


class DisjointLookup(Lookup):
    """`disjoint_paths` lookups with one query; implements the same interface as a single lookup."""

    __slots__ = ("_paths", "_target")

    def __init__(
        self, target: KadKey, query: Query, config: KadConfig, local: PeerId, knowledge: NetworkKnowledge
    ) -> None:
        """`local` is never queried."""
        self.target = target
        self.end = None
        self._target = int.from_bytes(target, "big")
        paths = config.disjoint_paths
        each = replace(
            config,
            alpha=max(config.alpha // paths, MIN_ALPHA),
            max_asked=max(2 * config.max_asked // paths, 2 * config.k),
        )
        claims: Claims = {}
        self._paths = [IterativeLookup(target, query, each, local, knowledge, claims) for _ in range(paths)]

    @property
    def queried_count(self) -> int:
        """Peers queried so far, on all paths."""
        return sum(path.queried_count for path in self._paths)

    @property
    def heard_count(self) -> int:
        """Peers heard of so far; a peer on several paths counts on each."""
        return sum(path.heard_count for path in self._paths)

    @property
    def answered_count(self) -> int:
        return sum(path.answered_count for path in self._paths)

    @property
    def failed_count(self) -> int:
        return sum(path.failed_count for path in self._paths)

    @property
    def silent_count(self) -> int:
        return sum(path.silent_count for path in self._paths)

    @property
    def hops(self) -> int:
        """The most hops to a peer that answered, on any path."""
        return max(path.hops for path in self._paths)

    @property
    def is_only_late(self) -> bool:
        return (
            self.end is None
            and self.answered_count > 0
            and not any(path.in_flight_count for path in self._paths)
        )

    def add(self, peers: Iterable[PeerInfo]) -> None:
        """Deals the starting points out by distance, so that every path gets its share of the closest."""
        dealt = sorted(peers, key=lambda peer: self._distance(peer.peer_id.key))
        for number, path in enumerate(self._paths):
            path.add(dealt[number :: len(self._paths)])

    def poll(self, now: float) -> list[SendRequest]:
        """The requests of all paths. The lookup ends when all paths have ended."""
        if self.end is not None:
            return []
        requests, count = [], len(self._paths)
        for number, path in enumerate(self._paths):
            requests += [
                SendRequest(out.token * count + number, out.peer, out.choices, out.timeout_s)
                for out in path.poll(now)
            ]
        ends = {path.end for path in self._paths}
        if None not in ends:
            self.end = End.LIMIT if End.LIMIT in ends else End.COMPLETE
        return requests

    def on_reply(self, token: int, protocol: str, payload: bytes, now: float) -> tuple[object, ...]:
        """Takes an answer; only its path learns of the peers in it. Raises PeerFault: then call
        `on_failure`."""
        own, number = divmod(token, len(self._paths))
        items = self._paths[number].on_reply(own, protocol, payload, now)
        if self._paths[number].end is End.STOPPED:
            self.stop(End.STOPPED)
        return items

    def on_failure(self, token: int, kind: FailureKind, now: float) -> None:
        own, number = divmod(token, len(self._paths))
        self._paths[number].on_failure(own, kind, now)

    def on_lost(self, key: KadKey) -> None:
        """The peer is lost on every path."""
        for path in self._paths:
            path.on_lost(key)
        if self.end is End.COMPLETE:
            self.end = None

    def stop(self, end: End) -> None:
        if self.end is None:
            self.end = end
        for path in self._paths:
            path.stop(end)

    def next_timer(self) -> float | None:
        when = None
        for path in self._paths:
            timer = path.next_timer()
            when = when if timer is None else earlier(when, timer)
        return when

    def handle_timer(self, now: float) -> None:
        for path in self._paths:
            path.handle_timer(now)

    def closest(self) -> tuple[Answered, ...]:
        return self._paths[0].candidates.closest(self._all())

    def storers(self) -> tuple[Answered, ...]:
        return self._paths[0].candidates.storers(self._all())

    def nearest(self) -> list[Candidate]:
        return self._paths[0].candidates.chosen(False, self._all())

    def _all(self) -> list[Candidate]:
        """Every candidate once: as the path that queried it has it, or the path that would."""
        by_key: dict[KadKey, Candidate] = {}
        for path in self._paths:
            for candidate in path.own():
                by_key.setdefault(candidate.key, candidate)
        return sorted(by_key.values(), key=lambda candidate: self._distance(candidate.key))

    def _distance(self, key: KadKey) -> int:
        return int.from_bytes(key, "big") ^ self._target
