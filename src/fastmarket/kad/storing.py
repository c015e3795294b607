"""Put something on the k closest peers to a key, and know when enough of them have it."""

from __future__ import annotations

from dataclasses import dataclass

from fastmarket.config import KadConfig
from fastmarket.formats.choice import FailureKind
from fastmarket.formats.identity import PeerId
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.jobs import Outgoing
from fastmarket.kad.lookup import Answered, End, Lookup, Seeds
from fastmarket.kad.query import Store

# Tokens of the second phase start here; a lookup counts its own from 0 to max_asked.
_FIRST_STORE_TOKEN = 1_000_000


@dataclass(frozen=True, slots=True)
class QuorumReached:
    """Progress, once: enough peers acknowledged. The job goes on to the rest."""

    acknowledged: int
    asked: int
    wanted: int


@dataclass(frozen=True, slots=True)
class StoreResult:
    """`asked` peers whose acknowledgement counts, `plain` others; here a stored copy is not counted.

    `silent` peers were asked by the lookup and have not answered.
    """

    acknowledged: int
    asked: int
    wanted: int
    plain: int
    silent: int
    closest: tuple[Answered, ...]
    end: End

    @property
    def succeeded(self) -> bool:
        """The lookup found where to store, and the quorum was met."""
        return self.acknowledged >= self.wanted


class StoreJob:
    """A lookup, then one request to each of the closest at once.

    When the lookup only waits for late peers, those that have answered are stored at meanwhile: a peer that
    hangs does not keep the quorum of the others from being met.
    """

    __slots__ = (
        "_acknowledged",
        "_config",
        "_counting",
        "_deadline",
        "_events",
        "_lookup",
        "_lookup_deadline",
        "_out",
        "_plain",
        "_reached",
        "_seeds",
        "_store",
        "_stored_at",
        "_storing",
        "_timeout_s",
        "result",
    )

    def __init__(
        self, lookup: Lookup, store: Store, seeds: Seeds, config: KadConfig, timeout_s: float
    ) -> None:
        self.result: StoreResult | None = None
        self._lookup = lookup
        self._store = store
        self._seeds = seeds
        self._config = config
        self._timeout_s = timeout_s
        self._deadline = self._lookup_deadline = 0.0
        self._events: list[object] = []
        self._storing = False
        self._stored_at: set[PeerId] = set()
        self._out: dict[int, tuple[PeerInfo, bool]] = {}  # token -> peer, whether it counts
        self._plain = self._counting = self._acknowledged = 0
        self._reached = False

    @property
    def lookup(self) -> Lookup:
        """How it goes."""
        return self._lookup

    @property
    def finished(self) -> bool:
        """All have answered or failed, or the deadline passed."""
        return self.result is not None

    def so_far(self) -> StoreResult:
        """The counts at this moment; nobody is asked (0 of 0, and one is wanted) while the lookup goes on."""
        return StoreResult(
            self._acknowledged,
            self._counting,
            self._store.wanted(self._counting) if self._storing else 1,
            self._plain,
            self._lookup.asked - self._lookup.answered,
            self._lookup.closest(),
            self._lookup.end or End.CANCELLED,
        )

    def start(self, now: float) -> None:
        """Begin the lookup; half the time is kept for storing."""
        self._deadline = now + self._timeout_s
        self._lookup_deadline = now + self._timeout_s / 2
        self._lookup.add(self._seeds(self._lookup.target, now))

    def poll_requests(self, now: float) -> list[Outgoing]:
        """Requests of the lookup, then of the store; at late peers when they have answered after all."""
        if self.result is not None:
            return []
        requests = self._lookup.poll(now)
        end = self._lookup.end
        if end is not End.CANCELLED and (end is not None or (not requests and self._lookup.only_late)):
            requests = self._store_at_new(now)
        if end is not None and not self._out:
            self._finish()
        return requests

    def reply(self, token: int, protocol: str, payload: bytes, now: float) -> None:
        """An answer to either phase; raises PeerFault."""
        if token < _FIRST_STORE_TOKEN:
            self._lookup.replied(token, protocol, payload, now)
            return
        entry = self._out.get(token)
        if entry is None:
            return  # it came after the deadline
        peer, counted = entry
        stored = self._store.acknowledged(peer, protocol, payload)
        del self._out[token]
        if stored is None and counted:
            self._counting -= 1
            self._plain += 1
        elif stored and counted:
            self._acknowledged += 1
        self._check_quorum()

    def failed(self, token: int, kind: FailureKind, now: float) -> None:
        """One peer less to wait for."""
        if token < _FIRST_STORE_TOKEN:
            self._lookup.failed(token, kind, now)
        else:
            self._out.pop(token, None)

    def next_timer(self) -> float | None:
        """The lookup's timer or the deadline; the shell ends each store request."""
        if self.finished:
            return None
        if self._lookup.end is not None:
            return self._deadline
        lookup_timer = self._lookup.next_timer()
        return self._lookup_deadline if lookup_timer is None else min(lookup_timer, self._lookup_deadline)

    def handle_timer(self, now: float) -> None:
        """A lookup that used up its share of the time still stores at what it found."""
        if now >= self._deadline:
            self._lookup.stop(End.DEADLINE)
            self._out.clear()
        elif now >= self._lookup_deadline:
            self._lookup.stop(End.DEADLINE)
        else:
            self._lookup.handle_timer(now)

    def poll_events(self) -> list[object]:
        """QuorumReached, once."""
        events, self._events = self._events, []
        return events

    def cancel(self, now: float) -> None:
        """End with what was acknowledged so far."""
        self._lookup.stop(End.CANCELLED)
        self._out.clear()
        self._finish()

    def _store_at_new(self, now: float) -> list[Outgoing]:
        """Store at the closest that have answered since the last call."""
        timeout_s = min(self._config.request_timeout_s, max(self._deadline - now, 0.0))
        requests = []
        for answered in self._lookup.closest():
            if answered.peer.peer_id in self._stored_at:
                continue
            self._stored_at.add(answered.peer.peer_id)
            choices = self._store.choices(answered.peer, answered.protocol)
            if not choices:
                continue
            counts = self._store.counts(answered.peer, answered.protocol)
            self._counting += counts
            self._plain += not counts
            token = _FIRST_STORE_TOKEN + len(self._stored_at)
            self._out[token] = (answered.peer, counts)
            requests.append(Outgoing(token, answered.peer, choices, timeout_s))
        self._storing = True
        self._check_quorum()
        return requests

    def _check_quorum(self) -> None:
        if not self._counting and self._lookup.end is None:
            return  # a late peer may still be one that counts
        wanted = self._store.wanted(self._counting)
        if not self._reached and self._acknowledged >= wanted:
            self._reached = True
            self._events.append(QuorumReached(self._acknowledged, self._counting, wanted))

    def _finish(self) -> None:
        self.result = self.so_far()
