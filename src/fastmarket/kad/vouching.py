"""Who may stand among the closest without being asked: peers near the key that are known to be alive."""

from __future__ import annotations

from fastmarket.config import KadConfig
from fastmarket.kad.alive import Alive
from fastmarket.kad.netsize import KEY_SPACE, NetworkSize
from fastmarket.kad.query import Ask
from fastmarket.kad.search import Candidate


class Voucher:
    """Vouches for candidates of one lookup.

    Only for those about as near as the k closest are expected to be: farther ones are steps on the way, of
    which as many are taken at once as may be.
    """

    __slots__ = ("_alive", "_ask", "_reach", "_target")

    def __init__(self, target: bytes, ask: Ask, alive: Alive, reach: int) -> None:
        """`reach`: distance within which it vouches."""
        self._target = int.from_bytes(target, "big")
        self._ask = ask
        self._alive = alive
        self._reach = reach

    def vouches(self, candidate: Candidate, now: float) -> bool:
        """Whether it need not be asked; its `protocol` is known then as if it had answered."""
        peer = candidate.peer
        if self._reach < KEY_SPACE and int.from_bytes(peer.peer_id.key, "big") ^ self._target > self._reach:
            return False
        protocol = self._alive.speaks(peer.peer_id, self._ask.choices(peer), now)
        if protocol is None:
            return False
        candidate.protocol = protocol
        return True


def voucher(
    target: bytes, ask: Ask, config: KadConfig, alive: Alive | None, size: NetworkSize
) -> Voucher | None:
    """None where everybody is to be asked: for what peers hold, and while nobody knows how near is near."""
    radius = size.radius
    if alive is None or radius is None or not ask.seeks_peers:
        return None
    return Voucher(target, ask, alive, int(config.optimistic_reach * radius))
