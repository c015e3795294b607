"""When and in which order to try addresses: failed ones back off exponentially; the others get staggered head
starts (RFC 8305, "Happy Eyeballs")."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from fastmarket.config import ConnectionConfig
from fastmarket.formats.multiaddr import Multiaddr

MAX_DOUBLINGS = 32  # by then the backoff has long reached its limit


@dataclass(frozen=True, slots=True)
class Target:
    """Where to connect. `addr` is its origin: the address of that host, or a name."""

    addr: Multiaddr
    host: str
    port: int

    @property
    def is_ip6(self) -> bool:
        """The address family: IPv6, or else IPv4."""
        return ":" in self.host


class DialRace:
    """Schedules the targets of a dial. The best rank comes first, and within it the families alternate, IPv6
    first; each starts a little after the previous one, or as soon as one fails. One object per dial."""

    __slots__ = ("_known", "_last_was_ip6", "_left", "_not_before", "_stagger_s", "_waiting")

    def __init__(self, stagger_s: float, max_targets: int) -> None:
        self._stagger_s = stagger_s
        self._left = max_targets
        self._waiting: list[tuple[int, Target]] = []
        self._known: set[tuple[str, int]] = set()
        self._last_was_ip6 = False
        self._not_before = 0.0

    def add(self, target: Target, rank: int) -> bool:
        """Adds a target at any time; lower ranks come earlier. False if it was added before."""
        place = (target.host, target.port)
        if place in self._known:
            return False
        self._known.add(place)
        self._waiting.append((rank, target))
        return True

    def start(self, now: float) -> Target | None:
        """The target to try now; None if there is none yet, or no more."""
        if not self._waiting or not self._left or now < self._not_before:
            return None
        best = min(self._waiting, key=lambda item: (item[0], item[1].is_ip6 is self._last_was_ip6))
        self._waiting.remove(best)
        self._left -= 1
        self._last_was_ip6 = best[1].is_ip6
        self._not_before = now + self._stagger_s
        return best[1]

    def failed(self, now: float) -> None:
        """A target failed: the next need not wait."""
        self._not_before = min(self._not_before, now)

    def next_timer(self) -> float | None:
        """When `start` returns the next target; None if never, unless more are added."""
        return self._not_before if self._waiting and self._left else None


@dataclass(frozen=True, slots=True)
class _Failure:
    """How many times in a row an address failed, and until when it backs off."""

    times: int
    until: float
    refused: bool  # the last time, nothing listened there


class DialBook:
    """Failures and successes by address, limited in number; the least recent is forgotten first."""

    __slots__ = ("_config", "_failures", "_proven")

    def __init__(self, config: ConnectionConfig) -> None:
        self._config = config
        self._failures: OrderedDict[Multiaddr, _Failure] = OrderedDict()
        self._proven: OrderedDict[Multiaddr, None] = OrderedDict()

    def order(self, addrs: Iterable[Multiaddr], now: float) -> tuple[Multiaddr, ...]:
        """The addresses that may be tried now, by rank, and within it in the given order (best first)."""
        ready = [
            addr for addr in dict.fromkeys(a.without_peer() for a in addrs) if self.waits_until(addr) <= now
        ]
        return tuple(sorted(ready, key=self.rank))

    def rank(self, addr: Multiaddr) -> int:
        """0: it worked when last tried; 1: never tried; higher with each further failure."""
        addr = addr.without_peer()
        return 0 if addr in self._proven else 1 + self._failed_times(addr)

    def waits_until(self, addr: Multiaddr) -> float:
        """When `addr` may be tried again; 0.0: at any time."""
        failure = self._failures.get(addr.without_peer())
        return 0.0 if failure is None else failure.until

    def refuses(self, addr: Multiaddr) -> bool:
        """Whether it refused the connection when last tried."""
        failure = self._failures.get(addr.without_peer())
        return failure is not None and failure.refused

    def failed(self, addr: Multiaddr, now: float, *, refused: bool = False) -> None:
        """It did not lead to the peer; `refused`: the host is up, but nothing listens."""
        addr = addr.without_peer()
        self._proven.pop(addr, None)
        times = self._failed_times(addr) + 1
        wait = self._config.dial_backoff_s * 2.0 ** min(times - 1, MAX_DOUBLINGS)
        self._failures[addr] = _Failure(times, now + min(wait, self._config.max_dial_backoff_s), refused)
        self._failures.move_to_end(addr)
        if len(self._failures) > self._config.max_known_peers:
            self._failures.popitem(last=False)

    def succeeded(self, addr: Multiaddr) -> None:
        """It led to the peer."""
        self.forgive(addr)
        self._proven[addr.without_peer()] = None
        self._proven.move_to_end(addr.without_peer())
        if len(self._proven) > self._config.max_known_peers:
            self._proven.popitem(last=False)

    def forgive(self, addr: Multiaddr) -> None:
        """It may be tried at once, however often it failed."""
        self._failures.pop(addr.without_peer(), None)

    def _failed_times(self, addr: Multiaddr) -> int:
        failure = self._failures.get(addr)
        return 0 if failure is None else failure.times
