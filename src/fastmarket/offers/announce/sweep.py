"""Announces many own offers together: one lookup for a region of the key space, many offers in a message.

A lookup for one offer finds the peers of its region (`offers.announce.coverage`). All offers whose storers it
proves are stored without a lookup of their own, in as few messages to each peer as possible.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from fastmarket.formats.choice import FailureKind
from fastmarket.kad.events import SendRequest
from fastmarket.kad.jobs import Job
from fastmarket.kad.lookup.lookup import End, Lookup
from fastmarket.kad.lookup.lookup_job import Seeds
from fastmarket.kad.outcome import Outcome
from fastmarket.native.candidates import Answered
from fastmarket.native.sha256 import sha256_many
from fastmarket.offers.announce.coverage import Coverage, places
from fastmarket.offers.announce.delivery import Deliveries
from fastmarket.offers.announce.parcels import Parcel, Settlement
from fastmarket.offers.model.offer import Offer

# Lookups near an offer that may prove its storers, before it gets a lookup of its own.
MAX_DETOURS = 3
# A quarter of the expected lookups run at once: each may make the next ones unnecessary.
_WINDOW_SHARE = 4


@dataclass(frozen=True, slots=True)
class Settled:
    """Progress: offers that have reached their quorum, or are done without it; each is reported once.

    `groups` has their indices among the job's offers, by outcome. `again`: those without a quorum so far,
    which are announced again and will be reported once more.
    """

    groups: tuple[tuple[Sequence[int], Outcome], ...]
    again: tuple[tuple[Sequence[int], Outcome], ...] = ()


@dataclass(frozen=True, slots=True)
class SweepResult:
    """The outcome of every offer, None: no time was left for it; and the cost of the sweep."""

    groups: tuple[tuple[Sequence[Offer], Outcome | None], ...]
    lookups: int
    requests: int

    @property
    def outcomes(self) -> Iterator[tuple[Offer, Outcome | None]]:
        """The outcome of each offer."""
        return ((offer, outcome) for offers, outcome in self.groups for offer in offers)


@dataclass(frozen=True, slots=True)
class Pace:
    """At most `lookups` run at once; `patient`: messages that are not full wait for the last lookup.

    `k`: storers of an offer, more if more than `most_of_group` of them share an address block.
    """

    k: int
    most_of_group: int
    lookups: int
    patient: bool
    timeout_s: float
    lookup_timeout_s: float
    reach: int = 0
    """Distance from a key, of 64 bits, within which every peer is a storer (`kad.lookup.region`)."""
    retry_s: float = 0.0
    """How long offers without a quorum are announced again, with new lookups."""


# The pause before offers without a quorum are announced again; it doubles each time, up to the longest.
_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 1.0


@dataclass(slots=True)
class _Search:
    """A lookup for the offer at `index`."""

    lookup: Lookup
    index: int
    deadline: float


class SweepJob(Job):
    """Stores offers at the k closest of each. Progress: `Settled`; result: a `SweepResult`."""

    __slots__ = (
        "_coverage",
        "_deliveries",
        "_detours",
        "_given",
        "_index_of",
        "_last",
        "_left",
        "_lookups",
        "_make_lookup",
        "_missing",
        "_next_token",
        "_offers",
        "_order",
        "_pace",
        "_parcels",
        "_pause_s",
        "_places",
        "_requests",
        "_resting_until",
        "_retry_until",
        "_searches",
        "_seeds",
        "_tokens",
    )

    def __init__(
        self,
        offers: Sequence[Offer],
        make_lookup: Callable[[bytes], Lookup],
        seeds: Seeds,
        deliveries: Deliveries,
        pace: Pace,
    ) -> None:
        """`make_lookup(content)` finds storers; `deliveries` carries the offers to them."""
        super().__init__(pace.timeout_s)
        where = places(sha256_many([offer.content for offer in offers]))
        order = sorted(range(len(offers)), key=where.__getitem__)
        self._places = [where[index] for index in order]
        self._order = order
        self._offers = [offers[index] for index in order]
        self._given = bytearray(len(order))  # 1: its storers are known
        self._parcels: list[Parcel] = []
        self._left = list(range(len(order)))  # without a lookup and without storers, in order of their places
        self._make_lookup = make_lookup
        self._seeds = seeds
        self._deliveries = deliveries
        self._pace = pace
        self._coverage = Coverage(pace.k, pace.most_of_group, pace.reach)
        self._searches: dict[int, _Search] = {}
        self._tokens: dict[int, tuple[int, int]] = {}  # ours -> lookup, its own token
        self._next_token = self._lookups = self._requests = 0
        self._retry_until = 0.0
        self._detours = 0
        self._index_of = {place: index for index, place in enumerate(order)} if pace.retry_s else {}
        self._missing: dict[int, Outcome] = {}  # without a quorum so far, by index
        self._last: dict[int, Outcome] = {}  # those that are announced again: their last outcome
        self._resting_until: float | None = None
        self._pause_s = _PAUSE_S

    def start(self, now: float) -> None:
        super().start(now)
        self._retry_until = min(now + self._pace.retry_s, self._deadline)

    def poll_requests(self, now: float) -> list[SendRequest]:
        """Requests of the lookups, then stores."""
        if self.result is not None or self._resting_until is not None:
            return []
        requests = self._poll_searches(now)
        idle = not self._searches and not self._left
        # If too much is queued, it has to be sent: it keeps new lookups from being started.
        eager = idle or not self._pace.patient or not self._deliveries.has_room
        requests.extend(self._deliveries.poll(eager, self._token))
        self._tell(self._deliveries.take_settled(), now)
        if idle and not self._deliveries.is_busy:
            if self._missing and now + self._pause_s < self._retry_until:
                self._resting_until = now + self._pause_s
            else:
                self._finish()
        self._requests += len(requests)
        return requests

    def on_reply(self, token: int, protocol: str, payload: bytes, now: float) -> None:
        at = self._tokens.get(token)
        if at is None:
            self._deliveries.on_reply(token, protocol, payload, now)
        elif (search := self._searches.get(at[0])) is not None:
            search.lookup.on_reply(at[1], protocol, payload, now)
            del self._tokens[token]

    def on_failure(self, token: int, kind: FailureKind, now: float) -> None:
        at = self._tokens.pop(token, None)
        if at is None:
            self._deliveries.on_failed(token, kind)
        elif (search := self._searches.get(at[0])) is not None:
            search.lookup.on_failure(at[1], kind, now)

    def next_timer(self) -> float | None:
        """The earliest of the lookups' timers and deadlines, and our own."""
        if self.is_finished:
            return None
        when = self._deadline if self._resting_until is None else min(self._resting_until, self._deadline)
        for search in self._searches.values():
            timer = search.lookup.next_timer()
            when = min(when, search.deadline, when if timer is None else timer)
        return when

    def handle_timer(self, now: float) -> None:
        """Passes time to the lookups, and ends what takes too long."""
        if now >= self._deadline:
            self._stop(End.DEADLINE)
            return
        if self._resting_until is not None and now >= self._resting_until:
            self._begin_again()
        for search in self._searches.values():
            if now >= search.deadline:
                search.lookup.stop(End.DEADLINE)
            else:
                search.lookup.handle_timer(now)

    def cancel(self, now: float) -> None:
        self._stop(End.CANCELLED)

    # --- lookups

    def _poll_searches(self, now: float) -> list[SendRequest]:
        requests: list[SendRequest] = []
        for number, search in tuple(self._searches.items()):
            requests += self._poll_search(number, search, now)
        while self._left and len(self._searches) < self._window():
            if not self._deliveries.has_room:
                break  # storing is slower than looking up: let it catch up
            index = self._choose()
            if index is not None:
                requests += self._search(index, now)
        return requests

    def _window(self) -> int:
        """How many lookups may run: the fewer offers the past ones have settled, the more."""
        ended = self._lookups - len(self._searches)
        if not ended:
            return 1
        settled = max(len(self._offers) - len(self._left) - len(self._searches), 1)
        expected = len(self._left) * ended // settled
        return max(1, min(expected // _WINDOW_SHARE, self._pace.lookups))

    def _choose(self) -> int | None:
        """The offer to look up next, taken from those left; None: the next one needed no lookup."""
        turn = len(self._searches) * len(self._left) // max(self._window(), len(self._searches) + 1)
        at = self._places[self._left[turn]]
        storers = self._coverage.closest(at)
        if storers is not None:
            self._give((self._left.pop(turn),), storers, unknown=False)
            return None
        if self._detours < MAX_DETOURS:
            low, high = self._left_within(*self._coverage.gap(at))
            if low < high:
                self._detours += 1
                return self._left.pop((low + high) // 2)
        self._detours = 0
        return self._left.pop(turn)

    def _search(self, index: int, now: float) -> list[SendRequest]:
        lookup = self._make_lookup(self._offers[index].content)
        lookup.add(self._seeds(lookup.target, now))
        lookup.add(answered.peer for answered in self._coverage.near(self._places[index]))
        deadline = min(now + self._pace.lookup_timeout_s, self._deadline)
        self._lookups += 1
        number = self._lookups
        search = self._searches[number] = _Search(lookup, index, deadline)
        return self._poll_search(number, search, now)

    def _poll_search(self, number: int, search: _Search, now: float) -> list[SendRequest]:
        requests = []
        for outgoing in search.lookup.poll(now):
            token = self._token()
            self._tokens[token] = (number, outgoing.token)
            requests.append(SendRequest(token, outgoing.peer, outgoing.choices, outgoing.timeout_s))
        if search.lookup.end is not None:
            del self._searches[number]
            self._found(search)
        return requests

    def _found(self, search: _Search) -> None:
        lookup = search.lookup
        closest, complete = lookup.closest(), lookup.end is End.COMPLETE
        unknown = not complete or lookup.silent_count > 0
        if complete and closest:
            self._prove(search, closest)
            return
        if not closest and not self._searches:
            # No peer is there, or none answers: the other offers would have the same result.
            insort(self._left, search.index)
            self._give(self._left, (), unknown=unknown)
            self._left = []
        else:
            self._give((search.index,), lookup.storers(), unknown=unknown)

    def _prove(self, search: _Search, closest: Sequence[Answered]) -> None:
        """Assigns storers to all offers for which a complete lookup proves them."""
        at, lookup = self._places[search.index], search.lookup
        bits = self._coverage.learn(at, closest, lookup.storers()).bit_length()
        first = at >> bits << bits
        low, high = self._left_within(first, first + (1 << bits))
        proven = self._left[low:high]
        if (everybody := self._coverage.all_peers()) is not None:
            insort(proven, search.index)  # together with its batch
            self._give(proven, everybody, unknown=False)
        else:
            self._give((search.index,), lookup.storers(), unknown=lookup.silent_count > 0)
            self._give_proven(proven)
        self._left[low:high] = [index for index in self._left[low:high] if not self._given[index]]

    def _give_proven(self, indices: Sequence[int]) -> None:
        """Assigns storers to offers whose closest peers are proven; those with the same storers together."""
        run: list[int] = []
        storers: Sequence[Answered] = ()
        known: frozenset[int] = frozenset()
        for index in indices:
            found = self._coverage.closest(self._places[index])
            if found is None:
                continue
            of = frozenset(map(id, found))
            if of != known:
                self._give(run, storers, unknown=False)
                run, storers, known = [], found, of
            run.append(index)
        self._give(run, storers, unknown=False)

    def _left_within(self, first: int, end: int) -> tuple[int, int]:
        """The range of those left whose places lie in a span."""
        low, high = bisect_left(self._places, first), bisect_left(self._places, end)
        return bisect_left(self._left, low), bisect_left(self._left, high)

    def _give(self, indices: Sequence[int], storers: Sequence[Answered], *, unknown: bool) -> None:
        """Assigns storers to some offers, in the order of their places."""
        for index in indices:
            self._given[index] = 1
        at = 0
        for parcel in self._deliveries.parcels([self._offers[index] for index in indices]):
            end = at + len(parcel.offers)
            parcel.places = [self._order[index] for index in indices[at:end]]
            at = end
            self._parcels.append(parcel)
            self._deliveries.add(parcel, storers, unknown)

    def _token(self) -> int:
        self._next_token += 1
        return self._next_token

    def _tell(self, settled: Sequence[Settlement], now: float) -> None:
        if not settled:
            return
        done: list[tuple[Sequence[int], Outcome]] = []
        again: list[tuple[Sequence[int], Outcome]] = []
        for one in settled:
            if one.outcome.is_reached or now >= self._retry_until or not one.parcel.is_hopeful(one.slots[0]):
                done.append((one.places, one.outcome))
                continue
            again.append((one.places, one.outcome))
            one.parcel.again = {*(one.parcel.again or ()), *one.slots}
            for place in one.places:
                self._missing[self._index_of[place]] = one.outcome
        self._events.append(Settled(tuple(done), tuple(again)))

    def _begin_again(self) -> None:
        """Announces offers without a quorum again, with new lookups: their storers may have changed."""
        self._resting_until = None
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
        self._left = sorted(self._missing)
        for index in self._left:
            self._given[index] = 0
        self._last, self._missing = self._missing, {}
        self._coverage = Coverage(self._pace.k, self._pace.most_of_group, self._pace.reach)

    def _stop(self, end: End) -> None:
        for search in self._searches.values():
            search.lookup.stop(end)
        self._searches.clear()
        self._tokens.clear()
        self._left.clear()
        self._resting_until = None
        self._retry_until = float("-inf")
        self._deliveries.stop()
        self._tell(self._deliveries.take_settled(), 0.0)
        self._finish()

    def _finish(self) -> None:
        groups: list[tuple[Sequence[Offer], Outcome | None]] = []
        for parcel in self._parcels:
            groups += parcel.outcomes()
        for index, outcome in self._last.items():
            if not self._given[index]:  # no time was left to try again
                self._missing[index] = outcome
        if self._missing:
            late = tuple(((self._order[index],), outcome) for index, outcome in self._missing.items())
            self._events.append(Settled(late))
            groups += [((self._offers[index],), outcome) for index, outcome in self._missing.items()]
        ungiven = [
            offer
            for index, offer in enumerate(self._offers)
            if not self._given[index] and index not in self._missing
        ]
        if ungiven:
            groups.append((ungiven, None))
        self.result = SweepResult(tuple(groups), self._lookups, self._requests)
