"""The iterative lookup: ever closer peers, at most alpha in flight, never in lockstep (specs kad-dht)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from fastmarket._xor import Shortlist
from fastmarket.config import KadConfig
from fastmarket.formats.choice import FailureKind
from fastmarket.formats.identity import PeerId
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.alive import Alive
from fastmarket.kad.closest import Closest
from fastmarket.kad.jobs import Outgoing
from fastmarket.kad.netsize import NetworkSize
from fastmarket.kad.paces import Paces
from fastmarket.kad.query import Ask
from fastmarket.kad.search import (
    Answered,
    Candidate,
    End,
    PeerState,
    choose,
    chosen_answered,
    closest_answered,
    earlier,
)
from fastmarket.kad.vouching import voucher


@dataclass(frozen=True, slots=True)
class Learnt:
    """What a node's lookups have taught it, for the next ones."""

    paces: Paces
    size: NetworkSize
    named: Callable[[Iterable[PeerInfo]], None] | None = None
    """Told of the peers in every answer."""
    alive: Alive | None = None
    """Who need not be asked to be found; None: everybody is asked."""

    def identified(self, peer_id: PeerId, protocols: Collection[str], now: float) -> None:
        """A connection to the peer is open, and it said what it speaks."""
        self.paces.connected(peer_id)
        if self.alive is not None:
            self.alive.identified(peer_id, protocols, now)

    def disconnected(self, peer_id: PeerId) -> None:
        """The last connection to the peer ended."""
        self.paces.disconnected(peer_id)
        if self.alive is not None:
            self.alive.disconnected(peer_id)


# Who asks whom, where several lookups share one question: by 32-byte key.
Claims = dict[bytes, Candidate]


_UNASKED = (PeerState.HEARD, PeerState.VOUCHED)


class Lookup:
    """The algorithm over one question. Pure: it is polled for requests and fed their outcomes.

    It ends when the closest peers it knows of (`kad.closest`) have answered, failed ones left out; a late one
    among them is waited for in proportion to how slow the others were. It asks nobody beyond them, and never
    more than `max_asked` peers in all.

    Where only peers are sought, those known to be alive need not answer once more (`kad.vouching`): the
    `agreeing` closest have to, and by then have named whom they know closer than the rest.
    """

    __slots__ = (
        "_alive",
        "_ask",
        "_asked",
        "_claims",
        "_config",
        "_fresh",
        "_held_until",
        "_named",
        "_outstanding",
        "_paces",
        "_seen",
        "_shortlist",
        "_size",
        "_slowest",
        "_voucher",
        "_waited",
        "answered",
        "end",
        "failures",
        "hops",
        "target",
    )

    def __init__(
        self,
        target: bytes,
        ask: Ask,
        config: KadConfig,
        local: PeerId,
        learnt: Learnt | None = None,
        claims: Claims | None = None,
    ) -> None:
        """`target`: 32-byte key (already hashed); `local` is never asked.

        `claims`, shared with other lookups for the same: whom one of them asks the others do not. What these
        find out of the network's size says little, so it is not learnt.
        """
        self.target = target
        self.end: End | None = None
        self.answered = 0
        self.failures = 0
        self.hops = 0
        self._ask = ask
        self._config = config
        learnt = learnt or Learnt(Paces(config), NetworkSize(config))
        self._paces = learnt.paces
        self._size = learnt.size
        self._named = learnt.named
        self._alive = learnt.alive
        # On disjoint paths nobody is believed for having been there before.
        self._voucher = (
            None if claims is not None else voucher(target, ask, config, learnt.alive, learnt.size)
        )
        self._claims = claims
        self._shortlist: Shortlist[Candidate] = Shortlist(target, config.shortlist_size)
        self._seen = {local.key}
        self._asked = 0
        # In the order of asking: token -> candidate.
        self._outstanding: dict[int, Candidate] = {}
        self._fresh: dict[int, Candidate] = {}  # those still in their slot, alpha at most
        self._slowest: float | None = None
        self._held_until: float | None = None
        # Of the closest, how many are to answer before anything changes; 0: that has to be found out.
        self._waited = 0

    @property
    def asked(self) -> int:
        """Peers asked so far."""
        return self._asked

    @property
    def heard(self) -> int:
        """Peers heard of so far."""
        return len(self._seen)

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
                if insert(key, Candidate(peer, hops)) >= 0:
                    self._waited = 0

    def poll(self, now: float) -> list[Outgoing]:
        """The requests to send now; notices the end."""
        if self.end is not None or self._waited > 0:
            return []
        requests: list[Outgoing] = []
        voucher = self._voucher
        end = self._walk(requests, now)
        if self._voucher is not voucher:
            end = self._walk(requests, now)
        if end is not None and requests:
            self._held_until = now  # of silent ones: nobody waits for them, but they are asked
        elif end is not None:
            self._complete(end)
        return requests

    def _walk(self, requests: list[Outgoing], now: float) -> End | None:
        """Adds to `requests` whom it is time to ask; the end, if nobody is to be waited for."""
        config, fresh, chosen = self._config, self._fresh, Closest(self._config)
        asked, answered, waited, is_open, cut = 0, 0, 0, False, False
        self._held_until = None
        for listed in self._shortlist.values():
            if not chosen.wants(listed.group):
                continue
            candidate = listed if self._claims is None else self._whoever_asked(listed)
            state = candidate.state
            if state in _UNASKED:
                if asked >= config.agreeing and self._vouched(candidate, chosen, now):
                    if chosen.full:
                        break
                    continue
                if self._asked >= config.max_asked:
                    cut = True
                    continue
                if len(fresh) >= config.alpha:
                    is_open, waited = True, 0
                    break
                requests.append(self._ask_now(candidate, now))
                state = candidate.state
            if state is PeerState.LATE:
                is_open = self._holds(candidate, now) or is_open
            elif state is not PeerState.FAILED:
                chosen.take(listed.group)
                asked += 1
                answered += state is PeerState.ANSWERED
                waited += state is PeerState.WAITING
                is_open = is_open or state is PeerState.WAITING
                if chosen.full or (answered >= config.beta and not is_open):
                    break
        self._waited = waited if self._claims is None and config.beta >= config.k else 0
        if is_open:
            return None
        return End.LIMIT if cut else End.COMPLETE

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
        self._waited -= 1
        took = now - candidate.asked_at
        self._paces.answered(candidate.peer.peer_id, took, candidate.connected)
        if self._slowest is None or took > self._slowest:
            self._slowest = took
        self.hops = max(self.hops, candidate.hops)
        self.add(answer.closer, candidate.hops + 1)
        if self._named is not None:
            self._named(answer.closer)
        if answer.stop:
            self.end = End.STOPPED
        return answer.items

    def failed(self, token: int, kind: FailureKind, now: float) -> None:
        """No answer will come; the next closest moves up."""
        candidate = self._outstanding.get(token)
        if candidate is not None and self.end is None:
            self._leave(token)
            self._waited = 0
            candidate.state = PeerState.FAILED
            self._shortlist.remove(candidate.peer.peer_id.key)
            self.failures += 1
            if kind is not FailureKind.BUSY:
                self._surprised(candidate)

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
            when = earlier(when, candidate.late_at)
        if self._outstanding:
            oldest = next(iter(self._outstanding.values()))
            when = earlier(when, oldest.asked_at + self._config.request_timeout_s)
        return when

    def handle_timer(self, now: float) -> None:
        """Age the requests in flight; poll afterwards."""
        fresh, outstanding = self._fresh, self._outstanding
        self._waited = 0
        for token in [token for token, candidate in fresh.items() if candidate.late_at <= now]:
            candidate = fresh.pop(token)
            candidate.state = PeerState.LATE
            self._paces.late(candidate.peer.peer_id, now)
            self._surprised(candidate)
        while outstanding:
            token, candidate = next(iter(outstanding.items()))
            if candidate.asked_at + self._config.request_timeout_s > now:
                break
            self.failed(token, FailureKind.TIMEOUT, now)

    def closest(self) -> tuple[Answered, ...]:
        """The up to k closest peers that answered or are known to be alive, closest first."""
        return closest_answered(self._shortlist.values(), self._config.k)

    def storers(self) -> tuple[Answered, ...]:
        """Where to store: those, and more where an address block is crowded (`kad.closest`)."""
        return chosen_answered(self._shortlist.values(), self._config)

    def nearest(self) -> list[Candidate]:
        """The closest known that have not failed, whether they have answered or not."""
        return choose(self._shortlist.values(), self._config)

    def own(self) -> list[Candidate]:
        """All known that this lookup asked or may ask, closest first."""
        claims = self._claims
        if claims is None:
            return self._shortlist.values()
        return [one for one in self._shortlist.values() if claims.get(one.peer.peer_id.key, one) is one]

    def _vouched(self, candidate: Candidate, chosen: Closest, now: float) -> bool:
        """Whether it counts among the `chosen` without being asked. Past a crowd nobody does."""
        if self._voucher is None or chosen.crowded or not self._voucher.vouches(candidate, now):
            candidate.state = PeerState.HEARD  # also where it was vouched for before
            return False
        candidate.state = PeerState.VOUCHED
        chosen.take(candidate.group)
        return True

    def _ask_now(self, candidate: Candidate, now: float) -> Outgoing:
        token = self._asked
        self._asked += 1
        paces, peer_id = self._paces, candidate.peer.peer_id
        candidate.asked_at = now
        candidate.connected = paces.is_connected(peer_id)
        self._outstanding[token] = candidate
        if self._claims is not None:
            self._claims[peer_id.key] = candidate
        if paces.is_silent(peer_id, now):
            candidate.state = PeerState.LATE
            self._surprised(candidate)
        else:
            patience = paces.patience(peer_id)
            candidate.state = PeerState.WAITING
            candidate.late_at = now + patience
            candidate.hold_s = min(self._config.settle_s, self._config.settle_factor * patience)
            self._fresh[token] = candidate
        choices = self._ask.choices(candidate.peer)
        return Outgoing(token, candidate.peer, choices, self._config.request_timeout_s)

    def _whoever_asked(self, listed: Candidate) -> Candidate:
        """The candidate of the lookup that asks this peer, ours if nobody does."""
        assert self._claims is not None
        return self._claims.get(listed.peer.peer_id.key, listed)

    def _complete(self, end: End) -> None:
        self.end = end
        if end is End.COMPLETE and self._claims is None:
            self._size.learn(self.target, [found.peer.peer_id.key for found in self.closest()])

    def _holds(self, late: Candidate, now: float) -> bool:
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
        self._held_until = earlier(self._held_until, until)
        return True

    def _surprised(self, candidate: Candidate) -> None:
        """A connected peer falls silent: that may have befallen others, too, so now all are asked."""
        if candidate.state is PeerState.LATE and self._alive is not None:
            self._alive.doubted(candidate.peer.peer_id)
        if candidate.connected:
            self._voucher = None

    def _leave(self, token: int) -> None:
        del self._outstanding[token]
        self._fresh.pop(token, None)
