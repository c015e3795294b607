"""Fetches one file from several holders: the planner. Sans-IO.

The driver calls `handle_*` as things happen, then takes `poll_actions` and `poll_events`, and arms
`next_timer`. After FetchFinished or FetchFailed nothing more comes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fastmarket.config.fetching import FetchConfig
from fastmarket.errors import CallerFault, FastmarketError, NodeFault, PeerFault
from fastmarket.exchange.fetching.asking import Asking
from fastmarket.exchange.fetching.bill import Bill, too_little
from fastmarket.exchange.fetching.events import (
    Ask,
    Drop,
    FetchAction,
    FetchEvent,
    FetchFailed,
    FetchFinished,
    HoldersWanted,
    Planned,
)
from fastmarket.exchange.fetching.faults import BadContent, NoHolderServes, bad_content, text_of
from fastmarket.exchange.fetching.file_body import INNER_BYTES, FileBody
from fastmarket.exchange.fetching.holder import AskFailure, FetchHolder, HolderEnd, HolderTally
from fastmarket.exchange.fetching.holder_state import HolderState
from fastmarket.exchange.fetching.kept_spans import KeptSpans
from fastmarket.exchange.fetching.output import FileOutput
from fastmarket.exchange.fetching.path import PathWalk
from fastmarket.exchange.fetching.roster import Roster
from fastmarket.exchange.fetching.wanted import WantedBlock
from fastmarket.formats.block import MAX_BLOCK_BYTES, inline_block
from fastmarket.formats.cid import Cid
from fastmarket.formats.price import cost_of
from fastmarket.formats.unixfs.node import FileNode

_MAX_NAMED = 8  # missing blocks named in a fault


class Fetch:
    """One fetch of one file, or of a span of it."""

    def __init__(
        self,
        root: Cid,
        config: FetchConfig,
        now: float,
        *,
        path: Sequence[str] = (),
        span: tuple[int, int | None] | None = None,
        in_order: bool = False,
        kept: Iterable[tuple[int, int]] = (),
        max_bytes: int | None = None,
        max_cost: int | None = None,
    ) -> None:
        """`path`: names below `root`, through directories, to the file. `span`: the bytes wanted, (first,
        end), end exclusive, None is the end of the file, a negative `first` counts from there; None: all.

        `in_order`: writes come in order of offset, for a reader. Otherwise in any order, for a file, and what
        was written can be read back (`ReadKept`). `kept`: spans (first, end) of the file that an earlier run
        is said to have written; they are read back and hashed, and what is not right is fetched. Not with
        `in_order`.

        `max_bytes`: refuses a file that promises to have more bytes wanted. `max_cost`: never spends more.
        Raises CallerFault for a wrong argument.
        """
        self._config = config
        self._now = now
        self._span = _checked_span(span)
        self._in_order = in_order
        self._kept = KeptSpans(kept)
        if in_order and not self._kept.is_empty:
            raise CallerFault("kept", "is for files, not with in_order")
        self._max_bytes = max_bytes
        self._actions: list[FetchAction] = []
        self._events: list[FetchEvent] = []
        self._roster = Roster(config, Bill(max_cost))
        self._path = PathWalk(root, path, config)
        self._head: WantedBlock | None = None  # on the way to the root of the file, and this
        self._body: FileBody | None = None
        self._output: FileOutput | None = None
        self._asking = Asking(config, self, self._roster, self._actions, self._events, hurries=in_order)
        self._is_paused = False
        self._wanted_told = False
        self._ended = False

    # --- holders

    def add_holder(self, holder: FetchHolder, now: float) -> None:
        """One more that may be asked; holders may come at any time. One that ended is not taken again, except
        after `remove_holder`. Raises CallerFault for a price that is not one, LimitExceeded beyond
        `max_holders`."""
        if not self._ended:
            self._roster.add(holder, now)
            self._wanted_told = False

    def remove_holder(self, key: int, now: float) -> None:
        """It left; its requests are dropped and asked of others."""
        holder = self._roster.get(key)
        if holder is not None and not self._ended:
            self._asking.end_holder(holder, HolderEnd.REMOVED)

    def no_more_holders(self, now: float) -> None:
        """No holder will be added: the fetch fails once those that are known cannot serve the rest."""
        self._roster.is_complete = True

    def holders(self) -> tuple[HolderTally, ...]:
        """What came of each so far, in the order in which they were added."""
        return tuple(one.tally() for one in self._roster)

    # --- answers

    def handle_block(self, request: int, block: bytes | bytearray | memoryview, now: float) -> int:
        """The answer to a request. It is hashed here; whatever it is, nothing is raised. Unknown and dropped
        requests are ignored. `block` is copied unless it is bytes. Returns the file bytes in it that are
        right, and have to be paid for."""
        if not isinstance(block, bytes):
            block = bytes(block)
        came = self._asking.handle_block(request, block, now)
        if came is None or self._ended:
            return 0
        wanted, holder = came
        before = holder.file_bytes
        try:
            if wanted is self._head:
                self._on_head(block, holder)
            elif self._body is not None:
                holder.file_bytes += self._body.on_block(wanted, block, holder)
        except (PeerFault, CallerFault) as fault:
            self._fail(fault)
        return holder.file_bytes - before

    def handle_missing(self, request: int, now: float) -> None:
        """The holder does not have the block: 404, DONT_HAVE."""
        self._asking.handle_missing(request, now)

    def handle_failure(
        self, request: int, kind: AskFailure, now: float, retry_after: float | None = None, detail: str = ""
    ) -> None:
        """Neither. `retry_after`: seconds that the holder asked for. `detail`: for people."""
        self._asking.handle_failure(request, kind, now, retry_after, detail)

    def handle_written(self, leaf: int, fault: NodeFault | None, now: float) -> None:
        """A `Write` is done; with a fault, the fetch fails with it."""
        if self._ended or self._output is None:
            return
        if fault is not None:
            self._fail(fault)
        else:
            self._output.handle_written(leaf)

    def handle_kept(self, leaf: int, data: bytes | bytearray | memoryview | None, now: float) -> None:
        """The answer to `ReadKept`; None: it could not be read."""
        if self._ended or self._body is None:
            return
        try:
            self._body.handle_kept(leaf, data)
        except PeerFault as fault:
            self._fail(fault)

    # --- pace

    def pause(self, now: float) -> None:
        """Asks for nothing more until `resume`; what is under way still comes, and is written."""
        self._is_paused = True

    def resume(self, now: float) -> None:
        """Goes on."""
        self._is_paused = False

    def cancel(self, now: float) -> None:
        """Drops everything that is under way; nothing comes after the actions for that."""
        if not self._ended:
            self._end()

    # --- the driver's turn

    def handle_timer(self, now: float) -> None:
        """To be called at `next_timer`, or later."""
        if not self._ended:
            self._asking.handle_timer(now)

    def next_timer(self) -> float | None:
        """When `handle_timer` wants to be called; None: not by itself."""
        if self._ended:
            return None
        if self._body is not None and self._body.has_more and not self._is_paused:
            return self._now  # the turn was long enough
        return self._asking.next_timer()

    def poll_actions(self, now: float) -> list[FetchAction]:
        """What to do, in this order; empty: nothing until the next input."""
        self._now = now
        if not self._ended and not self._is_paused:
            if self._output is not None and self._body is not None:
                output = self._output
                self._roster.bill.missing_bytes = output.end - output.first - output.verified_bytes
                self._body.has_more = False
            try:
                self._asking.assign(now)
            except (PeerFault, CallerFault) as fault:
                self._fail(fault)
        if not self._ended:
            self._look_for_the_end()
        actions = self._actions[:]
        self._actions.clear()
        return actions

    def poll_events(self) -> list[FetchEvent]:
        """What happened since the last call."""
        events = self._events[:]
        self._events.clear()
        return events

    @property
    def ended(self) -> bool:
        """Whether FetchFinished or FetchFailed was emitted, or `cancel` called."""
        return self._ended

    @property
    def verified_bytes(self) -> int:
        """File bytes wanted that are verified, kept ones included."""
        return 0 if self._output is None else self._output.verified_bytes

    @property
    def wanted_bytes(self) -> int | None:
        """File bytes wanted; None before Planned."""
        return None if self._output is None else self._output.end - self._output.first

    # --- what is wanted, for `Asking`

    @property
    def is_held_up(self) -> bool:
        """Whether the file has to be written before more is asked for. (`WantedBlocks`.)"""
        return self._output is not None and self._output.is_behind

    def next_block(self) -> WantedBlock | None:
        """The next block to be fetched. (`WantedBlocks`; not for drivers.)"""
        if self._body is not None:
            return self._body.next_block()
        if self._head is not None:
            return None  # under way
        cid = self._path.cid
        inline = inline_block(cid)
        if inline is not None:
            self._on_head(inline, None)
            return self.next_block()
        self._head = WantedBlock(cid, True, -1, INNER_BYTES, 0)
        return self._head

    def _on_head(self, block: bytes, holder: HolderState | None) -> None:
        cid, self._head = self._path.cid, None
        node = self._path.feed(block)
        if node is None:
            return
        first, end = self._plan(cid, node)
        self._roster.check_bill(holder, len(node.inline))
        output = FileOutput(
            self._config, first, end, in_order=self._in_order, actions=self._actions, events=self._events
        )
        self._output = output
        self._body = FileBody(self._config, output, self._kept, self._roster)
        self._body.start(cid, node, len(block), None if holder is None else holder.key)
        if holder is not None:
            holder.file_bytes += len(node.inline)

    def _plan(self, cid: bytes, node: FileNode) -> tuple[int, int]:
        """The bytes wanted of the file. Raises CallerFault, or BadContent for a size that is a lie."""
        size = node.file_bytes
        if size > self._config.max_file_bytes:
            raise bad_content(f"promises {size} bytes, of at most {self._config.max_file_bytes}", cid)
        first, end = _within(self._span, size)
        wanted = end - first
        if self._max_bytes is not None and wanted > self._max_bytes:
            raise CallerFault("max_bytes", f"is {self._max_bytes}, and {wanted} bytes are wanted")
        # The first and the last leaf are paid for as a whole.
        most = wanted if wanted == size else min(size, wanted + 2 * MAX_BLOCK_BYTES)
        prices = [one.price for one in self._roster.usable] or [0]
        costs = cost_of(wanted, min(prices)), cost_of(most, max(prices))
        self._events.append(Planned(Cid.from_bytes(cid), size, first, end, *costs))
        return first, end

    # --- the end

    def _look_for_the_end(self) -> None:
        output = self._output
        if output is not None and output.is_complete:
            tallies = self.holders()
            fetched = sum(one.bytes for one in tallies)
            cost = sum(one.cost for one in tallies)
            self._end()
            self._events.append(
                FetchFinished(output.end - output.first, output.kept_bytes, fetched, cost, tallies)
            )
            return
        if self._is_paused or (output is not None and not output.is_idle):
            return
        unserved = self._asking.unserved()
        if unserved and self._roster.is_complete:
            self._fail(self._not_served(unserved))
        elif unserved and not self._wanted_told:
            self._wanted_told = True
            self._events.append(HoldersWanted(len(unserved)))

    def _not_served(self, unserved: list[WantedBlock]) -> FastmarketError:
        block = unserved[0]
        why = self._roster.why_not(block)
        if self._roster.is_too_dear(block):
            return too_little()
        missing = tuple(text_of(one.cid) for one in unserved[:_MAX_NAMED])
        reasons = "; ".join(f"holder {key}: {reason}" for key, reason in why) or "there is no holder"
        return NoHolderServes(f"no holder serves block {missing[0]}: {reasons}", missing, why)

    def _fail(self, fault: FastmarketError) -> None:
        if self._ended:
            return
        if isinstance(fault, PeerFault) and not isinstance(fault, BadContent):
            fault = bad_content(str(fault), self._path.cid)
        tallies = self.holders()
        self._end()
        self._events.append(FetchFailed(fault, sum(one.cost for one in tallies), tallies))

    def _end(self) -> None:
        self._ended = True
        self._asking.drop_all()
        # Not left to the garbage collector, which a node runs rarely: fetches are in cycles.
        self._body = self._head = None
        if self._output is not None:
            self._output.release()
        # Nothing is begun any more, and what was not begun need not be dropped.
        unasked = {one.request for one in self._actions if isinstance(one, Ask)}
        self._actions[:] = [
            one for one in self._actions if isinstance(one, Drop) and one.request not in unasked
        ]


def _checked_span(span: tuple[int, int | None] | None) -> tuple[int, int | None]:
    first, end = (0, None) if span is None else span
    if end is not None and (end < 0 or 0 <= end < first):
        raise CallerFault("span", "ends before it begins")
    return first, end


def _within(span: tuple[int, int | None], size: int) -> tuple[int, int]:
    """The part of a file of so many bytes. Raises CallerFault("span", ...) if it begins behind the end."""
    first, end = span
    if first < 0:
        first = max(size + first, 0)
    if first > size:
        raise CallerFault("span", f"begins at {first}, and the file has {size} bytes")
    end = size if end is None else min(end, size)
    return first, max(first, end)
