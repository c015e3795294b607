"""Soft timeouts of requests, estimated from the round trips of the peer and of others (RFC 6298)."""

from __future__ import annotations

from typing import Final

from fastmarket.bounded_map import BoundedMap, Eviction
from fastmarket.config import KadConfig
from fastmarket.formats.identity import PeerId

# RFC 6298, section 2: gains of the mean and of the mean deviation, and how many deviations to wait.
MEAN_GAIN: Final = 1 / 8
DEVIATION_GAIN: Final = 1 / 4
DEVIATIONS: Final = 4.0
# Answers of all peers together, below which the estimate says nothing about the next peer.
MIN_SAMPLES: Final = 8


class Estimate:
    """Smoothed mean and mean deviation of a series of durations, in seconds."""

    __slots__ = ("count", "deviation", "mean")

    def __init__(self) -> None:
        self.count = 0
        self.mean = 0.0
        self.deviation = 0.0

    def add(self, took: float) -> None:
        """Add a sample."""
        self.count += 1
        if self.count == 1:
            self.mean, self.deviation = took, took / 2
            return
        off = took - self.mean
        self.deviation += DEVIATION_GAIN * ((-off if off < 0.0 else off) - self.deviation)
        self.mean += MEAN_GAIN * off


class RttEstimator:
    """One estimate for each connected peer, and a common one for peers that must be dialled first.

    A peer that was late and has not been heard from since is unresponsive: lookups query it but do not wait
    for it. So a hanging node costs one lookup a soft timeout, not every lookup.
    """

    __slots__ = ("_config", "_dialled", "_linked", "_peers", "_unresponsive", "connected", "unresponsive")

    def __init__(self, config: KadConfig) -> None:
        self._config = config
        # Keyed by the bytes of the ids, which cache their hash: five accesses per request.
        self.connected: set[bytes] = set()
        """Peers with an open connection: requests to them need not wait for a dial."""
        self._linked = Estimate()
        self._dialled = Estimate()
        self._peers: BoundedMap[bytes, Estimate] = BoundedMap(
            config.max_rtt_estimates, eviction=Eviction.LEAST_RECENTLY_USED
        )
        self._unresponsive: BoundedMap[bytes, float] = BoundedMap(config.max_rtt_estimates)
        self.unresponsive = self._unresponsive.entries
        """Peers that may be unresponsive, and since when."""

    def on_connected(self, peer_id: PeerId) -> None:
        """A connection is open."""
        self.connected.add(peer_id.raw)

    def on_disconnected(self, peer_id: PeerId) -> None:
        """The last connection ended."""
        self.connected.discard(peer_id.raw)

    def soft_timeout_s(self, peer_id: PeerId) -> float:
        """Seconds until a request to the peer is late; the configured one while nothing is known."""
        config, raw = self._config, peer_id.raw
        least = MIN_SAMPLES
        if raw in self.connected:
            estimate = self._linked
            own = self._peers.peek(raw)
            if own is not None:
                estimate, least = own, 1
        else:
            estimate = self._dialled
        if estimate.count < least:
            return config.soft_timeout_s
        late_s = estimate.mean + DEVIATIONS * estimate.deviation
        if late_s < config.min_soft_timeout_s:
            return config.min_soft_timeout_s
        return late_s if late_s < config.soft_timeout_s else config.soft_timeout_s

    def on_answer(self, peer_id: PeerId, took: float, was_connected: bool) -> None:
        """A request was answered after `took` seconds."""
        if not was_connected:
            self._dialled.add(took)
            return
        self._linked.add(took)
        estimate = self._peers.get(peer_id.raw)
        if estimate is None:
            estimate = Estimate()
            self._peers.put(peer_id.raw, estimate)
        estimate.add(took)

    def on_late(self, peer_id: PeerId, now: float) -> None:
        """A request to the peer has exceeded its soft timeout."""
        if peer_id.raw not in self.unresponsive:
            self._unresponsive.put(peer_id.raw, now)

    def on_heard(self, peer_id: PeerId) -> None:
        """The peer sent something, however late."""
        self._unresponsive.pop(peer_id.raw)

    def is_unresponsive(self, peer_id: PeerId, now: float) -> bool:
        """Whether it was late less than `silent_s` ago and has not been heard from since."""
        since = self._unresponsive.peek(peer_id.raw)
        if since is None:
            return False
        if now - since < self._config.silent_s:
            return True
        self._unresponsive.pop(peer_id.raw)
        return False
