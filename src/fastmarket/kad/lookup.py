"""The iterative lookup: ever closer peers, at most alpha in flight, never in lockstep (specs kad-dht)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum, auto

from fastmarket._xor import Shortlist
from fastmarket.config import KadConfig
from fastmarket.formats.choice import FailureKind
from fastmarket.formats.identity import PeerId
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.jobs import Outgoing
from fastmarket.kad.paces import Paces
from fastmarket.kad.query import Ask


class PeerState(Enum):
    """A peer's way through one lookup; one that failed is taken out of the list."""

    HEARD = auto()  # named by another peer or by the table
    WAITING = auto()  # asked, holds one of the alpha slots
    LATE = auto()  # asked, patience over, slot given on; its answer still counts
    ANSWERED = auto()  # counts towards the k closest


class End(Enum):
    """Why a lookup ended."""

    COMPLETE = "complete"  # the k closest known have all answered, or all there are
    STOPPED = "stopped"  # the question was answered before
    LIMIT = "limit"  # max_asked peers were asked and the closest known still was not among them
    DEADLINE = "deadline"  # the job's time was over
    CANCELLED = "cancelled"  # by its caller


@dataclass(frozen=True, slots=True)
class Answered:
    """A peer that answered, and the protocol it answered on."""

    peer: PeerInfo
    protocol: str


class _Candidate:
    __slots__ = ("asked_at", "connected", "hold_s", "hops", "late_at", "peer", "protocol", "state")

    def __init__(self, peer: PeerInfo, hops: int) -> None:
        self.peer = peer
        self.hops = hops  # peers between us and it, and itself: 1 of our table, 2 named by one of those
        self.state = PeerState.HEARD
        self.asked_at = 0.0
        self.late_at = 0.0
        self.hold_s = 0.0  # after asked_at: no longer does it hold the end, unless others are as slow
        self.connected = False  # when it was asked
        self.protocol = ""


class Lookup:
    """The algorithm over one question. Pure: it is polled for requests and fed their outcomes.

    It ends when the k closest peers it knows of have answered, failed ones left out; a late one among them is
    waited for in proportion to how slow the others were. It asks nobody beyond the k-th, and never more than
    `max_asked` peers in all.
    """

    __slots__ = (
        "_ask",
        "_asked",
        "_config",
        "_fresh",
        "_held_until",
        "_outstanding",
        "_paces",
        "_seen",
        "_shortlist",
        "_slowest",
        "answered",
        "end",
        "failures",
        "hops",
        "target",
    )

    def __init__(
        self, target: bytes, ask: Ask, config: KadConfig, local: PeerId, paces: Paces | None = None
    ) -> None:
        """`target`: 32-byte key (already hashed); `local` is never asked; `paces`: what was learnt."""
        self.target = target
        self.end: End | None = None
        self.answered = 0
        self.failures = 0
        self.hops = 0  # of the farthest that answered
        self._ask = ask
        self._config = config
        self._paces = Paces(config) if paces is None else paces
        self._shortlist: Shortlist[_Candidate] = Shortlist(target, config.shortlist_size)
        self._seen = {local.key}
        self._asked = 0
        # In the order of asking: token -> candidate.
        self._outstanding: dict[int, _Candidate] = {}
        self._fresh: dict[int, _Candidate] = {}  # those still in their slot, alpha at most
        self._slowest: float | None = None
        self._held_until: float | None = None

    @property
    def asked(self) -> int:
        """Peers asked so far."""
        return self._asked

    @property
    def in_flight(self) -> int:
        """Slots taken: requests out that are not late."""
        return len(self._fresh)

    @property
    def only_late(self) -> bool:
        """Somebody answered, nobody in a slot is waited for, but late peers still hold the end."""
        return self.end is None and self.answered > 0 and not self._fresh

    def add(self, peers: Iterable[PeerInfo], hops: int = 1) -> None:
        """Peers heard of, `hops` away. Those known already, and ourselves, change nothing."""
        seen, insert = self._seen, self._shortlist.insert
        for peer in peers:
            key = peer.peer_id.key
            if key not in seen:
                seen.add(key)
                insert(key, _Candidate(peer, hops))

    def poll(self, now: float) -> list[Outgoing]:
        """The requests to send now; notices the end."""
        if self.end is not None:
            return []
        config, fresh = self._config, self._fresh
        requests: list[Outgoing] = []
        live, is_open, cut = 0, False, False
        self._held_until = None
        for candidate in self._shortlist.values():
            state = candidate.state
            if state is PeerState.ANSWERED:
                live += 1
            elif state is PeerState.WAITING:
                live += 1
                is_open = True
            elif state is PeerState.LATE:
                is_open = self._holds(candidate, now) or is_open
            elif self._asked >= config.max_asked:
                cut = True
            else:
                live += 1
                is_open = True
                if len(fresh) >= config.alpha:
                    break
                requests.append(self._ask_now(candidate, now))
            if live >= config.k:
                break
        if not is_open:
            self.end = End.LIMIT if cut else End.COMPLETE
        return requests

    def replied(self, token: int, protocol: str, payload: bytes, now: float) -> tuple[object, ...]:
        """An answer: what was found in it. Raises PeerFault: call `failed` then."""
        candidate = self._outstanding.get(token)
        if candidate is None or self.end is not None:
            return ()
        answer = self._ask.read(candidate.peer, protocol, payload, now)
        self._leave(token)
        candidate.state = PeerState.ANSWERED
        candidate.protocol = protocol
        self.answered += 1
        took = now - candidate.asked_at
        self._paces.answered(candidate.peer.peer_id, took, candidate.connected)
        if self._slowest is None or took > self._slowest:
            self._slowest = took
        self.hops = max(self.hops, candidate.hops)
        self.add(answer.closer, candidate.hops + 1)
        if answer.stop:
            self.end = End.STOPPED
        return answer.items

    def failed(self, token: int, kind: FailureKind, now: float) -> None:
        """No answer will come; the next closest moves up."""
        candidate = self._outstanding.get(token)
        if candidate is not None and self.end is None:
            self._leave(token)
            self._shortlist.remove(candidate.peer.peer_id.key)
            self.failures += 1

    def stop(self, end: End) -> None:
        """End now, with what was found."""
        if self.end is None:
            self.end = end

    def next_timer(self) -> float | None:
        """When a slot is given on, a request given up, or a late peer no longer waited for."""
        if self.end is not None:
            return None
        when = self._held_until
        for candidate in self._fresh.values():
            when = _earlier(when, candidate.late_at)
        if self._outstanding:
            oldest = next(iter(self._outstanding.values()))
            when = _earlier(when, oldest.asked_at + self._config.request_timeout_s)
        return when

    def handle_timer(self, now: float) -> None:
        """Age the requests in flight; poll afterwards."""
        fresh, outstanding = self._fresh, self._outstanding
        for token in [token for token, candidate in fresh.items() if candidate.late_at <= now]:
            candidate = fresh.pop(token)
            candidate.state = PeerState.LATE
            self._paces.late(candidate.peer.peer_id, now)
        while outstanding:
            token, candidate = next(iter(outstanding.items()))
            if candidate.asked_at + self._config.request_timeout_s > now:
                break
            self.failed(token, FailureKind.TIMEOUT, now)

    def closest(self) -> tuple[Answered, ...]:
        """The up to k closest peers that answered, closest first."""
        found = []
        for candidate in self._shortlist.values():
            if candidate.state is PeerState.ANSWERED:
                found.append(Answered(candidate.peer, candidate.protocol))
                if len(found) == self._config.k:
                    break
        return tuple(found)

    def _ask_now(self, candidate: _Candidate, now: float) -> Outgoing:
        token = self._asked
        self._asked += 1
        paces, peer_id = self._paces, candidate.peer.peer_id
        candidate.asked_at = now
        candidate.connected = paces.is_connected(peer_id)
        self._outstanding[token] = candidate
        if paces.is_silent(peer_id, now):
            candidate.state = PeerState.LATE
        else:
            patience = paces.patience(peer_id)
            candidate.state = PeerState.WAITING
            candidate.late_at = now + patience
            candidate.hold_s = min(self._config.settle_s, self._config.settle_factor * patience)
            self._fresh[token] = candidate
        choices = self._ask.choices(candidate.peer)
        return Outgoing(token, candidate.peer, choices, self._config.request_timeout_s)

    def _holds(self, late: _Candidate, now: float) -> bool:
        """Whether a late peer holds the end: as long as others were slow, too, or nobody answered at all.

        One that was silent before never does.
        """
        config = self._config
        if self._slowest is None:
            return True
        if not late.hold_s:
            return False
        hold = max(late.hold_s, config.settle_factor * self._slowest)
        until = late.asked_at + min(hold, config.request_timeout_s)
        if until <= now:
            return False
        self._held_until = _earlier(self._held_until, until)
        return True

    def _leave(self, token: int) -> None:
        del self._outstanding[token]
        self._fresh.pop(token, None)


def _earlier(a: float | None, b: float) -> float:
    return b if a is None or b < a else a


@dataclass(frozen=True, slots=True)
class LookupResult:
    """What a lookup found: the closest peers that answered, and how it went."""

    closest: tuple[Answered, ...]
    end: End
    asked: int
    answered: int
    failed: int


# Where a lookup starts from: peers known near a 32-byte target, at a time.
Seeds = Callable[[bytes, float], Iterable[PeerInfo]]


class LookupJob:
    """A lookup with a deadline; whatever the answers hold is its progress. Its result is a LookupResult."""

    __slots__ = ("_deadline", "_events", "_last", "_seeds", "_timeout_s", "lookup", "result")

    def __init__(self, lookup: Lookup, seeds: Seeds, timeout_s: float) -> None:
        self.lookup = lookup
        self.result: object = None
        self._seeds = seeds
        self._timeout_s = timeout_s
        self._deadline = 0.0
        self._events: list[object] = []
        self._last = False

    @property
    def finished(self) -> bool:
        """The lookup ended and its result stands."""
        return self._last

    def start(self, now: float) -> None:
        """Begin with the closest peers of the table."""
        self._deadline = now + self._timeout_s
        self.lookup.add(self._seeds(self.lookup.target, now))

    def poll_requests(self, now: float) -> list[Outgoing]:
        """The next requests; when the lookup has ended, the last words of the job."""
        if self._last:
            return []
        requests = self.lookup.poll(now)
        if self.lookup.end is not None:
            self._last = True
            self.result = self.conclude(now)
            return self.last_words()
        return requests

    def reply(self, token: int, protocol: str, payload: bytes, now: float) -> None:
        """Feed the lookup; raises PeerFault."""
        self._events.extend(self.lookup.replied(token, protocol, payload, now))

    def failed(self, token: int, kind: FailureKind, now: float) -> None:
        """Feed the lookup."""
        self.lookup.failed(token, kind, now)

    def next_timer(self) -> float | None:
        """The lookup's timer or the deadline."""
        return _earlier(self.lookup.next_timer(), self._deadline)

    def handle_timer(self, now: float) -> None:
        """Age the lookup, or end it."""
        if now >= self._deadline:
            self.lookup.stop(End.DEADLINE)
        else:
            self.lookup.handle_timer(now)

    def poll_events(self) -> list[object]:
        """Items out of the answers."""
        events, self._events = self._events, []
        return events

    def cancel(self, now: float) -> None:
        """End with what was found."""
        self.lookup.stop(End.CANCELLED)

    def conclude(self, now: float) -> object:
        """The job's result; the lookup has ended."""
        return lookup_result(self.lookup)

    def last_words(self) -> list[Outgoing]:
        """Requests whose outcome nobody waits for."""
        return []


def lookup_result(lookup: Lookup) -> LookupResult:
    """The result of a lookup that has ended."""
    return LookupResult(
        lookup.closest(), lookup.end or End.CANCELLED, lookup.asked, lookup.answered, lookup.failures
    )
