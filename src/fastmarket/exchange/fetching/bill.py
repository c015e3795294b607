"""Keeps a fetch within the most that it may cost."""

from __future__ import annotations

from collections.abc import Iterable

from fastmarket.errors import CallerFault
from fastmarket.exchange.fetching.holder_state import HolderState
from fastmarket.exchange.fetching.wanted import WantedBlock
from fastmarket.formats.block import MAX_BLOCK_BYTES
from fastmarket.formats.price import BYTES_PER_MB, cost_of


class Bill:
    """What is spent, what is promised to holders by requests under way, and what the rest costs at least."""

    __slots__ = ("asked_bytes", "max_cost", "missing_bytes")

    def __init__(self, max_cost: int | None) -> None:
        self.max_cost = max_cost
        self.missing_bytes = 0
        """File bytes wanted that are not verified."""
        self.asked_bytes = 0
        """Of these, those under way, each once."""

    def allows(self, holder: HolderState, block: WantedBlock, holders: Iterable[HolderState]) -> bool:
        """Whether `holder` may be asked for a block, so that the cheapest can still deliver the rest.

        Of a root or an inner node it is not known before whether it has bytes of the file: a holder that is
        not the cheapest is asked for it only if all of it could be paid for.
        """
        if self.max_cost is None:
            return True
        known = list(holders)
        cheapest = min((one for one in known if one.end is None), key=lambda one: one.price)
        file_bytes, rest = block.file_bytes, 0
        if file_bytes:
            rest = max(self.missing_bytes - self.asked_bytes - (0 if block.asked else file_bytes), 0)
        elif holder.price == cheapest.price:
            return True
        else:
            file_bytes = MAX_BLOCK_BYTES
        total = 0
        for one in known:
            owed = one.file_bytes + one.reserved_bytes
            owed += file_bytes if one is holder else 0
            owed += rest if one is cheapest else 0
            total += cost_of(owed, one.price)
        return total <= self.max_cost

    def check(self, holder: HolderState | None, file_bytes: int, holders: Iterable[HolderState]) -> None:
        """Of bytes that came in a block of which it was not known before that it has any. Raises
        CallerFault("max_cost", ...) if they cost too much: they are not put out, and not paid."""
        if self.max_cost is None or holder is None or not file_bytes * holder.price:
            return
        others = sum(
            cost_of(one.file_bytes + one.reserved_bytes, one.price) for one in holders if one is not holder
        )
        left = (self.max_cost - others) * BYTES_PER_MB // holder.price
        if holder.file_bytes + holder.reserved_bytes + file_bytes > left:
            raise too_little()


def too_little() -> CallerFault:
    """The most that a fetch may cost is not enough."""
    return CallerFault("max_cost", "is too little for what is left, at the prices of the holders")
