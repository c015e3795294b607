"""The peers that a node keeps from one run to the next.

A cached peer is not an entry: it is dialled like a bootstrap peer, and enters the table once it has
identified itself. So a restarted node needs no bootstrap peer, and an old or forged list costs only some
dials.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fastmarket.config import KadConfig
from fastmarket.formats.identity import PeerId
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.formats.scope import ip_group
from fastmarket.kad.routing.table import RoutingTable


@dataclass(frozen=True, slots=True)
class CachedPeer:
    """A peer that was in the table, with the addresses it announced; `seen`: its last sign of life, unix
    seconds."""

    info: PeerInfo
    seen: float


class PeerCache:
    """At most `max_saved` peers of this run and earlier ones, each seen within `saved_ttl_s`."""

    __slots__ = ("_config", "_earlier", "_local", "_turn", "_turns")

    def __init__(self, config: KadConfig, local: PeerId, earlier: Iterable[CachedPeer] = ()) -> None:
        """`earlier`: the `snapshot` at the end of the last run."""
        self._config = config
        self._local = local
        self._earlier: dict[PeerId, CachedPeer] = {saved.info.peer_id: saved for saved in earlier}
        self._turns: list[PeerInfo] | None = None  # in the order of attempts
        self._turn = 0

    def __len__(self) -> int:
        return len(self._earlier)

    def snapshot(self, routing: RoutingTable, now: float) -> tuple[CachedPeer, ...]:
        """The table, the unresponsive peers, and peers of earlier runs not met again: most recently seen
        first.

        So a run that meets no peers loses none.
        """
        peers = {peer_id: saved for peer_id, saved in self._earlier.items() if self._is_recent(saved, now)}
        for peer in routing.unresponsive.by_key.values():
            peers[peer.info.peer_id] = CachedPeer(peer.info, peer.since)
        for contact in routing.contacts():
            peers[contact.info.peer_id] = CachedPeer(contact.info, contact.seen)
        peers.pop(self._local, None)
        newest = sorted(peers.values(), key=lambda saved: (-saved.seen, saved.info.peer_id.raw))
        return tuple(newest[: self._config.max_saved])

    def next_seeds(self, now: float) -> list[PeerInfo]:
        """Up to `saved_seeds` peers of earlier runs to join through; each call returns the next ones, round
        and round.

        Most recently seen first, but in turns by address block: an operator of many nodes in one place must
        not supply all peers that a node meets when it comes back.
        """
        if self._turns is None:
            self._turns = self._in_turns(now)
        turns, count = self._turns, min(self._config.saved_seeds, len(self._turns))
        first = self._turn
        self._turn = (first + count) % len(turns) if turns else 0
        return [turns[(first + step) % len(turns)] for step in range(count)]

    def _in_turns(self, now: float) -> list[PeerInfo]:
        ranked: list[tuple[int, int, PeerInfo]] = []
        of_group: dict[bytes, int] = {}
        newest = sorted(self._earlier.values(), key=lambda saved: -saved.seen)
        for place, saved in enumerate(saved for saved in newest if self._is_recent(saved, now)):
            group = ip_group(saved.info)
            before = 0 if group is None else of_group.get(group, 0)
            if group is not None:
                of_group[group] = before + 1
            if saved.info.peer_id != self._local:
                ranked.append((before, place, saved.info))
        return [info for _, _, info in sorted(ranked, key=lambda entry: entry[:2])]

    def _is_recent(self, saved: CachedPeer, now: float) -> bool:
        return saved.seen + self._config.saved_ttl_s > now
