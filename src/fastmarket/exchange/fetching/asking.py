"""Requests of a fetch: which block is asked of which holder, when it is late, and who ends.

The cheapest holders first, all of them at once up to their windows. A block is under way at most twice: a
second holder is asked when the first is late, or by a holder that has nothing else to do and is expected to
be quicker. Where neither has ever delivered anything, it is asked of a third, which may be a dearer one
(`Roster.best_for`), and an inner node of one more each time that all are late: dozens that ask nothing and
are dead, and some that are slow, do not hide one that lives.
"""

from __future__ import annotations

from heapq import heappop, heappush
from itertools import count

from fastmarket.config.fetching import FetchConfig
from fastmarket.exchange.fetching.events import Ask, Drop, FetchAction, FetchEvent, HolderEnded
from fastmarket.exchange.fetching.holder import AskFailure, FetchHolder, HolderEnd
from fastmarket.exchange.fetching.holder_state import HolderState
from fastmarket.exchange.fetching.roster import Roster, is_asked
from fastmarket.exchange.fetching.wanted import AskedBlock, WantedBlock, WantedBlocks
from fastmarket.formats.block import MAX_BLOCK_BYTES, verify_block

# Blocks that are passed over in one turn because the holders with room do not have them.
_MAX_PASSED = 64
# An idle holder takes over a block if that is sooner by this factor, and by this much: a turn of a busy loop.
_STEAL_FACTOR = 1.25
_STEAL_MARGIN_S = 0.002

_ENDS = {
    AskFailure.REFUSED: HolderEnd.REFUSED,
    AskFailure.OVERSIZED: HolderEnd.OVERSIZED,
    AskFailure.MALFORMED: HolderEnd.MALFORMED,
    AskFailure.GONE: HolderEnd.GONE,
}


class Asking:
    """All requests of one fetch; appends to `actions` and `events`."""

    __slots__ = (
        "_config",
        "_hurries",
        "_numbers",
        "_requests",
        "_source",
        "_timers",
        "_waiting",
        "actions",
        "events",
        "roster",
    )

    def __init__(
        self,
        config: FetchConfig,
        source: WantedBlocks,
        roster: Roster,
        actions: list[FetchAction],
        events: list[FetchEvent],
        *,
        hurries: bool,
    ) -> None:
        """`hurries`: somebody waits for the bytes in order, so every late block is asked of a second holder
        at once; otherwise only inner nodes are."""
        self._config = config
        self._source = source
        self.roster = roster
        self.actions = actions
        self.events = events
        self._hurries = hurries
        self._numbers = count(1)
        self._requests: dict[int, AskedBlock] = {}
        # (is a leaf, offset, number, block), of blocks to be asked for; a block that is done counts no more
        self._waiting: list[tuple[bool, int, int, WantedBlock]] = []
        self._timers: list[tuple[float, int, AskedBlock | None]] = []

    # --- holders

    def add_holder(self, holder: FetchHolder, now: float) -> None:
        """One more."""
        self.roster.add(holder, now)

    def end_holder(self, holder: HolderState, reason: HolderEnd, detail: str = "") -> None:
        """Drops its requests and asks it no more."""
        if holder.end is not None:
            return
        self.roster.end(holder, reason, detail)
        self.events.append(HolderEnded(holder.key, reason, detail))
        self._drop_all_of(holder)

    def drop_all(self) -> None:
        """Everything under way."""
        for request in list(self._requests.values()):
            self._drop(request)
        self._waiting.clear()
        self._timers.clear()

    @property
    def under_way(self) -> int:
        """Requests."""
        return len(self._requests)

    # --- answers

    def handle_block(self, number: int, data: bytes, now: float) -> tuple[WantedBlock, HolderState] | None:
        """The block that came, and from whom; None: it is not one that is wanted."""
        request = self._settle(number)
        if request is None:
            return None
        block, holder = request.block, request.holder
        if not verify_block(block.cid, data):
            oversized = len(data) > MAX_BLOCK_BYTES
            self.end_holder(holder, HolderEnd.OVERSIZED if oversized else HolderEnd.WRONG_BLOCK)
            self._want_again(block)
            return None
        holder.on_delivered(now)
        holder.pace.on_block(
            len(data),
            now - request.asked_at,
            is_inner=block.is_inner,
            delivered_before=request.delivered_before,
            was_busy=request.was_busy,
        )
        block.is_done = True
        for other in tuple(block.asked):
            self._on_beaten(other, now)
        return block, holder

    def _on_beaten(self, request: AskedBlock, now: float) -> None:
        """Another holder was quicker. One that was late, and is silent since, rests for longer each time."""
        self._drop(request)
        self._rest(request.holder, now)

    def _rest(self, holder: HolderState, now: float) -> None:
        if holder.is_late and not holder.under_way:
            holder.late_in_row += 1
            self._pause(holder, holder.late_in_row, now, None)

    def handle_missing(self, number: int, now: float) -> None:
        """The holder does not have the block."""
        request = self._settle(number)
        if request is None:
            return
        holder, block = request.holder, request.block
        holder.on_heard(now)
        holder.misses += 1
        holder.misses_in_row += 1
        block.lacking.add(holder.key)
        if holder.misses_in_row >= self._config.max_misses:
            self.end_holder(holder, HolderEnd.MISSING, f"{holder.misses_in_row} blocks in a row")
        self._want_again(block)

    def handle_failure(
        self, number: int, kind: AskFailure, now: float, retry_after: float | None, detail: str
    ) -> None:
        """The request brought no answer."""
        request = self._settle(number)
        if request is None:
            return
        holder = request.holder
        if kind in _ENDS:
            self.end_holder(holder, _ENDS[kind], detail)
        elif kind is AskFailure.BUSY:
            self._on_busy(holder, request, now, retry_after, detail)
        else:
            self._on_failure(holder, request, now, retry_after, detail or kind.value)
        self._want_again(request.block)

    def _on_busy(
        self, holder: HolderState, request: AskedBlock, now: float, retry_after: float | None, detail: str
    ) -> None:
        holder.on_heard(now)
        if request.asked_at < holder.troubled_at:
            return  # it was asked before it said so the last time
        holder.troubled_at = now
        holder.busy_in_row += 1
        if holder.busy_in_row >= self._config.max_busy:
            self.end_holder(holder, HolderEnd.BUSY, detail)
        else:
            self._pause(holder, holder.busy_in_row, now, retry_after)

    def _on_failure(
        self, holder: HolderState, request: AskedBlock, now: float, retry_after: float | None, detail: str
    ) -> None:
        holder.failures += 1
        if request.asked_at < holder.troubled_at:
            return  # several connections ended by one cause
        holder.troubled_at = now
        holder.failures_in_row += 1
        if holder.failures_in_row >= self._config.max_failures:
            self.end_holder(holder, HolderEnd.UNREACHABLE, detail)
        else:
            self._pause(holder, holder.failures_in_row, now, retry_after)

    def _pause(self, holder: HolderState, times: int, now: float, retry_after: float | None) -> None:
        seconds = (
            self._config.first_pause_s * (1 << min(times - 1, 16)) if retry_after is None else retry_after
        )
        self._pause_for(holder, seconds, now)

    def _pause_for(self, holder: HolderState, seconds: float, now: float) -> None:
        holder.pause(min(max(seconds, 0.0), self._config.max_pause_s), now)
        self._set_timer(holder.paused_until, None)

    # --- time

    def next_timer(self) -> float | None:
        """When the next request is late, or a pause ends."""
        timers = self._timers
        while timers:
            request = timers[0][2]
            if request is None or request.is_open:
                return timers[0][0]
            heappop(timers)
        return None

    def handle_timer(self, now: float) -> None:
        """What is late or timed out by now."""
        timers = self._timers
        while timers and timers[0][0] <= now:
            request = heappop(timers)[2]
            if request is None or not request.is_open:
                continue
            if not request.is_late:
                self._on_late(request)
            else:
                self._on_deadline(request, now)

    def _on_late(self, request: AskedBlock) -> None:
        request.is_late = True
        self._set_timer(self._deadline(request), request)
        block, holder = request.block, request.holder
        if holder.heard_at <= request.asked_at:
            holder.is_late = True
        if self._may_be_copied(block):
            self._put(block)

    def _deadline(self, request: AskedBlock) -> float:
        """Later while the holder answers others; a request that is never answered is given up all the
        same."""
        timeout = self._timeout(request)
        latest = request.asked_at + max(self._config.max_timeout_s, timeout)
        return min(max(request.asked_at, request.holder.heard_at) + timeout, latest)

    def _timeout(self, request: AskedBlock) -> float:
        holder, block = request.holder, request.block
        return holder.pace.timeout_s(block.size, is_inner=block.is_inner, silences=holder.silences_in_row)

    def _on_deadline(self, request: AskedBlock, now: float) -> None:
        deadline = self._deadline(request)
        if deadline > now:
            self._set_timer(deadline, request)
            return
        holder = request.holder
        if holder.heard_at > request.asked_at:
            self._drop(request)  # it answers others: this one is lost
            self._rest(holder, now)
            self._want_again(request.block)
            return
        holder.silences += 1
        holder.silences_in_row += 1
        holder.troubled_at = now
        if holder.silences_in_row >= self._config.max_silences:
            self.end_holder(holder, HolderEnd.SILENT, f"{holder.silences_in_row} times in a row")
            return
        self._pause(holder, holder.silences_in_row, now, None)
        self._drop_all_of(holder)

    def _set_timer(self, when: float, request: AskedBlock | None) -> None:
        heappush(self._timers, (when, next(self._numbers), request))

    # --- asking

    def assign(self, now: float) -> None:
        """Asks whoever has room."""
        passed: list[tuple[bool, int, int, WantedBlock]] = []
        while (block := self._next_waiting()) is not None and len(passed) < _MAX_PASSED:
            holder = self.roster.best_for(block, now)
            if holder is not None:
                heappop(self._waiting)
                block.is_waiting = False
                self._ask(holder, block, now)
            elif self.roster.may_be_asked_for_others(block, now):
                passed.append(heappop(self._waiting))
            else:
                break
        else:
            if not self._source.is_held_up:
                self._steal(now)
        for entry in passed:
            heappush(self._waiting, entry)

    def _next_waiting(self) -> WantedBlock | None:
        waiting = self._waiting
        while waiting:
            block = waiting[0][3]
            if not block.is_done and len(block.asked) < block.most_copies:
                return block
            heappop(waiting)
            block.is_waiting = False
        wanted = self._source.next_block()
        if wanted is not None:
            self._put(wanted)
        return wanted

    def _put(self, block: WantedBlock) -> None:
        if not block.is_waiting:
            block.is_waiting = True
            heappush(self._waiting, (not block.is_inner, block.offset, next(self._numbers), block))

    def _want_again(self, block: WantedBlock) -> None:
        """One of its requests has ended; the others may be late by now, and hold it up."""
        is_stuck = all(one.is_late for one in block.asked) and self._may_be_copied(block)
        if not block.is_done and (not block.asked or is_stuck):
            self._put(block)

    def _may_be_copied(self, block: WantedBlock) -> bool:
        """Whether one more holder may be asked for it as soon as it is late."""
        return (block.is_inner or self._hurries) and len(block.asked) < block.most_copies

    def _ask(self, holder: HolderState, block: WantedBlock, now: float) -> None:
        pace, size = holder.pace, block.size
        number = next(self._numbers)
        request = AskedBlock(number, holder, block, now, now + pace.eta_s(size, holder.under_way_bytes))
        if not block.asked:
            self.roster.bill.asked_bytes += block.file_bytes
        block.asked.append(request)
        holder.under_way += 1
        holder.under_way_bytes += size
        holder.reserved_bytes += block.file_bytes
        request.was_busy = holder.under_way >= pace.window
        self._requests[number] = request
        self._set_timer(now + pace.soft_timeout_s(size, is_inner=block.is_inner), request)
        deadline = now + self._timeout(request)
        self.actions.append(Ask(number, holder.key, block.cid, deadline, MAX_BLOCK_BYTES, block.file_bytes))

    def _settle(self, number: int) -> AskedBlock | None:
        """Takes a request out; None: it is not under way."""
        request = self._requests.pop(number, None)
        if request is None:
            return None
        request.is_open = False
        block, holder = request.block, request.holder
        block.asked.remove(request)
        holder.under_way -= 1
        holder.under_way_bytes -= block.size
        holder.reserved_bytes -= block.file_bytes
        if not block.asked:
            self.roster.bill.asked_bytes -= block.file_bytes
        return request

    def _drop(self, request: AskedBlock) -> None:
        self._settle(request.number)
        self.actions.append(Drop(request.number, request.holder.key))

    def _drop_all_of(self, holder: HolderState) -> None:
        for request in [one for one in self._requests.values() if one.holder is holder]:
            self._drop(request)
            self._want_again(request.block)

    def _steal(self, now: float) -> None:
        """Nothing is left to ask for: holders with room take over from those that are slower."""
        idle = self.roster.with_room(now) if self._requests else []
        if not idle:
            return
        single = [one for one in self._requests.values() if len(one.block.asked) < one.block.most_copies]
        single.sort(key=lambda one: (not one.is_late, -one.due_at))  # the latest of all first
        failing = {one.key: self.roster.is_of_failing(one) for one in idle}
        idle.sort(key=lambda one: (failing[one.key], one.price, one.pace.eta_s(0, one.under_way_bytes)))
        for request in single:
            block = request.block
            if len(block.asked) >= block.most_copies:
                continue  # it was of two requests
            for holder in idle:
                if is_asked(block, holder) or holder.key in block.lacking or not holder.has_room(now):
                    continue
                if self._is_quicker(holder, request, now) and self._may_pay(holder, block):
                    self._ask(holder, block, now)
                    break

    def _is_quicker(self, holder: HolderState, request: AskedBlock, now: float) -> bool:
        if request.is_late:
            return True
        eta = holder.pace.eta_s(request.block.size, holder.under_way_bytes)
        return request.due_at - now > _STEAL_FACTOR * eta + _STEAL_MARGIN_S

    def _may_pay(self, holder: HolderState, block: WantedBlock) -> bool:
        return self.roster.bill.allows(holder, block, self.roster)

    # --- the end

    def unserved(self) -> list[WantedBlock]:
        """Blocks to be asked for that no holder will deliver; empty while any request is under way or some
        holder may still deliver any of them."""
        if self._requests or not self._waiting:
            return []
        blocks = [entry[3] for entry in self._waiting if not entry[3].is_done]
        return [] if any(map(self.roster.can_serve, blocks)) else blocks
