"""Measurements of lookups, stores and finds, and the figures computed from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

from fastmarket.formats.choice import Choice
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.lookup.query import Answer, Query

Figure: TypeAlias = float | int | None
Figures: TypeAlias = dict[str, Figure]

# One digit more than the resolution of the virtual latencies.
MS_DIGITS = 1
SHARE_DIGITS = 5


def percentile(values: Sequence[float], percent: float) -> float | None:
    """The nearest-rank percentile; None without values."""
    if not values:
        return None
    ordered = sorted(values)
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(int(rank), 1) - 1]


def spread(name: str, values: Sequence[float], digits: int | None = MS_DIGITS) -> Figures:
    """`name_p50`, `_p90`, `_p99` of some values."""
    figures: Figures = {}
    for percent in (50, 90, 99):
        value = percentile(values, percent)
        figures[f"{name}_p{percent}"] = None if value is None else round(value, digits)
    return figures


def share(part: int, whole: int) -> float | None:
    """Part of whole; None if the whole is 0."""
    return round(part / whole, SHARE_DIGITS) if whole else None


def mean(values: Sequence[float]) -> float | None:
    """The mean; None without values."""
    return round(sum(values) / len(values), SHARE_DIGITS) if values else None


class Missed(Enum):
    """How far a lookup got with one of the true k closest that it did not return."""

    UNHEARD = "never_named"  # by no answer; it may be in the node's own table, too far down to be queried
    HEARD = "named_not_asked"
    SILENT = "asked_no_answer"  # in time
    ANSWERED = "answered_not_returned"


class Referrals(Query):
    """A query that records which peer named which others; otherwise it behaves like the one it wraps.

    A peer in the node's own table is one hop away; a peer first named by one at n hops, n + 1.
    """

    def __init__(self, query: Query) -> None:
        super().__init__(query.seeks_peers)
        self._query = query
        self._log: list[tuple[bytes, tuple[PeerInfo, ...] | None]] = []
        """In order: queries (None), and answers with the peers they named."""

    def choices(self, peer: PeerInfo) -> tuple[Choice, ...]:
        self._log.append((peer.peer_id.raw, None))
        return self._query.choices(peer)

    def read(self, peer: PeerInfo, protocol: str, payload: bytes, now: float) -> Answer:
        answer = self._query.read(peer, protocol, payload, now)
        self._log.append((peer.peer_id.raw, answer.closer))
        return answer

    def hops(self, peer: PeerInfo) -> int:
        """Number of consecutive requests that led to the peer's answer. A peer that was queried before any
        other named it was in the table."""
        wanted, hops = peer.peer_id.raw, 1
        while (namer := self._first_namer(wanted)) is not None:
            wanted = namer
            hops += 1
        return hops

    def missed(self, raw_id: bytes) -> Missed:
        """Why a peer that should have been returned was not."""
        of_it = [named for raw, named in self._log if raw == raw_id]
        if any(named is not None for named in of_it):
            return Missed.ANSWERED
        if of_it:
            return Missed.SILENT
        return Missed.UNHEARD if self._first_namer(raw_id) is None else Missed.HEARD

    def _first_namer(self, raw_id: bytes) -> bytes | None:
        """The peer that named another before that was queried; None if there is none."""
        for raw, named in self._log:
            if named is None:
                if raw == raw_id:
                    return None
                continue
            for info in named:
                if info.peer_id.raw == raw_id:
                    return raw
        return None


@dataclass(slots=True)
class LookupFigures:
    """Results of lookups for the k closest nodes to a key."""

    exact_count: int = 0  # that returned the true k closest
    shares: list[float] = field(default_factory=list)  # found shares of the true k closest
    hops: list[int] = field(default_factory=list)  # to the closest peer returned
    asked: list[int] = field(default_factory=list)
    unanswered: list[int] = field(default_factory=list)  # of the queried peers, at the end of the lookup
    ms: list[float] = field(default_factory=list)
    missed: Counter[Missed] = field(default_factory=Counter)  # the true k closest not returned, by reason
    abandoned_count: int = 0  # their nodes left before the end; not counted otherwise

    @property
    def done_count(self) -> int:
        """Ended or abandoned lookups."""
        return len(self.ms) + self.abandoned_count

    def figures(self) -> Figures:
        """For the report."""
        count = len(self.ms)
        return {
            "count": count,
            "success": share(self.exact_count, count),
            **{f"missed_{how.value}": self.missed[how] for how in Missed},
            "share_of_true_closest": mean(self.shares),
            **spread("hops", self.hops, None),
            "hops_mean": mean(self.hops),
            "hops_max": max(self.hops, default=None),
            "asked_mean": mean(self.asked),
            **spread("asked", self.asked, None),
            "unanswered_mean": mean(self.unanswered),
            **spread("ms", self.ms),
        }


@dataclass(slots=True)
class StoreFigures:
    """Results of announcements of offers."""

    reached_count: int = 0  # that reached their quorum
    quorum_ms: list[float] = field(default_factory=list)  # until the quorum
    ms: list[float] = field(default_factory=list)  # until all had answered or timed out
    copies: list[int] = field(default_factory=list)

    @property
    def done_count(self) -> int:
        """Ended announcements."""
        return len(self.ms)

    def figures(self) -> Figures:
        """For the report."""
        count = len(self.ms)
        return {
            "count": count,
            "success": share(self.reached_count, count),
            "copies_mean": mean(self.copies),
            **spread("quorum_ms", self.quorum_ms),
            **spread("ms", self.ms),
        }


@dataclass(slots=True)
class FindFigures:
    """Results of searches for stored offers."""

    found_count: int = 0
    first_ms: list[float] = field(default_factory=list)  # until the first offer
    ms: list[float] = field(default_factory=list)  # until the search ended
    abandoned_count: int = 0  # their nodes left before the end; not counted otherwise

    @property
    def done_count(self) -> int:
        """Ended or abandoned searches."""
        return len(self.ms) + self.abandoned_count

    def figures(self) -> Figures:
        """For the report."""
        count = len(self.ms)
        return {
            "count": count,
            "success": share(self.found_count, count),
            **spread("first_ms", self.first_ms),
            **spread("ms", self.ms),
        }
