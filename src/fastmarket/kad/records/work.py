"""Fair shares of the work that strangers cause by what they want stored: signatures above all.

Room alone does not bound it. Keys cost nothing, so there is always another sender that has less than any
other and displaces a unit, at the price of a signature check each time. So work is shared as room is
(`kad.records.shares`): nothing is refused while there is little of it, and then the address block, and within
it the sender, that caused most is refused first.

Work is counted in estimated microseconds, not measured: the same input gives the same answer everywhere.
"""

from __future__ import annotations

from math import exp
from typing import Final

from fastmarket.bounded_map import BoundedMap, Eviction
from fastmarket.kad.records.shares import Source

SIGNATURE_US: Final = 100
"""One Ed25519 verification, reading what is signed, and putting it into a store in the place of another."""
PLACE_US: Final = 8
"""One offer of a batch in addition: to hash, read, put in, and displace again."""
FORGED_FACTOR: Final = 32
"""What is wrongly signed counts so many times: no honest peer passes it on, and refusing costs a check."""

MEMORY_S: Final = 10.0
"""Work counts for 1/e after so long. A burst may take as much of a core as the share allows in that time."""

# Address blocks and senders that are remembered, some 200 bytes each; those idle for longest go first.
_MAX_BLOCKS: Final = 4096
_MAX_SENDERS: Final = 16_384

# Of the capacity that is free: above it everything is admitted; down to the second, senders that caused most
# are refused in the blocks that caused most; below it, those blocks.
_EASY: Final = 0.5
_TIGHT: Final = 0.25

# Weights grow with time instead of all counts decaying; before they outgrow a float, all are scaled.
_LONGEST: Final = 60.0


class _Block:
    """The work of one address block; `most`: of its senders."""

    __slots__ = ("most", "used")

    def __init__(self) -> None:
        self.used = 0.0
        self.most = 0.0


class WorkShares:
    """Decides whether a sender may cause work now. Counts are weighted by e^(time / MEMORY_S)."""

    __slots__ = ("_began", "_blocks", "_capacity", "_latest", "_most", "_senders", "_total")

    def __init__(self, core_share: float) -> None:
        """`core_share` of one core is the most that all senders together may take in the long run."""
        self._capacity = core_share * MEMORY_S * 1e6
        self._began = self._latest = 0.0
        self._total = 0.0
        self._most = 0.0  # of a block
        self._blocks: BoundedMap[bytes, _Block] = BoundedMap(
            _MAX_BLOCKS, eviction=Eviction.LEAST_RECENTLY_USED
        )
        self._senders: BoundedMap[Source, float] = BoundedMap(
            _MAX_SENDERS, eviction=Eviction.LEAST_RECENTLY_USED
        )

    def free(self, now: float) -> float:
        """The part of the capacity that is free; below 0 for as long as a burst is being paid off."""
        weight = self._weight(now)  # which may scale the total
        return 1.0 - self._total / (weight * self._capacity)

    def allows(self, source: Source, now: float) -> bool:
        """Whether it may cause some work more."""
        free = self.free(now)
        if free >= _EASY:
            return True
        block = self._blocks.get(source.block)
        if block is None:
            return True
        if 2.0 * block.used >= self._most:
            left = max(free - _TIGHT, 0.0) / (_EASY - _TIGHT)
            if self._used_by(source) > left * block.most:
                return False
        return block.used <= self._most * min(max(free, 0.0) / _TIGHT, 1.0)

    def spend(self, source: Source, work_us: float, now: float) -> None:
        """It caused so much work."""
        work = work_us * self._weight(now)
        self._total += work
        block = self._blocks.get(source.block)
        if block is None:
            block = _Block()
            self._blocks.put(source.block, block)
        block.used += work
        used = self._used_by(source) + work
        self._senders.put(source, used)
        block.most = max(block.most, used)
        self._most = max(self._most, block.used)

    def _used_by(self, source: Source) -> float:
        return self._senders.peek(source) or 0.0

    def _weight(self, now: float) -> float:
        # A time before the latest counts as the latest: what was caused does not weigh more then.
        now = self._latest = max(now, self._latest)
        age = (now - self._began) / MEMORY_S
        if age > _LONGEST:
            self._scale(exp(-age) if age < 10 * _LONGEST else 0.0)
            self._began, age = now, 0.0
        return exp(age)

    def _scale(self, by: float) -> None:
        self._total *= by
        self._most *= by
        for block in self._blocks.values():
            block.used *= by
            block.most *= by
        for source, used in tuple(self._senders.items()):
            self._senders.put(source, used * by)
