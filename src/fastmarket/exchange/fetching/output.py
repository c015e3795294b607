"""Verified bytes on their way out: to a file in any order, or to a reader in order of offset.

Whatever arrives here was hashed, and has the size that was promised for it.
"""

from __future__ import annotations

from heapq import heappop, heappush
from itertools import count
from typing import TypeAlias

from fastmarket.bounded_map import BoundedMap, Eviction
from fastmarket.config.fetching import FetchConfig
from fastmarket.exchange.fetching.events import FetchAction, FetchEvent, ReadKept, Verified, Write
from fastmarket.exchange.fetching.wanted import Place

Content: TypeAlias = bytes | memoryview


class FileOutput:
    """Of the bytes from `first` to `end` (exclusive) of a file; appends to `actions` and `events`."""

    __slots__ = (
        "_config",
        "_in_order",
        "_next_offset",
        "_numbers",
        "_places",
        "_reads",
        "_ready",
        "_recent",
        "_unwritten",
        "_writes",
        "actions",
        "ahead_bytes",
        "ahead_leaves",
        "end",
        "events",
        "first",
        "kept_bytes",
        "max_ahead_bytes",
        "unwritten_bytes",
        "verified_bytes",
        "written_bytes",
    )

    def __init__(
        self,
        config: FetchConfig,
        first: int,
        end: int,
        *,
        in_order: bool,
        actions: list[FetchAction],
        events: list[FetchEvent],
    ) -> None:
        self._config = config
        self.first = first
        self.end = end
        self._in_order = in_order
        self.actions = actions
        self.events = events
        self.max_ahead_bytes = config.max_ordered_bytes if in_order else config.max_ahead_bytes
        self.ahead_bytes = 0
        """Of the places that were taken from the walk and are not written; as are `ahead_leaves`."""
        self.ahead_leaves = 0
        self.kept_bytes = 0
        self.unwritten_bytes = 0
        """Verified, and not written to the file."""
        self.verified_bytes = 0
        self.written_bytes = 0
        self._numbers = count(1)
        self._writes: dict[int, Place] = {}
        self._reads: dict[int, tuple[Place, bool]] = {}  # and whether it is a copy from elsewhere
        self._ready: list[tuple[int, int, Place, Content]] = []  # in order: not yet its turn
        self._next_offset = first
        # Contents by CID, for further links to them: while they are being written, and the latest ones.
        self._unwritten: dict[bytes, tuple[Content, int]] = {}
        self._recent: BoundedMap[bytes, Content] = BoundedMap(
            max_weight=config.max_recent_bytes, eviction=Eviction.LEAST_RECENTLY_USED
        )
        # Where contents were written, by CID.
        self._places: BoundedMap[bytes, int] = BoundedMap(
            config.max_places, eviction=Eviction.LEAST_RECENTLY_USED
        )

    @property
    def is_complete(self) -> bool:
        """Whether everything is written."""
        return self.written_bytes == self.end - self.first

    @property
    def is_idle(self) -> bool:
        """Whether the driver owes no answer to a write or a read."""
        return not self._writes and not self._reads

    @property
    def reach(self) -> int:
        """The offset at which a leaf is too far ahead of the reader."""
        if not self._in_order:
            return self.end
        return min(self.first + self.written_bytes + self.max_ahead_bytes, self.end)

    @property
    def is_behind(self) -> bool:
        """Whether the file has to be written before more is asked for."""
        return not self._in_order and self.unwritten_bytes >= self._config.max_unwritten_bytes

    def has_room(self, offset: int) -> bool:
        """Whether the leaf at `offset` may be taken. What a reader waits for may be taken in any case."""
        if self._in_order:
            return self.ahead_leaves < self._config.max_ahead_leaves or offset <= self._next_offset
        if self.is_behind:
            return False
        if self.ahead_bytes < self.max_ahead_bytes:
            return self.ahead_leaves < self._config.max_ahead_leaves
        return not self.ahead_leaves

    def take(self, place: Place) -> None:
        """A leaf is on its way: counts until it is written."""
        self.ahead_bytes += place.length
        self.ahead_leaves += 1

    def give_back(self, place: Place) -> None:
        """It was not a leaf."""
        self.ahead_bytes -= place.length
        self.ahead_leaves -= 1

    def release(self) -> None:
        """Lets go of all contents: nothing comes or goes any more."""
        self._unwritten.clear()
        self._recent.clear()
        self._places.clear()
        self._ready.clear()
        self._writes.clear()
        self._reads.clear()

    # --- contents that are here already

    def known(self, cid: bytes) -> Content | None:
        """A content that was verified not long ago."""
        unwritten = self._unwritten.get(cid)
        return self._recent.get(cid) if unwritten is None else unwritten[0]

    def read_kept(self, place: Place) -> None:
        """Reads what an earlier run is said to have written there."""
        self._read(place, place.offset, is_copy=False)

    def read_copy(self, place: Place) -> bool:
        """Reads the same content from where it was written; false: it is not known to be anywhere."""
        offset = self._places.get(place.cid)
        if offset is None:
            return False
        self._read(place, offset, is_copy=True)
        return True

    def _read(self, place: Place, offset: int, *, is_copy: bool) -> None:
        number = next(self._numbers)
        self._reads[number] = place, is_copy
        self.actions.append(ReadKept(number, offset, place.length))

    def take_read(self, number: int) -> tuple[Place, bool] | None:
        """The place that a read was for, and whether it is a copy from elsewhere."""
        return self._reads.pop(number, None)

    def forget_place(self, cid: bytes) -> None:
        """What was written there is not what is there."""
        self._places.pop(cid)

    def on_kept(self, place: Place) -> None:
        """It is there, and right."""
        self.kept_bytes += self._verified(place, None)
        self._on_written(place)

    # --- writing

    def put(self, place: Place, content: Content, holder: int | None) -> None:
        """A verified content of the promised size."""
        self._verified(place, holder)
        if place.cid:
            known = self._unwritten.get(place.cid)
            self._unwritten[place.cid] = content, 1 if known is None else known[1] + 1
        if self._in_order:
            heappush(self._ready, (place.offset, next(self._numbers), place, content))
            self._flush()
        else:
            self._write(place, content)

    def remember(self, cid: bytes, content: Content) -> None:
        """Keeps a leaf for further links to it."""
        self._recent.put(cid, content, len(content))

    def _flush(self) -> None:
        ready = self._ready
        while ready and ready[0][0] <= self._next_offset:
            _, _, place, content = heappop(ready)
            self._next_offset = place.offset + place.length
            self._write(place, content)

    def _write(self, place: Place, content: Content) -> None:
        offset = place.offset
        wanted = min(offset + place.length, self.end) - max(offset, self.first)
        if wanted < place.length:
            begin = max(self.first - offset, 0)
            content = memoryview(content)[begin : begin + wanted]
            offset += begin
        number = next(self._numbers)
        self._writes[number] = place
        self.unwritten_bytes += place.length
        self.actions.append(Write(number, offset, content))

    def _verified(self, place: Place, holder: int | None) -> int:
        """How many of its bytes are wanted."""
        begin, stop = max(place.offset, self.first), min(place.offset + place.length, self.end)
        self.verified_bytes += stop - begin
        self.events.append(Verified(begin, stop - begin, holder))
        return stop - begin

    def handle_written(self, number: int) -> None:
        """It is written, or the reader has it."""
        place = self._writes.pop(number, None)
        if place is None:
            return
        self.unwritten_bytes -= place.length
        if place.cid:
            content, times = self._unwritten.pop(place.cid)
            if times > 1:
                self._unwritten[place.cid] = content, times - 1
        self._on_written(place)

    def _on_written(self, place: Place) -> None:
        self.give_back(place)
        begin, stop = max(place.offset, self.first), min(place.offset + place.length, self.end)
        self.written_bytes += stop - begin
        if not self._in_order and place.cid and stop - begin == place.length:
            self._places.put(place.cid, place.offset)
