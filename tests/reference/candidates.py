"""Twin of fastmarket.native.candidates: the candidates of a lookup as objects in a sorted list."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

from fastmarket.config import KadConfig
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.lookup.peer_state import StateRule, Transitions
from fastmarket.kad.lookup.policy import STATE_RULES

AFTER = Transitions()
SURPLUS = 1.5


class Closest:
    """Counts peers off in the order of their distance. `wants` a peer, then `take` it if it is there."""

    def __init__(self, k: int, most: int, met: int = 0) -> None:
        self._k = k
        self._most = most
        self._met = met
        self._near = 0
        self._diverse = 0
        self._inside = 0
        self._counts: dict[bytes, int] = {}

    @property
    def is_full(self) -> bool:
        return self._diverse >= self._k and not (self.is_surplus and self._near - self._inside < self._k)

    @property
    def is_surplus(self) -> bool:
        return self._met > SURPLUS * self._k

    @property
    def is_crowded(self) -> bool:
        return self._near != self._diverse

    def wants(self, group: bytes | None, within: bool = False) -> bool:
        if self._near < self._k:
            return True
        if self.is_full and not within:
            return False
        return group is None or self._counts.get(group, 0) < self._most

    def take(self, group: bytes | None, within: bool = False) -> None:
        self._near += 1
        self._inside += within
        if group is None:
            self._diverse += 1
            return
        held = self._counts.get(group, 0)
        self._counts[group] = held + 1
        if held < self._most:
            self._diverse += 1
        elif held == self._most:
            self._diverse -= held


class Candidate:
    def __init__(self, peer: PeerInfo, hops: int) -> None:
        self.peer = peer
        self.key = peer.peer_id.key
        self.hops = hops
        self.state = AFTER.on_heard
        self.queried_at = self.late_at = self.hold_s = 0.0
        self.connected = False
        self.protocol = ""

    @property
    def rule(self) -> StateRule:
        return STATE_RULES[self.state]

    def answer(self, protocol: str, now: float) -> float:
        self.state = AFTER.on_answer
        self.protocol = protocol
        return now - self.queried_at

    def query_unresponsive(self, now: float, connected: bool) -> None:
        self.queried_at, self.connected, self.state = now, connected, AFTER.on_query_unresponsive


class LivenessShortcut:
    """`protocols`: by key, what peers speak and when they last answered."""

    def __init__(
        self, target: bytes, reach: bytes | None, alive_s: float, spoken: dict[bytes, tuple[set[str], float]]
    ) -> None:
        self._target = int.from_bytes(target, "big")
        self._reach = None if reach is None else int.from_bytes(reach, "big")
        self._alive_s = alive_s
        self._spoken = spoken

    def is_alive(self, candidate: Candidate, wanted: Sequence[str], now: float) -> bool:
        distance = int.from_bytes(candidate.key, "big") ^ self._target
        if (self._reach is not None and distance > self._reach) or candidate.key not in self._spoken:
            return False
        protocols, answered_at = self._spoken[candidate.key]
        spoken = [protocol for protocol in wanted if protocol in protocols]
        if now - answered_at > self._alive_s or not spoken:
            return False
        candidate.protocol = spoken[0]
        return True


class Candidates:
    def __init__(
        self,
        target: bytes,
        local: bytes,
        config: KadConfig,
        block_of: Callable[[PeerInfo], bytes | None],
        wanted: Sequence[str],
    ) -> None:
        self._target = int.from_bytes(target, "big")
        self._config = config
        self._block_of = block_of
        self._wanted = wanted
        self._seen = {local}
        self._listed: list[Candidate] = []
        self._fresh: list[Candidate] = []
        self.shortcut: LivenessShortcut | None = None
        self.reach: bytes | None = None
        self.is_open = self.is_cut = False
        self.held_until: float | None = None
        self.awaited_count = 0

    def _distance(self, candidate: Candidate) -> int:
        return int.from_bytes(candidate.key, "big") ^ self._target

    def _is_within(self, candidate: Candidate) -> bool:
        return self.reach is not None and self._distance(candidate) <= int.from_bytes(self.reach, "big")

    @property
    def heard_count(self) -> int:
        return len(self._seen)

    @property
    def in_flight_count(self) -> int:
        return len(self._fresh)

    def listed(self) -> list[Candidate]:
        return self._listed[:]

    def add(self, peers: Iterable[PeerInfo], hops: int) -> bool:
        listed = False
        for peer in peers:
            if peer.peer_id.key in self._seen:
                continue
            self._seen.add(peer.peer_id.key)
            candidate = Candidate(peer, hops)
            full = len(self._listed) == self._config.shortlist_size
            self._listed.append(candidate)
            self._listed.sort(key=self._distance)
            if full:
                self._listed.remove(self._surplus())
            listed |= candidate in self._listed
        return listed

    def _surplus(self) -> Candidate:
        """Beyond the nearest k, the farthest of a crowd; else the farthest."""
        counts = Counter(group for one in self._listed if (group := self._block_of(one.peer)) is not None)
        most, beyond = self._config.max_group_in_bucket, self._listed[self._config.k :]
        crowded = [one for one in beyond if counts[self._block_of(one.peer) or b""] > most]
        return crowded[-1] if crowded else self._listed[-1]

    def fail(self, candidate: Candidate) -> None:
        candidate.state = AFTER.on_failure
        if candidate in self._listed:
            self._listed.remove(candidate)

    def query(
        self, candidate: Candidate, now: float, connected: bool, soft_timeout_s: float, hold_s: float
    ) -> None:
        candidate.queried_at, candidate.connected, candidate.state = now, connected, AFTER.on_query
        candidate.late_at = now + soft_timeout_s
        candidate.hold_s = hold_s
        self._fresh.append(candidate)

    def free_slot(self, candidate: Candidate) -> None:
        if candidate in self._fresh:
            self._fresh.remove(candidate)

    def overdue(self, now: float) -> list[Candidate]:
        overdue = [candidate for candidate in self._fresh if candidate.late_at <= now]
        for candidate in overdue:
            candidate.state = AFTER.on_soft_timeout
            self._fresh.remove(candidate)
        return overdue

    def next_timer(self, outstanding: dict[int, Candidate], held_until: float | None) -> float | None:
        moments = [candidate.late_at for candidate in self._fresh]
        moments += [
            one.queried_at + self._config.request_timeout_s for one in islice(outstanding.values(), 1)
        ]
        return min(moments if held_until is None else [*moments, held_until], default=None)

    def walk(
        self, now: float, asked: int, slow_hold_s: float | None, ask_now: Callable[[Candidate], None]
    ) -> None:
        config, within = self._config, sum(map(self._is_within, self._listed))
        chosen = Closest(config.k, config.max_group_in_bucket, within)
        counted, answered, waited = 0, 0, 0
        self.is_open, self.is_cut, self.held_until = False, False, None
        for at, candidate in enumerate(self._listed):
            group = self._block_of(candidate.peer)
            if not chosen.wants(group, at < within):
                continue
            is_last = at + 1 >= within
            if candidate.rule.is_queryable:
                skippable = candidate.rule.is_skippable and counted >= config.min_queried
                if skippable and self._take_unqueried(candidate, chosen, now):
                    if chosen.is_full and is_last:
                        break
                    continue
                if asked >= config.max_asked:
                    self.is_cut = True
                    continue
                if len(self._fresh) >= config.alpha:
                    self.is_open, waited = True, 0
                    break
                ask_now(candidate)
                asked += 1
            if candidate.rule.may_hold:
                self.is_open = self._holds(candidate, slow_hold_s, now) or self.is_open
            if candidate.rule.is_counted:
                chosen.take(group, at < within)
                counted += 1
                answered += candidate.rule.has_answered
                waited += candidate.rule.is_awaited
                self.is_open = self.is_open or candidate.rule.is_awaited
                enough = answered >= config.beta and not self.is_open and not chosen.is_crowded
                enough = enough and not chosen.is_surplus
                if is_last and (chosen.is_full or enough):
                    break
        self.awaited_count = waited if config.beta >= config.k else 0

    def _take_unqueried(self, candidate: Candidate, chosen: Closest, now: float) -> bool:
        if (
            self.shortcut is None
            or chosen.is_crowded
            or not self.shortcut.is_alive(candidate, self._wanted, now)
        ):
            candidate.state = AFTER.on_doubt
            return False
        candidate.state = AFTER.on_shortcut
        chosen.take(self._block_of(candidate.peer), self._is_within(candidate))
        return True

    def _holds(self, late: Candidate, slow_hold_s: float | None, now: float) -> bool:
        if slow_hold_s is None:
            return True
        if not late.hold_s:
            return False
        until = late.queried_at + min(max(late.hold_s, slow_hold_s), self._config.request_timeout_s)
        if until <= now:
            return False
        self.held_until = until if self.held_until is None else min(self.held_until, until)
        return True

    def closest(self) -> list[tuple[PeerInfo, str]]:
        there = (one for one in self._listed if one.rule.is_found)
        return [(one.peer, one.protocol) for one in islice(there, self._config.k)]

    def chosen(self, answered: bool) -> list[Candidate]:
        within, found = sum(map(self._is_within, self._listed)), []
        chosen = Closest(self._config.k, self._config.max_group_in_bucket, within)
        for candidate in self._listed:
            if not (candidate.rule.is_found if answered else candidate.rule.is_present):
                continue
            group = self._block_of(candidate.peer)
            if chosen.wants(group, self._is_within(candidate)):
                chosen.take(group, self._is_within(candidate))
                found.append(candidate)
        return found
