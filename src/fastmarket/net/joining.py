"""How a node joins its network, and rejoins it: through bootstrap peers, and through peers of an earlier
run."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Sequence

from fastmarket.errors import Busy, CallerFault, DialFailed, NetworkFault
from fastmarket.formats.identity import PeerId
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.routing.peer_cache import PeerCache
from fastmarket.net.dht_node import DhtNode
from fastmarket.net.dial_reasons import DialReason, Failure
from fastmarket.repeating import Repeating
from fastmarket.wording import counted

logger = logging.getLogger(__name__)

# If joining fails, the next attempt follows after the first interval, then after twice as long each time, up
# to the longest: a restarting network is joined soon, and a dead address costs a dial every five minutes.
RETRY_FIRST_S = 2.0
RETRY_LONGEST_S = 300.0
# One attempt, dials included.
DEADLINE_S = 10.0


class Joining:
    """Repeats attempts to join until one succeeds."""

    def __init__(self, peer_id: PeerId, bootstrap: Iterable[str]) -> None:
        """`peer_id`: our own. `bootstrap`: addresses that end in /p2p/PEER_ID. Raises CallerFault."""
        self._peer_id = peer_id
        seeds = [_seed(text) for text in bootstrap]
        self._seeds = [seed for seed in seeds if seed.peer_id != peer_id]
        self._ourselves = [seed for seed in seeds if seed.peer_id == peer_id]
        self._saved: PeerCache | None = None
        self._dht: DhtNode | None = None
        self._reason = ""  # of the last failure
        self._wait_s = RETRY_FIRST_S
        self._trying: Repeating | None = None
        self.has_joined = False
        """Whether an attempt has succeeded."""

    @property
    def is_possible(self) -> bool:
        """Whether there is any peer to join through."""
        return bool(self._seeds) or bool(self._saved)

    @property
    def is_trying(self) -> bool:
        """Whether attempts have failed so far and go on."""
        return self._trying is not None and self._trying.running

    def outside_reason(self) -> str:
        """Why the node is not in the network; "" if it is, or has no bootstrap peers."""
        if not self._seeds or self._dht is None or self._dht.engine.table_size:
            return ""
        why = f" ({self._reason})" if self._reason else ""
        return f"not in the network: no bootstrap peer answers{why}"

    async def start(self, dht: DhtNode, saved: PeerCache) -> None:
        """Returns after the first attempt; others follow if it failed. `saved`: peers of an earlier run."""
        self._dht, self._saved = dht, saved
        self._leave_out_ourselves(dht)
        if self.is_possible and not await self._join(dht, saved) and self.is_possible:
            self._wait_s = RETRY_FIRST_S
            self._trying = Repeating(
                "joining again", lambda: self._wait_s, lambda: self._again(dht, saved), dht.host.faults
            )
            self._trying.start()

    async def stop(self) -> None:
        """Ends the attempts."""
        if self._trying is not None:
            await self._trying.stop()

    async def _again(self, dht: DhtNode, saved: PeerCache) -> bool:
        """Another attempt; True: no more are needed."""
        self._wait_s = min(self._wait_s * 2, RETRY_LONGEST_S)
        if not self._seeds and dht.engine.table_size:
            return True  # others have found us
        return await self._join(dht, saved) or not self.is_possible

    async def _join(self, dht: DhtNode, saved: PeerCache) -> bool:
        try:
            joined = await dht.bootstrap(self._seeds, DEADLINE_S, saved.next_seeds(dht.now()))
        except (NetworkFault, Busy) as fault:
            failures = fault.failures if isinstance(fault, DialFailed) else ()
            if self._drop_ourselves(dht, failures) and not self.is_possible:
                return False
            self._reason = "; ".join(map(str, failures)) or str(fault)
            if self._seeds:
                logger.warning("cannot join the network: %s; serving meanwhile, will retry", fault)
            else:  # a network's first node may be alone for now
                logger.info("%s; serving alone, will retry", fault)
            return False
        self.has_joined, self._reason = True, ""
        logger.info("joined the network through %s; nodes known: %d", joined.peer, joined.known)
        self._drop_ourselves(dht, joined.failures)
        others = [why for why in joined.failures if why.reason is not DialReason.SELF]
        if others:
            why = "; ".join(map(str, others))
            seeds = counted(len(self._seeds), "bootstrap peer")
            logger.warning("%d of %s did not answer (%s)", joined.remaining, seeds, why)
        return True

    def _leave_out_ourselves(self, dht: DhtNode) -> None:
        """Drops bootstrap peers that are this node, by id or, if that has changed, by address: all nodes may
        share one list."""
        for seed in self._ourselves:
            logger.info("ignoring bootstrap peer %s: it is this node itself", seed.addrs[0])
        own = dht.host.identifier.addresses
        ours = {seed.peer_id for seed in self._seeds if all(addr in own for addr in seed.addrs)}
        self._drop_seeds(dht, ours)

    def _drop_ourselves(self, dht: DhtNode, failures: Sequence[object]) -> bool:
        """Drops names of which a dial showed that they lead here. Returns whether there were any."""
        reasons: dict[str, set[DialReason]] = {}
        for one in failures:
            if isinstance(one, Failure):
                reasons.setdefault(one.where.rpartition("/p2p/")[0] or one.where, set()).add(one.reason)
        ours = {
            seed.peer_id
            for seed in self._seeds
            if all(reasons.get(str(addr)) == {DialReason.SELF} for addr in seed.addrs)
        }
        self._drop_seeds(dht, ours)
        return bool(ours)

    def _drop_seeds(self, dht: DhtNode, ours: Collection[PeerId]) -> None:
        for seed in self._seeds:
            if seed.peer_id in ours:
                logger.warning(
                    "ignoring bootstrap peer %s: it leads to this node itself, whose id is %s; "
                    "correct the list",
                    seed.addrs[0].with_peer(seed.peer_id),
                    self._peer_id,
                )
        if ours:
            self._seeds = [seed for seed in self._seeds if seed.peer_id not in ours]
            dht.forget_seeds(ours)


def _seed(text: str) -> PeerInfo:
    addr = Multiaddr.from_text(text)
    if addr.peer_id is None:
        raise CallerFault("bootstrap", f"{text}: does not end in /p2p/PEER_ID")
    return PeerInfo(addr.peer_id, (addr.without_peer(),))
