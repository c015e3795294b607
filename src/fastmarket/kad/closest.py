"""Who counts as closest: the nearest k, and as many more as it takes for k of few to an address block.

Ids are free: whoever rents a few machines can place as many ids as it likes around a key, and be all of its
k closest (Sridhar et al., "Content Censorship in the InterPlanetary File System", NDSS 2024). Addresses are
not: so a lookup, and what is stored at its end, goes on past such a crowd until k have been met that are
none. A crowd is an address block with more peers among them than the table lets into a bucket; without one
these are the nearest k.
"""

from __future__ import annotations

from fastmarket.config import KadConfig


class Closest:
    """Counts peers off in the order of their distance. `wants` a peer, then `take` it if it is there."""

    __slots__ = ("_counts", "_diverse", "_k", "_most", "_near")

    def __init__(self, config: KadConfig) -> None:
        self._k = config.k
        self._most = config.max_group_in_bucket
        self._near = 0
        self._diverse = 0  # of them, those of no crowd
        self._counts: dict[bytes, int] = {}

    @property
    def full(self) -> bool:
        """Nobody is wanted any more."""
        return self._diverse >= self._k

    @property
    def crowded(self) -> bool:
        """Somebody of a crowd is among those that count."""
        return self._near != self._diverse

    def wants(self, group: bytes | None) -> bool:
        """Whether the next one, of that address block (None: of none), counts."""
        if self._near < self._k:
            return True
        return self._diverse < self._k and (group is None or self._counts.get(group, 0) < self._most)

    def take(self, group: bytes | None) -> None:
        """The next one counts."""
        self._near += 1
        if group is None:
            self._diverse += 1
            return
        held = self._counts.get(group, 0)
        self._counts[group] = held + 1
        if held < self._most:
            self._diverse += 1
        elif held == self._most:
            self._diverse -= held  # now it is a crowd
