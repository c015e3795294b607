"""Which of our public addresses others can connect to, as servers of AutoNAT v2 say.

Each address is judged by itself. A server's word counts once for its address block, and only its latest one:
an address is reachable, or unreachable, when `CONFIRMATIONS` blocks agree and at most `TOLERATED` of the
latest `WINDOW` say otherwise. The same rule ends a judgement, so that neither one lost packet in twenty nor a
server that lies turns it. Until then an address is unknown.

A judged address is asked about again every `RECHECK_S`; an answer that contradicts the judgement, or a new
address, has several servers asked at once.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from math import inf
from typing import Final

from fastmarket.bounded_map import BoundedMap
from fastmarket.call_rate import CallRate
from fastmarket.formats.identity import PeerId
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.scope import ip_of
from fastmarket.libp2p.autonat.client import DialOutcome, Verdict

CONFIRMATIONS: Final = 4  # "more than 3 servers" (specification)
TOLERATED: Final = 1  # of the latest votes that may say otherwise
WINDOW: Final = 6  # votes that count; one for each address block
MAX_ADDRS: Final = 16  # judged; an address costs 2 requests a minute

UNDECIDED_S: Final = (
    60.0  # between requests about an address on which all servers that there are do not agree
)
RECHECK_S: Final = 20.0  # between requests about a judged address: a change shows within a minute
COSTLY_RECHECK_S: Final = 600.0  # likewise where each costs 30 to 100 kB: no server is reached by its family
REVOTE_S: Final = 15.0  # until servers of one block are asked about an address again
SERVER_PAUSE_S: Final = 6.0  # between requests to one server: go-libp2p answers 12 a minute
BACKOFF_S: Final = 120.0  # until a server that did not answer, or would not dial, is asked again; go-libp2p's
MAX_KNOWN: Final = 1024  # servers of which that is remembered
MAX_RUNNING: Final = 8  # requests at once
ASKS_PER_MINUTE: Final = 30  # in all
ASKS_AT_ONCE: Final = 16  # after a pause: four addresses, judged at once
HOLD_S: Final = 30.0  # a new address is held back for, where there are servers enough to judge it
FORGET_S: Final = 1800.0  # without any answer about it, an address is unknown again


class Reachability(Enum):
    """Whether others can connect to an address, or to a node by any of its addresses."""

    UNKNOWN = "unknown"
    REACHABLE = "reachable"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class Server:
    """A peer that speaks the protocol. `group`: those of one address block count as one; `version`: of the IP
    by which it is connected."""

    peer: PeerId
    group: Hashable
    version: int


@dataclass(frozen=True, slots=True)
class AddressProbe:
    """A request to make; the first address is the one that it is about."""

    server: Server
    addrs: tuple[Multiaddr, ...]


@dataclass(slots=True)
class _Judged:
    """One address."""

    version: int
    held_until: float
    due: float  # when to ask about it
    state: Reachability = Reachability.UNKNOWN
    votes: BoundedMap[Hashable, tuple[bool, float]] = field(default_factory=lambda: BoundedMap(WINDOW))
    running: set[Hashable] = field(default_factory=set)  # groups being asked
    heard_at: float = -inf

    @property
    def is_doubted(self) -> bool:
        """Whether several are to be asked at once."""
        if self.state is Reachability.UNKNOWN:
            return True
        latest = next(reversed(list(self.votes.values())), None)
        return latest is not None and latest[0] is not (self.state is Reachability.REACHABLE)

    def asked_again_at(self, group: Hashable) -> float:
        """When servers of that block may be asked again."""
        if group in self.running:
            return inf
        last = self.votes.peek(group)
        return -inf if last is None else last[1] + REVOTE_S

    def judge(self) -> Reachability:
        """By the votes; what it was if they do not agree."""
        yes = sum(reached for reached, _ in self.votes.values())
        no = len(self.votes) - yes
        if yes >= CONFIRMATIONS and no <= TOLERATED:
            return Reachability.REACHABLE
        if no >= CONFIRMATIONS and yes <= TOLERATED:
            return Reachability.UNREACHABLE
        return self.state


class ReachabilityTracker:
    """Judges the addresses it is given, by the servers it is given.

    Take `poll_probes` after every call and at `next_timer`, and give each one's outcome to `on_verdict`.
    """

    def __init__(self) -> None:
        self._judged: dict[Multiaddr, _Judged] = {}
        self._servers: dict[PeerId, Server] = {}
        # When a server may be asked again, and when about an address of an IP version.
        self._free_at: BoundedMap[PeerId, float] = BoundedMap(MAX_KNOWN)
        self._dials_at: BoundedMap[tuple[PeerId, int], float] = BoundedMap(MAX_KNOWN)
        self._rate = CallRate(ASKS_PER_MINUTE / 60, ASKS_AT_ONCE, 1)
        self._running = 0
        self._wait_until = -inf  # for the rate
        self._overall = Reachability.UNKNOWN
        self.changes = 0
        """How often an address was judged otherwise than before."""

    # --- what the shell tells

    def set_candidates(self, addrs: Iterable[Multiaddr], now: float) -> None:
        """Our public addresses, from wherever we know them."""
        wanted = list(dict.fromkeys(addrs))[:MAX_ADDRS]
        for addr in [addr for addr in self._judged if addr not in wanted]:
            del self._judged[addr]
        can_judge = len(self._groups()) >= CONFIRMATIONS
        for addr in wanted:
            if addr not in self._judged:
                ip = ip_of(addr)
                version = 0 if ip is None else ip.version
                self._judged[addr] = _Judged(version, now + HOLD_S if can_judge else -inf, now)
        self._conclude()

    def set_servers(self, servers: Iterable[Server]) -> None:
        """All that can be asked."""
        known = self._groups()
        self._servers = {server.peer: server for server in servers}
        if self._groups() - known:
            for judged in self._judged.values():
                if judged.state is Reachability.UNKNOWN and len(judged.votes) < WINDOW:
                    judged.due = -inf  # a server that may decide

    def on_network_changed(self, now: float) -> None:
        """This machine is in another network: every judgement has to be made again, and stands until then.
        That nothing is reachable does not: there may be another router."""
        for judged in self._judged.values():
            judged.votes = BoundedMap(WINDOW)
            judged.due = now
        self._overall = Reachability.UNKNOWN
        self._conclude()

    def on_verdict(self, ask: AddressProbe, verdict: Verdict, now: float) -> None:
        """The end of a request."""
        self._running -= 1
        group = ask.server.group
        asked = self._judged.get(ask.addrs[0])
        if asked is not None:
            asked.running.discard(group)
        found = None if verdict.addr is None else self._judged.get(verdict.addr)
        if verdict.outcome is DialOutcome.NOTHING:
            self._free_at.put(ask.server.peer, now + BACKOFF_S)
        elif verdict.outcome is DialOutcome.REFUSED:
            ip = ip_of(ask.addrs[0])
            self._dials_at.put((ask.server.peer, 0 if ip is None else ip.version), now + BACKOFF_S)
        elif found is not None:
            self._vote(found, group, verdict.outcome is DialOutcome.REACHED, now)
        self._conclude()

    # --- what it says

    def states(self) -> dict[Multiaddr, Reachability]:
        """Of all candidates."""
        return {addr: judged.state for addr, judged in self._judged.items()}

    @property
    def overall(self) -> Reachability:
        """REACHABLE: by an address at least. UNREACHABLE: by none of them, until one is, or the network
        changes."""
        return self._overall

    def withheld(self, now: float) -> frozenset[Multiaddr]:
        """Candidates that are told to nobody: unreachable ones, and new ones while they are being judged."""
        return frozenset(
            addr
            for addr, judged in self._judged.items()
            if judged.state is Reachability.UNREACHABLE
            or (judged.state is Reachability.UNKNOWN and now < judged.held_until)
        )

    @property
    def is_short_of_servers(self) -> bool:
        """Whether addresses cannot be judged for want of servers in different address blocks."""
        return bool(self._judged) and len(self._groups()) < CONFIRMATIONS

    def poll_probes(self, now: float) -> Sequence[AddressProbe]:
        """Requests to make now."""
        self._forget(now)
        asks: list[AddressProbe] = []
        for addr, judged in self._judged.items():
            while judged.due <= now and self._may_ask(judged):
                server = self._server_for(judged, now)
                if server is None:
                    break
                wait_s = self._rate.take(None, now)
                if wait_s:
                    self._wait_until = now + wait_s
                    return asks
                asks.append(self._ask(server, addr, judged, now))
        return asks

    def next_timer(self) -> float:
        """When `poll_probes` may have something, or `withheld` differs; inf if never."""
        when = inf
        for judged in self._judged.values():
            if judged.held_until > -inf:
                when = min(when, judged.held_until)
            if judged.state is not Reachability.UNKNOWN:
                when = min(when, judged.heard_at + FORGET_S)
            if self._may_ask(judged):
                when = min(when, max(judged.due, self._wait_until, self._server_at(judged)))
        return when

    # --- within

    def _ask(self, server: Server, addr: Multiaddr, judged: _Judged, now: float) -> AddressProbe:
        judged.running.add(server.group)
        self._running += 1
        self._free_at.put(server.peer, now + SERVER_PAUSE_S)
        return AddressProbe(server, (addr,))

    def _groups(self) -> set[Hashable]:
        return {server.group for server in self._servers.values()}

    def _forget(self, now: float) -> None:
        """Ends what has lasted for long enough."""
        for judged in self._judged.values():
            if judged.held_until <= now:
                judged.held_until = -inf
            if judged.state is not Reachability.UNKNOWN and judged.heard_at + FORGET_S <= now:
                judged.state = self._overall = Reachability.UNKNOWN
                judged.votes = BoundedMap(WINDOW)
        self._conclude()

    def _may_ask(self, judged: _Judged) -> bool:
        """Whether one more request may run: one for a judgement that stands, several for one to be made."""
        at_once = CONFIRMATIONS if judged.is_doubted else 1
        return self._running < MAX_RUNNING and len(judged.running) < at_once

    def _asked_again_at(self, judged: _Judged, server: Server) -> float:
        """When a server may be asked about an address; inf: it may not."""
        if server.version != judged.version and self._has_family(judged.version):
            return inf  # one of its own family costs nothing
        refuses = self._dials_at.peek((server.peer, judged.version))
        free = self._free_at.peek(server.peer)
        return max(
            judged.asked_again_at(server.group),
            -inf if refuses is None else refuses,
            -inf if free is None else free,
        )

    def _server_for(self, judged: _Judged, now: float) -> Server | None:
        """Of those that may be asked: of a block that has not been asked, or not for long."""
        free = [one for one in self._servers.values() if self._asked_again_at(judged, one) <= now]
        return min(free, key=lambda one: self._voted_at(judged, one), default=None)

    def _voted_at(self, judged: _Judged, server: Server) -> tuple[float, float]:
        last = judged.votes.peek(server.group)
        return -inf if last is None else last[1], self._free_at.peek(server.peer) or -inf

    def _has_family(self, version: int) -> bool:
        return any(server.version == version for server in self._servers.values())

    def _server_at(self, judged: _Judged) -> float:
        """When some server may be asked about it."""
        return min((self._asked_again_at(judged, one) for one in self._servers.values()), default=inf)

    def _vote(self, judged: _Judged, group: Hashable, reached: bool, now: float) -> None:
        judged.votes.put(group, (reached, now))
        judged.heard_at = now
        before, judged.state = judged.state, judged.judge()
        if judged.state is not before:
            self.changes += 1
        judged.due = now + self._pause_s(judged)

    def _pause_s(self, judged: _Judged) -> float:
        """Until the next request about it."""
        if judged.state is Reachability.UNKNOWN:
            is_left = any(group not in judged.votes for group in self._groups())
            return 0.0 if is_left and len(judged.votes) < WINDOW else UNDECIDED_S
        if judged.is_doubted:
            return 0.0
        return RECHECK_S if self._has_family(judged.version) else COSTLY_RECHECK_S

    def _conclude(self) -> None:
        states = {judged.state for judged in self._judged.values()}
        if Reachability.REACHABLE in states:
            self._overall = Reachability.REACHABLE
        elif states == {Reachability.UNREACHABLE}:
            self._overall = Reachability.UNREACHABLE
        elif self._overall is Reachability.REACHABLE:
            self._overall = Reachability.UNKNOWN
