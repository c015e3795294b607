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

# A client that cannot parse an address drops the record, or the whole answer. So only addresses that begin
# with something routable are sent, and none with a protocol that the Go or JavaScript libraries lack.
_BEGINNINGS = frozenset({"ip4", "ip6", "dns", "dns4", "dns6", "dnsaddr", "p2p"})
_UNKNOWN_TO_SOME = frozenset({"plaintextv2"})
# The share of an answer open to unseen peers until the lookup has ended: many invented peers must not crowd
# out real ones.
UNSEEN_SHARE = 0.5


class Rank(IntEnum):
    """How useful a peer is likely to be; lower ranks come first."""

    SEEN = 0  # connected, or identified: we have talked to it
    ADDRESSED = 1  # another peer gave its addresses
    BARE = 2  # only its id is known


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one answer. `bytes` includes a separator for each record."""

    records: int
    bytes: int


def encode(found: FoundPeer, filters: Filters) -> bytes | None:
    """The record as one line of JSON, or None if the filters reject it."""
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
    """The room left in an answer."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._records = 0
        self._bytes = 0
        self.full = False

    def take(self, line: bytes) -> bool:
        """Whether the line fits; the first that does not ends the answer."""
        self._records += 1
        self._bytes += len(line) + 1
        self.full = self.full or self._records > self._limits.records or self._bytes > self._limits.bytes
        return not self.full

    def has_share(self, share: float) -> bool:
        """Whether less than that share is used."""
        limits = self._limits
        return self._records < share * limits.records and self._bytes < share * limits.bytes

    @property
    def ends(self) -> bool:
        """Whether nothing more fits."""
        return self.full or self._records >= self._limits.records


async def in_order(found: FoundPeers, filters: Filters, limits: Limits) -> AsyncGenerator[bytes, None]:
    """Records in the order in which they are found."""
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
    """Records of seen peers at once, of others while there is room to spare, the rest at the end.

    A peer found without addresses may be found again with them; it is sent only once.
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
