"""When and in which order to try addresses: those that failed wait, twice as long each time; the others get a
head start on each other (RFC 8305, "Happy Eyeballs")."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fastmarket.bounded_map import BoundedMap
from fastmarket.config import ConnectionConfig
from fastmarket.formats.multiaddr import Multiaddr

MAX_DOUBLINGS = 32  # beyond which the wait has long reached its bound


@dataclass(frozen=True, slots=True)
class Target:
    """Where to connect to, over which transport. `addr` is what it came from: the address of that host, or a
    name."""

    addr: Multiaddr
    transport: str
    host: str
    port: int

    @property
    def is_ip6(self) -> bool:
        """The family; the other one is IPv4."""
        return ":" in self.host


class DialRace:
    """Which target of a peer to try when. The best rank goes first, within it the families take turns, IPv6
    first; each starts a little after the one before, or as soon as one has failed. One object per dial."""

    __slots__ = ("_known", "_last_was_ip6", "_left", "_not_before", "_stagger_s", "_waiting")

    def __init__(self, stagger_s: float, max_targets: int) -> None:
        self._stagger_s = stagger_s
        self._left = max_targets
        self._waiting: list[tuple[int, Target]] = []
        self._known: set[tuple[str, str, int]] = set()
        self._last_was_ip6 = False
        self._not_before = 0.0

    def add(self, target: Target, rank: int) -> bool:
        """Lets it take part, at any time; the lower the rank, the earlier. False: it does already."""
        place = (target.transport, target.host, target.port)
        if place in self._known:
            return False
        self._known.add(place)
        self._waiting.append((rank, target))
        return True

    def start(self, now: float) -> Target | None:
        """What to try now; None: nothing yet, or nothing more."""
        if not self._waiting or not self._left or now < self._not_before:
            return None
        best = min(self._waiting, key=lambda item: (item[0], item[1].is_ip6 is self._last_was_ip6))
        self._waiting.remove(best)
        self._left -= 1
        self._last_was_ip6 = best[1].is_ip6
        self._not_before = now + self._stagger_s
        return best[1]

    def on_failed(self, now: float) -> None:
        """One that was tried leads nowhere: the next need not wait."""
        self._not_before = min(self._not_before, now)

    def next_timer(self) -> float | None:
        """When `start` has something; None: unless more is added, never."""
        return self._not_before if self._waiting and self._left else None


@dataclass(frozen=True, slots=True)
class _Failure:
    """How often in a row an address failed, and until when it waits."""

    times: int
    until: float
    refused: bool  # the last time: nobody listens there


class DialBook:
    """Failures and successes by address, bounded; the least recent is forgotten first."""

    __slots__ = ("_config", "_failures", "_proven")

    def __init__(self, config: ConnectionConfig) -> None:
        self._config = config
        self._failures: BoundedMap[Multiaddr, _Failure] = BoundedMap(config.max_known_peers)
        self._proven: BoundedMap[Multiaddr, None] = BoundedMap(config.max_known_peers)

    def order(self, addrs: Iterable[Multiaddr], now: float) -> tuple[Multiaddr, ...]:
        """Those that may be tried now, by rank, and within it in the order given (best first)."""
        ready = [
            addr for addr in dict.fromkeys(a.without_peer() for a in addrs) if self.waits_until(addr) <= now
        ]
        return tuple(sorted(ready, key=self.rank))

    def rank(self, addr: Multiaddr) -> int:
        """0: it worked when last tried; 1: never tried; more: the oftener it failed."""
        addr = addr.without_peer()
        return 0 if addr in self._proven else 1 + self._failed_times(addr)

    def waits_until(self, addr: Multiaddr) -> float:
        """When `addr` may be tried again; 0.0: at any time."""
        failure = self._failures.peek(addr.without_peer())
        return 0.0 if failure is None else failure.until

    def refuses(self, addr: Multiaddr) -> bool:
        """Whether it refused when it was last tried."""
        failure = self._failures.peek(addr.without_peer())
        return failure is not None and failure.refused

    def on_failed(self, addr: Multiaddr, now: float, *, refused: bool = False) -> None:
        """It did not lead to the peer; `refused`: the machine is there, and nobody listens."""
        addr = addr.without_peer()
        self._proven.pop(addr)
        times = self._failed_times(addr) + 1
        wait = self._config.dial_backoff_s * 2.0 ** min(times - 1, MAX_DOUBLINGS)
        until = now + min(wait, self._config.max_dial_backoff_s)
        self._failures.put(addr, _Failure(times, until, refused))

    def on_succeeded(self, addr: Multiaddr) -> None:
        """It did."""
        self.forgive(addr)
        self._proven.put(addr.without_peer(), None)

    def forgive(self, addr: Multiaddr) -> None:
        """It may be tried at once, however often it failed."""
        self._failures.pop(addr.without_peer())

    def _failed_times(self, addr: Multiaddr) -> int:
        failure = self._failures.peek(addr)
        return 0 if failure is None else failure.times
