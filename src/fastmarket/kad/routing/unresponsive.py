"""Peers that fell silent, and when to probe them again.

A peer that leaves the table for silence may be behind a broken link, with half of the network. Then no other
peer will name it, so we probe it ourselves from time to time: the longer it has been gone, the less often.
"""

from __future__ import annotations

import heapq

from fastmarket.bounded_map import BoundedMap
from fastmarket.config import KadConfig
from fastmarket.formats.identity import PeerId
from fastmarket.formats.kad_key import KadKey
from fastmarket.formats.peer_info import PeerInfo


class UnresponsivePeer:
    """A former entry, with the addresses the peer announced."""

    __slots__ = ("due", "info", "since")

    def __init__(self, info: PeerInfo, now: float, due: float) -> None:
        self.info = info
        self.since = now
        self.due = due  # time of the next probe


class UnresponsivePeers:
    """At most `max_remembered` silent peers, each until it is back or `forget_after_s` have passed."""

    __slots__ = ("_config", "_order", "_peers", "_sequence", "by_key")

    def __init__(self, config: KadConfig) -> None:
        self._config = config
        self._peers: BoundedMap[KadKey, UnresponsivePeer] = BoundedMap(config.max_remembered)
        self.by_key = self._peers.entries
        """A live view, the one gone longest first. (Read for every request.)"""
        # (due, sequence, peer). An entry that was removed or rescheduled stays until it comes up.
        self._order: list[tuple[float, int, UnresponsivePeer]] = []
        self._sequence = 0

    def get(self, peer_id: PeerId) -> UnresponsivePeer | None:
        """The record of a peer, if any."""
        return self._peers.peek(peer_id.key)

    def add(self, info: PeerInfo, now: float, due: float | None = None) -> None:
        """Adds a peer, to be probed at `due` or after the first interval. A known peer keeps its times.

        If there are too many, the one gone longest is dropped.
        """
        key = info.peer_id.key
        if key in self._peers:
            return
        peer = UnresponsivePeer(info, now, 0.0)
        self._peers.put(key, peer)
        self._arm(peer, now + self._config.probe_first_s if due is None else due)

    def pop(self, key: KadKey) -> UnresponsivePeer | None:
        """Removes a peer that is back, or no server any more."""
        return self._peers.pop(key)

    def probe_now(self, key: KadKey, now: float) -> bool:
        """Makes the peer due at once, after a sign of life; False: it was due anyway."""
        peer = self._peers.peek(key)
        assert peer is not None
        if peer.due <= now:
            return False
        self._arm(peer, now)
        return True

    def next_due(self) -> float | None:
        """When the next peer is due."""
        order = self._order
        while order:
            due, _, peer = order[0]
            if peer.due == due and self._peers.peek(peer.info.peer_id.key) is peer:
                return due
            heapq.heappop(order)
        return None

    def take_due(self, now: float) -> UnresponsivePeer | None:
        """The next peer to probe, if any. Schedules its next probe, in case it stays silent."""
        while (due := self.next_due()) is not None and due <= now:
            peer = self._order[0][2]
            gone_s = now - peer.since
            if gone_s < self._config.forget_after_s:
                self._arm(peer, now + max(self._config.probe_first_s, self._config.probe_share * gone_s))
                return peer
            self._peers.pop(peer.info.peer_id.key)
        return None

    def _arm(self, peer: UnresponsivePeer, due: float) -> None:
        peer.due = due
        self._sequence += 1
        heapq.heappush(self._order, (due, self._sequence, peer))
        if len(self._order) > 4 * self._config.max_remembered:
            live = [entry for entry in self._order if self._is_armed(entry)]
            heapq.heapify(live)
            self._order = live

    def _is_armed(self, entry: tuple[float, int, UnresponsivePeer]) -> bool:
        due, _, peer = entry
        return peer.due == due and self._peers.peek(peer.info.peer_id.key) is peer
