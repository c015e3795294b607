"""What a node tells about an announcement, about itself and about others: values for whoever sits on top."""

from __future__ import annotations

from dataclasses import dataclass, field

from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_info import PeerInfo


@dataclass(frozen=True, slots=True)
class StoreOutcome:
    """How an announcement stands: of `asked` storers `acknowledged` did, `wanted` are a quorum.

    `plain` counts other libp2p nodes that were sent a provider record; they never acknowledge. `why`: what
    those that did not acknowledge said, for people; empty where the quorum was met.
    """

    acknowledged: int
    asked: int
    wanted: int
    plain: int = 0
    why: str = field(default="", compare=False)

    @property
    def reached(self) -> bool:
        """The one condition under which a registration is acknowledged: it is kept here, and by a majority of
        the k closest nodes that are there (`kad.records.put_job.PutJob`); where it is certain that nobody
        is, here is enough.
        """
        return self.acknowledged >= self.wanted

    @property
    def copies(self) -> int:
        """Other nodes that know of the offer."""
        return self.acknowledged + self.plain


@dataclass(frozen=True, slots=True)
class PeerView:
    """A peer as this node sees it; `common_prefix` in bits, with the key it was listed for."""

    peer: PeerInfo
    agent_version: str = ""
    connected: bool = False
    common_prefix: int = 0


@dataclass(frozen=True, slots=True)
class NodeView:
    """This node: `listen` with /p2p, as others may dial it; `mode` "client" or "server". `troubles`: what
    keeps it from doing all it should, and what to do about it."""

    listen: tuple[Multiaddr, ...]
    agent_version: str
    peers: int
    connections: int
    offers: int
    own_offers: int
    mode: str
    troubles: tuple[str, ...] = ()
