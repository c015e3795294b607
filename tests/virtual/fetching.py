"""Runs a fetch in virtual time against holders of every nature, and watches what it asks and writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from heapq import heappop, heappush
from itertools import count

from fastmarket.config import FetchConfig
from fastmarket.errors import StorageFault
from fastmarket.exchange.fetching.events import (
    Ask,
    Drop,
    FetchAction,
    FetchEvent,
    FetchFailed,
    FetchFinished,
    HolderEnded,
    HoldersWanted,
    Planned,
    ReadKept,
    Verified,
    Write,
)
from fastmarket.exchange.fetching.fetch import Fetch
from fastmarket.exchange.fetching.holder import AskFailure, FetchHolder, HolderEnd
from fastmarket.exchange.fetching.wanted import MAX_COPIES, MAX_INNER_COPIES
from fastmarket.formats.block import RAW_HEAD

START = 1_000_000.0
GIVE_UP_S = 3600.0
MAX_TURNS = 200_000


class Nature(Enum):
    """How a holder behaves."""

    HONEST = "honest"
    LIAR = "liar"  # sends other bytes
    SILENT = "silent"
    LACKING = "lacking"  # has some of the blocks
    BUSY = "busy"  # says so the first times
    REFUSING = "refusing"
    BROKEN = "broken"  # its connections end
    LEAVING = "leaving"  # falls silent in the middle


@dataclass
class VirtualHolder:
    """One holder; `rate` in bytes per second."""

    key: int
    nature: Nature = Nature.HONEST
    price: int = 0
    rtt_s: float = 0.02
    rate: float = 1e6
    lacks: frozenset[bytes] = frozenset()
    busy_times: int = 3
    leaves_after: int = 5  # answers
    answers: int = 0
    free_at: float = 0.0
    asked: Counter[bytes] = field(default_factory=Counter)

    def value(self) -> FetchHolder:
        """For the fetch."""
        return FetchHolder(self.key, self.price)


class FetchRun:
    """One fetch and its world. Whatever it may not do is an AssertionError at once."""

    def __init__(
        self,
        fetch: Fetch,
        blocks: Mapping[bytes, bytes],
        holders: list[VirtualHolder],
        *,
        source: bytes | None = None,
        kept: bytes = b"",
        write_s: float = 0.001,
        full_after: int | None = None,
        keeps: bool = True,
        now: float = START,
    ) -> None:
        """`source`: what the file is, so that each write is compared. `kept`: what is in the file before it.
        `full_after`: writes until the disk is full. `keeps`: whether `file` is what was written."""
        self.fetch = fetch
        self.blocks = blocks
        self.holders = {one.key: one for one in holders}
        self.source = source
        self.file = bytearray(kept)
        self.now = now
        self.write_s = write_s
        self.full_after = full_after
        self.keeps = keeps
        self.written_bytes = 0
        self.events: list[FetchEvent] = []
        self.order: list[int] = []  # offsets written
        self.open: dict[int, Ask] = {}
        self.asks: list[tuple[float, Ask]] = []
        self.writes = 0
        self.reads = 0
        self.max_unwritten = 0
        self._unwritten = 0
        self.delivered: set[bytes] = set()
        self._due: list[tuple[float, int, str, tuple[object, ...]]] = []
        self._numbers = count()

    def start(self, *, complete: bool = True) -> FetchRun:
        """Adds the holders."""
        for one in self.holders.values():
            self.fetch.add_holder(one.value(), self.now)
        if complete:
            self.fetch.no_more_holders(self.now)
        return self

    def run(self, within_s: float = GIVE_UP_S) -> FetchFinished | FetchFailed:
        """Until it ended."""
        assert self.go(within_s), "it neither finished nor failed"
        ends = [one for one in self.events if isinstance(one, FetchFinished | FetchFailed)]
        assert len(ends) == 1
        assert ends[0] is self.events[-1]
        assert not self.open, "requests left open at the end"
        return ends[0]

    def go(self, within_s: float, *, until_verified: int | None = None) -> bool:
        """Whether it ended within so many seconds."""
        end = self.now + within_s
        for _ in range(MAX_TURNS):
            self._turn()
            if self.fetch.ended:
                return True
            if until_verified is not None and self.fetch.verified_bytes >= until_verified:
                return False
            timer = self.fetch.next_timer()
            due = self._due[0][0] if self._due else None
            when = min((one for one in (timer, due) if one is not None), default=None)
            if when is None or when > end:
                self.now = end
                return False
            self.now = max(self.now, when)
            while self._due and self._due[0][0] <= self.now:
                _, _, method, args = heappop(self._due)
                getattr(self, method)(*args)
            if timer is not None and timer <= self.now:
                self.fetch.handle_timer(self.now)
        raise AssertionError("it does not come to an end")

    def of(self, kind: type[FetchEvent]) -> list[FetchEvent]:
        """The events of one kind."""
        return [one for one in self.events if isinstance(one, kind)]

    def ends(self) -> dict[int, HolderEnd]:
        """Holders that ended, and why."""
        return {one.holder: one.reason for one in self.events if isinstance(one, HolderEnded)}

    @property
    def asked(self) -> Counter[bytes]:
        """How often each block was asked for."""
        return Counter(ask.cid for _, ask in self.asks)

    # --- one turn

    def _turn(self) -> None:
        while actions := self.fetch.poll_actions(self.now):
            for action in actions:
                self._do(action)
        self.events += self.fetch.poll_events()

    def _do(self, action: FetchAction) -> None:
        if isinstance(action, Ask):
            self._on_ask(action)
        elif isinstance(action, Drop):
            ask = self.open.pop(action.request, None)  # None: its answer came in the same turn
            assert ask is None or ask.holder == action.holder
        elif isinstance(action, Write):
            self._on_write(action)
        else:
            assert isinstance(action, ReadKept)
            self.reads += 1
            self._at(self.write_s, "_read", action)

    def _at(self, delay_s: float, method: str, *args: object) -> None:
        heappush(self._due, (self.now + delay_s, next(self._numbers), method, args))

    def _on_ask(self, ask: Ask) -> None:
        holder = self.holders[ask.holder]
        self.open[ask.request] = ask
        self.asks.append((self.now, ask))
        assert ask.deadline > self.now
        others = {one.holder for one in self.open.values() if one.cid == ask.cid} - {ask.holder}
        most = MAX_COPIES if ask.cid.startswith(RAW_HEAD) else MAX_INNER_COPIES - 1
        assert len(others) < 2 or (len(others) <= most and self._are_useless(others)), "asked of a third"
        assert ask.cid not in self.delivered, "asked for what is verified"
        assert (holder.asked[ask.cid] == 0) or ask.cid not in holder.lacks, "asked again for what it lacks"
        assert ask.holder not in self.ends(), "asked of one that ended"
        holder.asked[ask.cid] += 1
        self._at(0, "_serve", holder, ask)

    def _are_useless(self, holders: set[int]) -> bool:
        """Whether none of them has delivered anything."""
        return not any(one.blocks for one in self.fetch.holders() if one.key in holders)

    def _serve(self, holder: VirtualHolder, ask: Ask) -> None:
        holder.answers += 1
        nature = holder.nature
        block = self.blocks.get(ask.cid)
        gone = nature is Nature.LEAVING and holder.answers > holder.leaves_after
        if nature is Nature.SILENT or gone:
            return
        if nature is Nature.BUSY and holder.answers <= holder.busy_times:
            self._at(holder.rtt_s, "_fail", ask, AskFailure.BUSY)
        elif nature is Nature.REFUSING:
            self._at(holder.rtt_s, "_fail", ask, AskFailure.REFUSED)
        elif nature is Nature.BROKEN:
            self._at(holder.rtt_s, "_fail", ask, AskFailure.LOST)
        elif block is None or ask.cid in holder.lacks:
            self._at(holder.rtt_s, "_miss", ask)
        else:
            begin = max(self.now + holder.rtt_s / 2, holder.free_at)
            holder.free_at = begin + len(block) / holder.rate
            if nature is Nature.LIAR:
                block = block[:-1] + bytes((block[-1] ^ 1,)) if block else b"x"
            self._at(holder.free_at + holder.rtt_s / 2 - self.now, "_deliver", ask, block)

    def _deliver(self, ask: Ask, block: bytes) -> None:
        if self.open.pop(ask.request, None) is not None and block == self.blocks.get(ask.cid):
            self.delivered.add(ask.cid)
        self.fetch.handle_block(ask.request, block, self.now)

    def _miss(self, ask: Ask) -> None:
        self.open.pop(ask.request, None)
        self.fetch.handle_missing(ask.request, self.now)

    def _fail(self, ask: Ask, kind: AskFailure) -> None:
        self.open.pop(ask.request, None)
        self.fetch.handle_failure(ask.request, kind, self.now)

    # --- the disk

    def _on_write(self, action: Write) -> None:
        data = bytes(action.data)
        assert data
        if self.source is not None:
            assert data == self.source[action.offset : action.offset + len(data)], "a wrong byte is written"
        self.order.append(action.offset)
        self._unwritten += len(data)
        self.max_unwritten = max(self.max_unwritten, self._unwritten)
        self._at(self.write_s, "_written", action, data)

    def _written(self, action: Write, data: bytes) -> None:
        self._unwritten -= len(data)
        self.writes += 1
        if self.full_after is not None and self.writes > self.full_after:
            self.fetch.handle_written(action.leaf, StorageFault("the disk is full"), self.now)
            return
        self.written_bytes += len(data)
        end = action.offset + len(data)
        if self.keeps:
            self.file.extend(bytes(max(end - len(self.file), 0)))
            self.file[action.offset : end] = data
        self.fetch.handle_written(action.leaf, None, self.now)

    def _read(self, action: ReadKept) -> None:
        data = bytes(self.file[action.offset : action.offset + action.length])
        self.fetch.handle_kept(action.leaf, data, self.now)


__all__ = [
    "START",
    "FetchConfig",
    "FetchRun",
    "HoldersWanted",
    "Nature",
    "Planned",
    "Verified",
    "VirtualHolder",
]
