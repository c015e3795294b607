"""The size of the network, and how close to a key its k closest peers should be.

The k-th closest of n evenly distributed keys lies at about k / n of the key space. Every complete lookup
measures that distance once. The median of the last few withstands lookups that met a crowd of forged ids
(go-libp2p-kad-dht `netsize` averages; D. Trautwein, "Optimistic Provide", 2022).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fastmarket.config import KadConfig
from fastmarket.formats.kad_key import KadKey

KEY_BITS = 256
KEY_SPACE = 1 << KEY_BITS


class NetworkSize:
    """Samples of the distance of the k-th closest peer, as shares of the key space."""

    __slots__ = ("_k", "_most", "_samples", "_share")

    def __init__(self, config: KadConfig) -> None:
        self._k = config.k
        self._samples: list[float] = []  # the last `size_samples`
        self._most = config.size_samples
        self._share: float | None = None

    def learn(self, target: KadKey, closest: Sequence[KadKey]) -> None:
        """Takes the keys found by a complete lookup, closest first; fewer than k are all there are."""
        found = len(closest)
        if not found:
            return
        if found < self._k:
            self._samples.append(self._k / found)
        else:
            distance = int.from_bytes(closest[self._k - 1], "big") ^ int.from_bytes(target, "big")
            self._samples.append(distance / KEY_SPACE)
        del self._samples[: -self._most]
        self._share = median(self._samples)

    @property
    def share(self) -> float | None:
        """The share of the key space in which the k closest are expected; above 1 if there are fewer than
        k."""
        return self._share

    @property
    def estimate(self) -> int | None:
        """The number of other nodes; None before the first lookup has ended."""
        share = self.share
        return round(self._k / share) if share else None

    @property
    def radius(self) -> int | None:
        """The distance within which the k closest to any key are expected; None like `estimate`."""
        share = self.share
        return int(share * KEY_SPACE) if share else None


def median(values: Iterable[float]) -> float:
    """The median of at least one value. (`statistics` imports 1 MB of decimals and fractions.)"""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return (ordered[middle] + ordered[~middle]) / 2
