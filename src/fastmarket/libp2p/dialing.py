"""When and in which order to try addresses: those that failed wait, twice as long each time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from fastmarket.config import ConnectionConfig
from fastmarket.formats.multiaddr import Multiaddr

MAX_DOUBLINGS = 32  # beyond which the wait has long reached its bound


@dataclass(frozen=True, slots=True)
class _Failure:
    """How often in a row an address failed, and until when it waits."""

    times: int
    until: float


class DialBook:
    """Failures by address, bounded; the least recent is forgotten first."""

    __slots__ = ("_config", "_failures")

    def __init__(self, config: ConnectionConfig) -> None:
        self._config = config
        self._failures: OrderedDict[Multiaddr, _Failure] = OrderedDict()

    def order(self, addrs: Iterable[Multiaddr], now: float) -> tuple[Multiaddr, ...]:
        """Those that may be tried now, in the order given (best first), the once failed behind the others."""
        ready = [
            addr for addr in dict.fromkeys(a.without_peer() for a in addrs) if self.waits_until(addr) <= now
        ]
        return tuple(sorted(ready, key=self._failed_times))

    def waits_until(self, addr: Multiaddr) -> float:
        """When `addr` may be tried again; 0.0: at any time."""
        failure = self._failures.get(addr.without_peer())
        return 0.0 if failure is None else failure.until

    def failed(self, addr: Multiaddr, now: float) -> None:
        """It did not lead to the peer."""
        addr = addr.without_peer()
        times = self._failed_times(addr) + 1
        wait = self._config.dial_backoff_s * 2.0 ** min(times - 1, MAX_DOUBLINGS)
        self._failures[addr] = _Failure(times, now + min(wait, self._config.max_dial_backoff_s))
        self._failures.move_to_end(addr)
        if len(self._failures) > self._config.max_known_peers:
            self._failures.popitem(last=False)

    def succeeded(self, addr: Multiaddr) -> None:
        """It did."""
        self._failures.pop(addr.without_peer(), None)

    def _failed_times(self, addr: Multiaddr) -> int:
        failure = self._failures.get(addr)
        return 0 if failure is None else failure.times
