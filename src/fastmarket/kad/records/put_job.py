"""Put something on the k closest peers to a key, and detect when a quorum holds it.

Over 400 lines: what counts towards the quorum is one condition over one state, best read in one place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import NamedTuple

from fastmarket.config import KadConfig
from fastmarket.formats.choice import FailureKind
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.events import SendRequest
from fastmarket.kad.jobs import Job
from fastmarket.kad.lookup.lookup import End, Lookup
from fastmarket.kad.lookup.lookup_job import Seeds
from fastmarket.kad.lookup.network_size import KEY_SPACE, NetworkSize
from fastmarket.kad.lookup.peer_state import PeerState
from fastmarket.kad.lookup.query import PutRequest
from fastmarket.kad.outcome import NOBODY_ASKED, Outcome
from fastmarket.native.candidates import Answered
from fastmarket.wording import counted

# Tokens of store requests start here; those of lookups lie below, a range of this size for each lookup.
_FIRST_STORE_TOKEN = 1 << 40
_TOKENS_OF_A_LOOKUP = 1 << 16
# From an attempt that cannot reach its quorum to the next one; doubled each time, up to the longest.
_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 1.0
# For people: why a storer has not acknowledged.
WHY = {
    FailureKind.TIMEOUT: "did not answer in time",
    FailureKind.UNREACHABLE: "cannot be reached",
    FailureKind.RESET: "ended the request",
    FailureKind.PEER_FAULT: "broke the protocol",
    FailureKind.CLOSED: "ended the connection",
    FailureKind.BUSY: "not asked: too many requests of ours in progress",
}
UNANSWERED = "not answered yet"
# The peer is gone: it does not count, and another takes its place.
ABSENT = (FailureKind.GONE, FailureKind.REFUSED)


@dataclass(frozen=True, slots=True)
class PutResult:
    """How a put ended: `outcome` counts the peers that were asked to store, without a copy stored here.

    `silent_count` peers were queried by the lookup and have not answered, but may be online. If no peer is
    known to be online while one may be, the quorum is one.
    """

    outcome: Outcome
    silent_count: int
    closest: tuple[Answered, ...]
    end: End


class _Copy(Enum):
    """State of one storer. A storer that is gone has none."""

    ASKED = auto()  # waiting for the answer
    STORED = auto()
    REFUSED = auto()  # the peer declined
    FAILED = auto()  # the peer did not answer
    PLAIN = auto()  # the peer holds something that does not count


@dataclass(slots=True)
class _Out:
    """A store request under way; `is_eager`: it was sent before its peer answered the lookup."""

    peer: PeerInfo
    is_eager: bool


class _Tally(NamedTuple):
    """The counts of an attempt: of the peers asked, how many may still answer, and how many refused for
    good."""

    outcome: Outcome
    open_count: int = 0
    final_count: int = 0


class PutJob(Job):
    """A lookup, and store requests to the closest peers as soon as it is reasonably certain which these are.

    That is the case when the lookup has ended or only waits for late peers, so that a hanging peer does not
    hold up the quorum of the others. If the size of the network is known, peers closer than the expected
    distance of the k-th closest get the request earlier, together with the query of the lookup
    ("optimistic"). Their acknowledgements count while they are among the closest peers known.

    The quorum is a quorum of the k closest peers that are there: those that answered this lookup or are known
    to be alive, and have not turned out to be gone since. A peer is gone if it said goodbye or if its
    addresses refuse connections; the next closest takes its place. A peer that refuses or fails to store is
    there, and counts. A quorum, once reached, stands.

    Until the caller's time is used up (`retry_s`), an attempt that can no longer reach a quorum is followed
    by another. It asks the missing peers again, except those that refused for good, and does not wait again
    for peers that fell silent or left.

    Progress: its `Outcome`, once, when the quorum is reached; the job goes on to the other storers.
    """

    __slots__ = (
        "_again",
        "_base",
        "_config",
        "_copies",
        "_found",
        "_known",
        "_lookup",
        "_lookup_deadline",
        "_news",
        "_next_token",
        "_out",
        "_pause_s",
        "_quorum",
        "_resting_until",
        "_retry_s",
        "_retry_until",
        "_seeds",
        "_size",
        "_store",
        "_storing",
        "_target",
        "_tried",
        "_why",
    )

    def __init__(
        self,
        lookup: Lookup,
        store: PutRequest,
        seeds: Seeds,
        config: KadConfig,
        timeout_s: float,
        size: NetworkSize | None = None,
        again: Callable[[], Lookup] | None = None,
        retry_s: float = 0.0,
    ) -> None:
        """`size`: of the network; None: nothing is stored before the lookup knows where. `again` makes
        another lookup like the first, for attempts that begin within `retry_s` seconds; None: there is one
        attempt."""
        super().__init__(timeout_s)
        self._lookup = lookup
        self._store = store
        self._seeds = seeds
        self._config = config
        self._size = size if config.optimistic_store else None
        self._again = again
        self._retry_s = retry_s if again is not None else 0.0
        self._lookup_deadline = self._retry_until = 0.0
        self._resting_until: float | None = None  # between two attempts
        self._pause_s = _PAUSE_S
        self._base = 0  # first token of this attempt's lookup
        self._storing = False  # the lookup knows where
        self._target = int.from_bytes(lookup.target, "big")
        self._copies: dict[bytes, _Copy] = {}  # by peer key
        self._why: dict[bytes, tuple[str, bool]] = {}  # by peer key: why it refused or failed; for good?
        self._found: list[bytes] = []  # keys of the storers, when last determined
        self._tried: set[bytes] = set()  # eager requests that failed; repeated once the peer answers
        self._out: dict[int, _Out] = {}
        self._next_token = _FIRST_STORE_TOKEN
        self._quorum: Outcome | None = None  # as it was when it was reached
        self._known = (0, 0, 0)  # peers heard of, failed, and eagerly tried in vain, at the last walk
        self._news = True  # since the last poll: in the lookup, or a failed store

    @property
    def lookup(self) -> Lookup:
        """The lookup of the current attempt, or of the last one."""
        return self._lookup

    def so_far(self) -> PutResult:
        """The counts so far; before the storers are known, no peer is asked (0 of 0, with one wanted)."""
        outcome = self._tally().outcome
        if not outcome.is_reached:
            # A quorum stands, even if closer peers have turned up since.
            outcome = self._quorum or replace(outcome, why=self._reasons())
        lookup = self._lookup
        return PutResult(outcome, lookup.silent_count, lookup.closest(), lookup.end or End.CANCELLED)

    def start(self, now: float) -> None:
        """Begins the lookup, which may use half the time; the rest is for storing."""
        super().start(now)
        self._retry_until = min(now + self._retry_s, self._deadline)
        self._lookup_deadline = now + self._timeout_s / 2
        self._lookup.add(self._seeds(self._lookup.target, now))

    def poll_requests(self, now: float) -> list[SendRequest]:
        """Requests of the lookup and store requests, also to late peers that answered after all."""
        if self.result is not None or self._resting_until is not None:
            return []
        requests = self._poll_lookup(now) if self._news else []
        if self._lookup.end is not None:
            if self._is_lost() and now + self._pause_s < self._retry_until:
                self._resting_until = now + self._pause_s
            elif not self._out:
                self._finish()
        return requests

    def _poll_lookup(self, now: float) -> list[SendRequest]:
        """Requests of the lookup, and the store requests that follow from what it knows."""
        self._news = False
        requests = self._lookup.poll(now)
        if self._base:
            for request in requests:
                request.token += self._base
        end = self._lookup.end
        if end is None and (requests or not self._lookup.is_only_late):
            # A store request without a reply leaves its stream to the query, so it goes first.
            eager = self._store_eagerly(now)
            if self._size is not None and self._copies and not self._storing:
                self._check_quorum()  # the answer may complete it
            return eager + requests
        return requests if end is End.CANCELLED else requests + self._store_at_storers(now)

    def on_reply(self, token: int, protocol: str, payload: bytes, now: float) -> None:
        if token < _FIRST_STORE_TOKEN:
            if token >= self._base:  # otherwise it belongs to an earlier attempt
                self._news = True
                self._lookup.on_reply(token - self._base, protocol, payload, now)
            return
        out = self._out.get(token)
        if out is None:
            return  # the deadline passed before
        stored = self._store.read_ack(out.peer, protocol, payload, now)
        del self._out[token]
        key = out.peer.peer_id.key
        if stored is None:
            self._copies[key] = _Copy.PLAIN
        elif self._copies.get(key) is not _Copy.PLAIN:
            self._copies[key] = _Copy.STORED if stored else _Copy.REFUSED
            if not stored:
                self._why[key] = self._store.refusal(out.peer)
        self._check_quorum()

    def on_failure(self, token: int, kind: FailureKind, now: float) -> None:
        self._news = True
        if token < _FIRST_STORE_TOKEN:
            if token >= self._base:
                self._lookup.on_failure(token - self._base, kind, now)
            return
        out = self._out.pop(token, None)
        if out is None:
            return
        key = out.peer.peer_id.key
        if out.is_eager:
            self._copies.pop(key, None)
            self._tried.add(key)
        elif self._copies.get(key) is _Copy.ASKED:
            if kind in ABSENT:
                del self._copies[key]
                self._lookup.on_lost(key)
            else:
                self._copies[key] = _Copy.FAILED
                self._why[key] = WHY[kind], False
            self._check_quorum()

    def next_timer(self) -> float | None:
        """The lookup's timer or the deadline. The shell ends each store request."""
        if self.is_finished:
            return None
        if self._resting_until is not None:
            return min(self._resting_until, self._deadline)
        if self._lookup.end is not None:
            return self._deadline
        lookup_timer = self._lookup.next_timer()
        return self._lookup_deadline if lookup_timer is None else min(lookup_timer, self._lookup_deadline)

    def handle_timer(self, now: float) -> None:
        """A lookup that has used up its share of the time still stores at the peers it found."""
        self._news = True
        if now >= self._deadline:
            self._resting_until = None
            self._retry_until = 0.0
            self._lookup.stop(End.DEADLINE)
            self._out.clear()
        elif self._resting_until is not None:
            if now >= self._resting_until:
                self._begin_again(now)
        elif now >= self._lookup_deadline:
            self._lookup.stop(End.DEADLINE)
        else:
            self._lookup.handle_timer(now)

    def cancel(self, now: float) -> None:
        """Ends with the acknowledgements so far."""
        self._lookup.stop(End.CANCELLED)
        self._out.clear()
        self._resting_until = None
        if self._storing:
            self._found = [answered.peer.peer_id.key for answered in self._lookup.storers()]
        self._finish()

    # --- attempts

    def _is_lost(self) -> bool:
        """Whether this attempt can no longer reach a quorum, while another one might."""
        if self._quorum is not None or not self._storing:
            return False
        outcome, still_open, final = self._tally()
        if not outcome.asked:
            return not outcome.is_reached
        return outcome.acknowledged + still_open < outcome.wanted and outcome.asked - final >= outcome.wanted

    def _begin_again(self, now: float) -> None:
        """Starts another lookup. Copies that are stored count, and open requests may still be answered."""
        assert self._again is not None
        self._resting_until = None
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
        self._base += _TOKENS_OF_A_LOOKUP
        self._size = None  # its estimate of who is close enough was wrong
        self._storing = False
        self._found = []
        held = (_Copy.STORED, _Copy.ASKED)
        self._copies = {key: copy for key, copy in self._copies.items() if copy in held}
        self._why.clear()
        self._lookup_deadline = now + (self._deadline - now) / 2
        self._lookup = self._again()
        self._lookup.add(self._seeds(self._lookup.target, now))

    # --- where to store

    def _store_at_storers(self, now: float) -> list[SendRequest]:
        """Store requests to the closest peers that have answered since the last call."""
        requests, timeout_s = [], self._left(now)
        storers = self._lookup.storers()
        self._found = [answered.peer.peer_id.key for answered in storers]
        for answered, key in zip(storers, self._found, strict=True):
            if key in self._copies:
                continue
            choices = self._store.choices(answered.peer, answered.protocol)
            if choices:
                counts = self._store.is_counted(answered.peer, answered.protocol)
                self._copies[key] = _Copy.ASKED if counts else _Copy.PLAIN
                token = self._token(_Out(answered.peer, False))
                requests.append(SendRequest(token, answered.peer, choices, timeout_s))
        self._storing = True
        self._check_quorum()
        return requests

    def _store_eagerly(self, now: float) -> list[SendRequest]:
        """Store requests to the closest peers known that are near enough, whatever protocol they turn out to
        speak."""
        known = self._lookup.heard_count, self._lookup.failed_count, len(self._tried)
        if known == self._known:
            return []  # no change since the last walk
        self._known = known
        radius = None if self._size is None else self._size.radius
        if radius is None:
            return []
        reach = self._config.optimistic_reach * radius
        requests, timeout_s = [], self._left(now)
        for candidate in self._lookup.nearest():
            peer, protocol = candidate.peer, candidate.protocol or None
            key = peer.peer_id.key
            if key in self._copies or key in self._tried:
                continue
            if reach < KEY_SPACE and self._distance(key) > reach:
                break
            choices = self._store.choices(peer, protocol)
            if choices and self._store.is_counted(peer, protocol):
                self._copies[key] = _Copy.ASKED
                requests.append(SendRequest(self._token(_Out(peer, True)), peer, choices, timeout_s))
        return requests

    def _left(self, now: float) -> float:
        return min(self._config.request_timeout_s, max(self._deadline - now, 0.0))

    def _token(self, out: _Out) -> int:
        token = self._next_token
        self._next_token += 1
        self._out[token] = out
        return token

    def _distance(self, key: bytes) -> int:
        return int.from_bytes(key, "big") ^ self._target

    # --- what was acknowledged

    def _tally(self) -> _Tally:
        """Counts over the peers that should hold it: the storers once they are known, before that the closest
        known."""
        if self._storing:
            tally = self._count(self._storers())
            certain = self._lookup.end is End.COMPLETE and not self._lookup.silent_count
            if not certain and not tally.outcome.asked and not tally.outcome.plain:
                return _Tally(NOBODY_ASKED)
            return tally
        estimate = None if self._size is None else self._size.estimate
        if estimate is None:
            return _Tally(NOBODY_ASKED)
        nearest = self._lookup.nearest()
        near = self._count([candidate.key for candidate in nearest]).outcome
        expected = max(min(self._config.k, estimate) - near.plain, near.asked)
        acknowledged = near.acknowledged
        if estimate < self._config.k:
            # In a small network one peer not named so far changes the count: a peer that acknowledged must
            # have named the peers it knows first.
            acknowledged -= sum(
                self._copies.get(one.key) is _Copy.STORED and one.state < PeerState.ANSWERED
                for one in nearest
            )
        return _Tally(
            Outcome(acknowledged, near.asked, self._store.quorum_size(max(expected, 1)), near.plain)
        )

    def _storers(self) -> list[bytes]:
        """Keys of the lookup's storers, and of peers at most as far away that hold it as well."""
        found, known = self._found, set(self._found)
        late = [one for one, copy in self._copies.items() if copy is _Copy.STORED and one not in known]
        if not late:
            return found
        farthest = max(map(self._distance, found), default=0)
        return found + [one for one in late if self._distance(one) <= farthest]

    def _count(self, keys: list[bytes]) -> _Tally:
        copies = [copy for key in keys if (copy := self._copies.get(key)) is not None]
        plain = copies.count(_Copy.PLAIN)
        asked = len(copies) - plain
        final = sum(self._why[key][1] for key in keys if key in self._why) if self._why else 0
        outcome = Outcome(copies.count(_Copy.STORED), asked, self._store.quorum_size(asked), plain)
        return _Tally(outcome, copies.count(_Copy.ASKED), final)

    def _check_quorum(self) -> None:
        if self._quorum is not None:
            return
        outcome = self._tally().outcome
        if not outcome.asked and (not self._storing or self._lookup.end is None):
            return  # a late peer may still count
        if outcome.is_reached:
            self._quorum = outcome
            self._events.append(outcome)

    def _reasons(self) -> str:
        """The peers that count and have not acknowledged, by reason."""
        told: dict[str, int] = {}
        keys = self._storers() if self._storing else list(self._copies)
        for key in keys:
            if self._copies.get(key) is _Copy.ASKED:
                told[UNANSWERED] = told.get(UNANSWERED, 0) + 1
            elif key in self._why:
                text = self._why[key][0]
                told[text] = told.get(text, 0) + 1
        if not told and self._lookup.silent_count:
            return f"no peer answers; {counted(self._lookup.silent_count, 'known peer')} may still be up"
        return "; ".join(f"{count} {text}" for text, count in told.items())

    def _finish(self) -> None:
        self.result = self.so_far()
