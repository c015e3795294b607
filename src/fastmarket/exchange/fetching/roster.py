"""The holders of one fetch, and which of them is asked next."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple, TypeAlias

from fastmarket.config.fetching import FetchConfig
from fastmarket.errors import CallerFault, LimitExceeded
from fastmarket.exchange.fetching.bill import Bill
from fastmarket.exchange.fetching.holder import FetchHolder, HolderEnd
from fastmarket.exchange.fetching.holder_state import HolderState
from fastmarket.exchange.fetching.wanted import WantedBlock

FAILED_BEFORE: Final = 2
"""Holders that failed or are silent, and delivered nothing, before each price counts as failing of which none
delivered. Holders set their prices: counted by price alone, sixty dead ones hide one that lives."""
_MAX_DOUBLINGS: Final = 10  # beyond any number of holders


class Roster:
    """All holders, ended ones included; those that may be asked, the cheapest first, those that failed before
    last."""

    __slots__ = ("_all", "_config", "_usable", "bill", "is_complete")

    def __init__(self, config: FetchConfig, bill: Bill) -> None:
        self._config = config
        self._all: dict[int, HolderState] = {}
        self._usable: list[HolderState] = []
        self.bill = bill
        self.is_complete = False
        """Whether no holder will be added."""

    def __iter__(self) -> Iterator[HolderState]:
        return iter(self._all.values())

    def get(self, key: int) -> HolderState | None:
        """That holder."""
        return self._all.get(key)

    @property
    def usable(self) -> list[HolderState]:
        """Those that did not end, in the order in which they are asked."""
        return self._usable

    def add(self, holder: FetchHolder, now: float) -> None:
        """One more, unless it is known. Raises CallerFault, or LimitExceeded beyond `max_holders`."""
        if holder.price_per_mb < 0:
            raise CallerFault("price_per_mb", "is negative")
        known = self._all.get(holder.key)
        if known is not None and known.end is not HolderEnd.REMOVED:
            return
        if known is None and len(self._all) >= self._config.max_holders:
            raise LimitExceeded("holders of a fetch", self._config.max_holders)
        state = HolderState(holder, self._config, now)
        if known is not None:
            state.file_bytes, state.blocks = known.file_bytes, known.blocks
        self._all[holder.key] = state
        self._sort()

    def end(self, holder: HolderState, reason: HolderEnd, detail: str) -> None:
        """It is not asked any more."""
        holder.end, holder.detail = reason, detail
        self._sort()

    def _sort(self) -> None:
        usable = [one for one in self._all.values() if one.end is None]
        usable.sort(key=lambda one: (_tier(one), -one.holder.standing))
        self._usable = usable

    # --- choosing

    def best_for(self, block: WantedBlock, now: float) -> HolderState | None:
        """Of the first with room and the same price, the one that will deliver the block first; None: none
        can be asked now.

        While all of a price fail, one request at a time is enough for them, and none for a block that
        everything waits for, if dearer ones may have it. If all prices fail, each failure has the next one be
        sought twice as far up the prices: the dearest of sixty is the seventh.
        """
        best, best_eta = None, 0.0
        spares: list[HolderState] = []
        failing = self._failing()
        size, tried, is_enough, is_dearer = block.size, None, False, False
        for one in self._usable:
            tier = _tier(one)
            if best is not None and tier > _tier(best):
                break
            if tier != tried:
                tried, is_enough = tier, failing.is_enough(tier, block)
            is_free = one.has_room(now) and not is_asked(block, one)
            if one.key in block.lacking or (not is_free and (is_enough or is_dearer)):
                continue
            if not self.bill.allows(one, block, self._all.values()):
                continue  # a dearer one may be: each holder's share is rounded up
            is_dearer |= not is_enough
            if is_enough and (not spares or _tier(spares[-1]) != tier):
                spares.append(one)
            if is_enough or not is_free:
                continue
            eta = one.pace.eta_s(size, one.under_way_bytes)
            if best is None or eta < best_eta:
                best, best_eta = one, eta
        if is_dearer or not spares:
            return best
        return spares[min(failing.skipped, len(spares) - 1)]

    def _failing(self) -> _Failing:
        unproven = [one for one in self._all.values() if not one.blocks]
        return _Failing(
            sum(_is_failing(one) for one in unproven),
            {_tier(one) for one in self._all.values() if one.blocks},
            any(one.under_way for one in unproven),
        )

    def is_of_failing(self, holder: HolderState) -> bool:
        """Whether all of its price fail."""
        return self._failing().fails(_tier(holder))

    def with_room(self, now: float) -> list[HolderState]:
        """Those that may be asked for one more, in the order in which they are asked."""
        return [one for one in self._usable if one.has_room(now)]

    def may_be_asked_for_others(self, block: WantedBlock, now: float) -> bool:
        """Whether somebody with room is not just passed over for this block because all of its price fail."""
        failing = self._failing()
        tiers = {_tier(one) for one in self._usable if one.has_room(now)}
        return not all(failing.is_enough(tier, block) for tier in tiers)

    def check_bill(self, holder: HolderState | None, file_bytes: int) -> None:
        """Raises CallerFault("max_cost", ...) if the bytes that came in a block, of which it was not known
        before that it has any, cost too much."""
        self.bill.check(holder, file_bytes, self._all.values())

    def can_serve(self, block: WantedBlock) -> bool:
        """Whether some holder may still deliver it, perhaps after a pause."""
        return any(
            one.key not in block.lacking and self.bill.allows(one, block, self._all.values())
            for one in self._usable
        )

    def is_too_dear(self, block: WantedBlock) -> bool:
        """Whether a holder would deliver it, but for the most that the fetch may cost."""
        return any(one.key not in block.lacking for one in self._usable)

    def why_not(self, block: WantedBlock) -> tuple[tuple[int, str], ...]:
        """Why each holder does not serve a block, for people."""
        return tuple((one.key, self._reason(one, block)) for one in self._all.values())

    def _reason(self, one: HolderState, block: WantedBlock) -> str:
        if one.end is not None:
            return f"{one.end.value}: {one.detail}" if one.detail else one.end.value
        if one.key in block.lacking:
            return "does not have it"
        return "would cost more than the most that was allowed"


_Tier: TypeAlias = tuple[bool, int]


def _tier(one: HolderState) -> _Tier:
    """Holders that failed before come after all others, however little they ask; else the price counts."""
    return one.holder.standing < 0, one.price


def _is_failing(one: HolderState) -> bool:
    return one.end is not None or one.is_late or bool(one.failures or one.silences or one.late_in_row)


class _Failing(NamedTuple):
    """Which prices fail, at one moment."""

    failed: int  # holders that failed and delivered nothing
    proven: set[_Tier]  # of holders that delivered
    is_busy: bool  # one that delivered nothing is being asked

    def fails(self, tier: _Tier) -> bool:
        """Whether none of a price delivered, while enough failed."""
        return self.failed >= FAILED_BEFORE and tier not in self.proven

    def is_enough(self, tier: _Tier, block: WantedBlock) -> bool:
        """Whether all of a price fail, and one such is being asked, or all waits for the block."""
        return self.fails(tier) and (block.is_inner or self.is_busy)

    @property
    def skipped(self) -> int:
        """How many prices are passed over for the next one."""
        return (1 << min(self.failed - 1, _MAX_DOUBLINGS)) - 1


def is_asked(block: WantedBlock, holder: HolderState) -> bool:
    """Whether a request for the block is under way to that holder."""
    return any(one.holder is holder for one in block.asked)
