"""The query for the addresses of one peer."""

from __future__ import annotations

from fastmarket.config import KadConfig
from fastmarket.formats.choice import Choice
from fastmarket.formats.identity import PeerId
from fastmarket.formats.kad_key import RawKey
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.lookup.queries import FindNode
from fastmarket.kad.lookup.query import Answer, Query


class FindPeerQuery(Query):
    """Query for the peers closest to a peer; its own entry, with addresses, is the item and ends the lookup.

    That entry may be hearsay, like every FIND_NODE reply: only a dial proves it.
    """

    __slots__ = ("_find_node", "_wanted")

    def __init__(self, config: KadConfig, wanted: PeerId) -> None:
        super().__init__(seeks_peers=False)
        self._wanted = wanted
        self._find_node = FindNode(config, RawKey(wanted.raw))

    def choices(self, peer: PeerInfo) -> tuple[Choice, ...]:
        """The same for all peers."""
        return self._find_node.choices(peer)

    def read(self, peer: PeerInfo, protocol: str, payload: bytes, now: float) -> Answer:
        """Closer peers, and the wanted peer if it is among them. Raises PeerFault."""
        answer = self._find_node.read(peer, protocol, payload, now)
        named = tuple(info for info in answer.closer if info.peer_id == self._wanted and info.addrs)
        return Answer(answer.closer, named[:1], bool(named))
