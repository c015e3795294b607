"""Records in the peer schema of Delegated Routing V1: the best first, within what clients read."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from enum import IntEnum

from fastmarket.formats.identity import PeerId
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.net.public_routing import FoundPeer, FoundPeers
from fastmarket.web.filters import Filters

# A client that meets an address that it cannot parse drops the record, or the whole answer. So only those are
# told that begin where others can get to, and none with a protocol that Go or JavaScript lacks.
_BEGINNINGS = frozenset({"ip4", "ip6", "dns", "dns4", "dns6", "dnsaddr", "p2p"})
_UNKNOWN_TO_SOME = frozenset({"plaintextv2"})
# Of the room in an answer, until the lookup has ended, for peers nobody has seen: many that somebody made up
# are not to leave none to those who are there.
UNSEEN_SHARE = 0.5


class Rank(IntEnum):
    """How likely a peer is of use; the lower, the earlier it is told."""

    SEEN = 0  # connected, or identified: it spoke with us
    ADDRESSED = 1  # somebody says where it is
    BARE = 2  # to be looked for by its id


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one answer. `bytes` counts a separator for each record."""

    records: int
    bytes: int


def encode(found: FoundPeer, filters: Filters) -> bytes | None:
    """The record as JSON in one line, None where it does not pass."""
    if not filters.lets(found.transfers):
        return None
    addrs = filters.addrs(addr for addr in found.peer.addrs if _is_for_all(addr))
    if addrs is None:
        return None
    record = {
        "Schema": "peer",
        "ID": str(found.peer.peer_id),
        "Addrs": [str(addr) for addr in addrs],
        "Protocols": list(found.transfers),
    }
    return json.dumps(record, separators=(",", ":")).encode()


class _Room:
    """What is left of an answer."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._records = 0
        self._bytes = 0
        self.full = False

    def take(self, line: bytes) -> bool:
        """Whether it fits; the first that does not ends the answer."""
        self._records += 1
        self._bytes += len(line) + 1
        self.full = self.full or self._records > self._limits.records or self._bytes > self._limits.bytes
        return not self.full

    def has_share(self, share: float) -> bool:
        """Whether less than that is used."""
        limits = self._limits
        return self._records < share * limits.records and self._bytes < share * limits.bytes

    @property
    def ends(self) -> bool:
        """Nothing more fits."""
        return self.full or self._records >= self._limits.records


async def in_order(found: FoundPeers, filters: Filters, limits: Limits) -> AsyncGenerator[bytes, None]:
    """Records in the order in which they come."""
    room = _Room(limits)
    async with aclosing(found) as peers:
        async for one in peers:
            line = encode(one, filters)
            if line is None:
                continue
            if not room.take(line):
                return
            yield line
            if room.ends:
                return


async def best_first(found: FoundPeers, filters: Filters, limits: Limits) -> AsyncGenerator[bytes, None]:
    """Records of peers that were seen at once, of others while there is room to spare, the rest at the end.

    A peer that comes without addresses may come again with them: it is told once.
    """
    room = _Room(limits)
    told: set[PeerId] = set()
    waiting: dict[PeerId, tuple[Rank, bytes]] = {}
    async with aclosing(found) as peers:
        async for one in peers:
            peer_id, rank, line = one.peer.peer_id, _rank(one), encode(one, filters)
            if line is None or peer_id in told:
                continue
            at_once = rank is Rank.SEEN or (rank is Rank.ADDRESSED and room.has_share(UNSEEN_SHARE))
            if not at_once:
                if peer_id not in waiting or rank < waiting[peer_id][0]:
                    waiting[peer_id] = rank, line
                continue
            waiting.pop(peer_id, None)
            told.add(peer_id)
            if not room.take(line):
                return
            yield line
            if room.ends:
                return
    for _, line in sorted(waiting.values(), key=lambda entry: entry[0]):
        if not room.take(line):
            return
        yield line


def _rank(found: FoundPeer) -> Rank:
    if found.connected or found.transfers:
        return Rank.SEEN
    return Rank.ADDRESSED if found.peer.addrs else Rank.BARE


def _is_for_all(addr: Multiaddr) -> bool:
    names = [name for name, _ in addr.parts]
    return bool(names) and names[0] in _BEGINNINGS and _UNKNOWN_TO_SOME.isdisjoint(names)
