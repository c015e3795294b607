"""How long a peer may take before it is late: learnt from how long it and others took (RFC 6298)."""

from __future__ import annotations

from typing import Final

from fastmarket.bounded_map import BoundedMap, Eviction
from fastmarket.config import KadConfig
from fastmarket.formats.identity import PeerId

# RFC 6298, section 2: smoothing of the mean and of the mean deviation, and how many deviations are waited.
MEAN_GAIN: Final = 1 / 8
DEVIATION_GAIN: Final = 1 / 4
DEVIATIONS: Final = 4.0
# Of all peers together: fewer answers than this say nothing of the next peer.
MIN_SAMPLES: Final = 8


class Estimate:
    """Mean and mean deviation of a series of times."""

    __slots__ = ("count", "deviation", "mean")

    def __init__(self) -> None:
        self.count = 0
        self.mean = 0.0
        self.deviation = 0.0

    def add(self, took: float) -> None:
        """One more."""
        self.count += 1
        if self.count == 1:
            self.mean, self.deviation = took, took / 2
            return
        off = took - self.mean
        self.deviation += DEVIATION_GAIN * ((-off if off < 0.0 else off) - self.deviation)
        self.mean += MEAN_GAIN * off


class RttEstimator:
    """Of connected peers each by itself; of those that have to be dialled first, all together.

    A peer that was late and has not been heard of since is silent: it is asked, but no lookup waits for it.
    So a node that hangs costs one lookup its patience, not every one.
    """

    __slots__ = ("_config", "_dialled", "_linked", "_peers", "_unresponsive", "connected", "unresponsive")

    def __init__(self, config: KadConfig) -> None:
        self._config = config
        # By the bytes of their ids, which know their hash: peers are looked up five times a request.
        self.connected: set[bytes] = set()
        """Peers with an open connection: what is sent to them need not wait for a dial."""
        self._linked = Estimate()
        self._dialled = Estimate()
        self._peers: BoundedMap[bytes, Estimate] = BoundedMap(
            config.max_paces, eviction=Eviction.LEAST_RECENTLY_USED
        )
        self._unresponsive: BoundedMap[bytes, float] = BoundedMap(config.max_paces)
        self.unresponsive = self._unresponsive.entries
        """Peers that may be unresponsive, and since when."""

    def on_connected(self, peer_id: PeerId) -> None:
        """A connection is open."""
        self.connected.add(peer_id.raw)

    def on_disconnected(self, peer_id: PeerId) -> None:
        """The last connection ended."""
        self.connected.discard(peer_id.raw)

    def soft_timeout_s(self, peer_id: PeerId) -> float:
        """Seconds until a request to the peer is late; `patience_s` where nothing is known."""
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
            return config.patience_s
        late_s = estimate.mean + DEVIATIONS * estimate.deviation
        if late_s < config.min_patience_s:
            return config.min_patience_s
        return late_s if late_s < config.patience_s else config.patience_s

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
        """A request to the peer has outlasted its patience."""
        if peer_id.raw not in self.unresponsive:
            self._unresponsive.put(peer_id.raw, now)

    def on_heard(self, peer_id: PeerId) -> None:
        """The peer said something, however late."""
        self._unresponsive.pop(peer_id.raw)

    def is_unresponsive(self, peer_id: PeerId, now: float) -> bool:
        """Late, not heard of since, and that less than `silent_s` ago."""
        since = self._unresponsive.peek(peer_id.raw)
        if since is None:
            return False
        if now - since < self._config.silent_s:
            return True
        self._unresponsive.pop(peer_id.raw)
        return False
