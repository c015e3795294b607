"""A fetch under way: turns of its planner, and its reports to one caller."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Hashable
from math import inf

from fastmarket.bounded_map import BoundedMap
from fastmarket.config import FetchConfig, HolderConfig
from fastmarket.errors import CallerFault, FastmarketError, NodeFault, NotFound, Unmet
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
    Verified,
    Write,
)
from fastmarket.exchange.fetching.faults import NoHolderServes, NoSuchPath, NotAFile
from fastmarket.exchange.fetching.fetch import Fetch
from fastmarket.exchange.fetching.history import HolderHistory
from fastmarket.exchange.fetching.holder import AskFailure
from fastmarket.exchange.fetching.order import (
    FetchOrder,
    FetchPlan,
    FetchProgress,
    FetchReport,
    FetchSummary,
)
from fastmarket.net.fetching.asked_holders import AskedHolders
from fastmarket.net.fetching.part_file import PartWriter
from fastmarket.net.fetching.sources import FoundHolder
from fastmarket.net.pump import Pump, RunQueue
from fastmarket.wording import counted

# Bytes told at once to a reader: of what has come meanwhile, up to a message of gRPC.
MAX_TOLD_BYTES = 1024 * 1024

# Providers of one content that are known to have made offers, 100 bytes each.
MAX_OFFERED = 4096

TOO_EXPENSIVE = "TOO_EXPENSIVE"
NOT_A_FILE = "NOT_A_FILE"
_FIELDS = {"path": "content", "root": "content", "span": "first"}


class RunningFetch:
    """One fetch. It is `BlockAnswers` to its holders and `PartOwner` to its file."""

    def __init__(
        self,
        order: FetchOrder,
        config: FetchConfig,
        holders: HolderConfig,
        run_queue: RunQueue,
        history: HolderHistory,
    ) -> None:
        """Raises CallerFault."""
        self.wanting = asyncio.Event()
        """Set while no holder is known that may serve what is missing."""
        self.wanting.set()
        self._order = order
        self._config = config
        self._holder_config = holders
        self._clock = run_queue.clock
        self._faults = run_queue.faults
        self._began = self._clock.now()
        self._part: PartWriter | None = None
        self._history = history
        self._fetch = self._planner([])
        self._holders = self._asked_holders()
        self._too_dear: BoundedMap[Hashable, int] = BoundedMap(MAX_OFFERED)  # prices of holders left out
        self._offered: BoundedMap[bytes, bool] = BoundedMap(MAX_OFFERED)  # providers that made offers
        self._data: deque[Write] = deque()  # for a reader
        self._news = asyncio.Event()
        self._planned: Planned | None = None
        self._told_cost = -1
        self._progress_at = inf
        self._is_progress_due = False
        self._is_searched = False
        self._end: FetchFinished | FetchFailed | None = None
        self._pump = Pump(run_queue, self._next_timer, self._turn, self._on_bug)

    async def begin(self) -> None:
        """Opens the file, if there is one. Raises CallerFault, Unmet, StorageFault."""
        order = self._order
        kept: list[tuple[int, int]] = []
        if order.output and not order.plan_only:
            if not order.is_whole:
                raise CallerFault("output", "is for whole files; some bytes of one are streamed")
            self._part = await PartWriter.open(order.output, order.proof, self)
            kept = self._part.kept
        self._fetch = self._planner(kept)
        self._holders = self._asked_holders()
        self._pump.wake()

    def _planner(self, kept: list[tuple[int, int]]) -> Fetch:
        order = self._order
        try:
            return Fetch(
                order.root,
                self._config,
                self._clock.now(),
                path=order.path,
                span=(order.first, None if order.last is None else order.last + 1),
                in_order=self._part is None,
                kept=kept,
                max_cost=order.max_cost,
            )
        except CallerFault as fault:
            raise self._told(fault) from None

    def _asked_holders(self) -> AskedHolders:
        most = self._holder_config.max_holders
        return AskedHolders(self._fetch, self, most, self._history, self._faults)

    async def close(self) -> None:
        """Ends it: nothing is asked or written any more."""
        self._pump.close()
        self._fetch.cancel(self._clock.now())
        self._holders.record(self._clock.now())
        await self._holders.close()
        if self._part is not None:
            await self._part.close()

    # -- holders

    def add(self, found: FoundHolder) -> bool:
        """One more that may be asked; whether it is a new one."""
        most, provider = self._order.max_price, b"" if found.provider is None else found.provider.raw
        if found.is_offered:
            self._offered.put(provider, True)
        elif provider in self._offered:
            return False
        if most is not None and found.price_per_mb > most:
            self._too_dear.put(found.identity, found.price_per_mb)
            return False
        if not self._holders.add(found, self._clock.now()):
            return False
        self.wanting.clear()
        self._news.set()  # the plan may have changed
        self._pump.wake()
        return True

    def on_searched(self) -> None:
        """A search has ended."""
        self._is_searched = True
        self._news.set()

    def no_more_holders(self) -> None:
        """There are no others."""
        self._fetch.no_more_holders(self._clock.now())
        self._pump.wake()

    # -- BlockAnswers

    def on_block(self, request: int, block: bytes) -> int:
        """See `BlockAnswers`."""
        right = 0
        try:
            right = self._fetch.handle_block(request, block, self._clock.now())
        except Exception as error:  # noqa: BLE001 - not the connection's, over which it came
            self._on_bug(error)
        self._pump.wake()
        return right

    def on_missing(self, request: int) -> None:
        """See `BlockAnswers`."""
        self._fetch.handle_missing(request, self._clock.now())
        self._pump.wake()

    def on_failure(
        self, request: int, kind: AskFailure, detail: str, retry_after_s: float | None = None
    ) -> None:
        """See `BlockAnswers`."""
        self._fetch.handle_failure(request, kind, self._clock.now(), retry_after_s, detail)
        self._pump.wake()

    # -- PartOwner

    def on_written(self, leaf: int, fault: NodeFault | None) -> None:
        """See `PartOwner`."""
        self._fetch.handle_written(leaf, fault, self._clock.now())
        self._pump.wake()

    def on_read(self, leaf: int, data: bytes | None) -> None:
        """See `PartOwner`."""
        self._fetch.handle_kept(leaf, data, self._clock.now())
        self._pump.wake()

    # -- turns

    def _next_timer(self) -> float | None:
        at = self._fetch.next_timer()
        if self._progress_at == inf:
            return at
        return self._progress_at if at is None else min(at, self._progress_at)

    def _turn(self, now: float) -> None:
        fetch = self._fetch
        fetch.handle_timer(now)
        self._on_events(fetch.poll_events(), now)
        for action in fetch.poll_actions(now):
            self._act(action)
        self._on_events(fetch.poll_events(), now)
        if now >= self._progress_at:
            self._progress_at = inf
            self._is_progress_due = True
            self._news.set()

    def _act(self, action: FetchAction) -> None:
        if isinstance(action, Ask):
            self._holders.ask(action)
        elif isinstance(action, Drop):
            self._holders.drop(action)
        elif self._part is not None:
            self._part.start(action)
        elif not self._order.plan_only:
            assert isinstance(action, Write), "nothing can be read back from a stream"
            self._data.append(action)
            self._news.set()

    def _on_events(self, events: list[FetchEvent], now: float) -> None:
        for event in events:
            if isinstance(event, Verified):
                if self._progress_at == inf and not self._is_progress_due:
                    self._progress_at = now + self._holder_config.progress_interval_s
            elif isinstance(event, HolderEnded):
                self._holders.end(event, now)
                self._news.set()
                self._pump.wake()  # another one may have its turn
            elif isinstance(event, HoldersWanted):
                self.wanting.set()
            elif isinstance(event, Planned):
                self._planned = event
                if self._order.plan_only:
                    self._fetch.pause(now)
                self._news.set()
            else:
                self._end = event
                self._news.set()

    def _on_bug(self, error: Exception) -> None:
        self._faults.tell("fetching a content", error, str(self._order.root))
        if self._end is None:
            self._fetch.cancel(self._clock.now())
            self._end = FetchFailed(NodeFault("a bug of ours; see the log"), 0, ())
            self._news.set()

    # -- reports

    async def reports(self) -> AsyncGenerator[FetchReport, None]:
        """Until its end. Raises NotFound, Unmet, NoHolderServes, BadContent, StorageFault and others."""
        while True:
            self._news.clear()
            if (plan := self._plan()) is not None:
                yield plan
            if self._is_progress_due:
                self._is_progress_due = False
                yield self._progress()
            elif self._data:
                writes = self._take()
                yield b"".join(write.data for write in writes)
                for write in writes:
                    self.on_written(write.leaf, None)
            elif self._end is not None:
                if isinstance(self._end, FetchFailed) and not self._order.plan_only:
                    yield self._progress()  # what has come until then, and what it cost
                yield await self._summary(self._end)
                return
            elif self._order.plan_only and self._planned is not None and self._is_searched:
                return
            else:
                await self._news.wait()

    def _take(self) -> list[Write]:
        writes = [self._data.popleft()]
        size = len(writes[0].data)
        while self._data and size + len(self._data[0].data) <= MAX_TOLD_BYTES:
            writes.append(self._data.popleft())
            size += len(writes[-1].data)
        return writes

    def _plan(self) -> FetchPlan | None:
        """The plan, if it has changed."""
        planned = self._planned
        if planned is None or (self._end is not None and self._told_cost >= 0):
            return None
        wanted = planned.end - planned.first
        cost = self._holders.most_cost(wanted)
        if cost == self._told_cost or (self._told_cost >= 0 and not self._holders.is_any_asked):
            return None
        self._told_cost = cost
        shares = self._holders.shares(self._fetch.holders())
        return FetchPlan(str(planned.cid), planned.file_bytes, wanted, cost, shares)

    def _progress(self) -> FetchProgress:
        shares = self._holders.shares(self._fetch.holders())
        return FetchProgress(self._fetch.verified_bytes, self._fetch.wanted_bytes or 0, shares)

    async def _summary(self, end: FetchFinished | FetchFailed) -> FetchSummary:
        if isinstance(end, FetchFailed):
            raise self._told(end.fault)
        assert self._planned is not None
        if self._part is not None:
            await self._part.finish(self._planned.file_bytes)
        shares = self._holders.shares(end.holders)
        took_s = self._clock.now() - self._began
        return FetchSummary(
            str(self._planned.cid), end.file_bytes, end.fetched_bytes, end.cost, took_s, shares
        )

    def _told(self, fault: FastmarketError) -> FastmarketError:
        """The fault in the words of the order."""
        if isinstance(fault, NoHolderServes):
            if not len(self._holders) or self._too_dear:
                return self._nobody()
            why = "; ".join(f"{self._holders.source(key)}: {reason}" for key, reason in fault.why)
            return NoHolderServes(
                f"no holder serves block {fault.missing[0]}: {why}", fault.missing, fault.why
            )
        if isinstance(fault, NotAFile):
            return Unmet("content", fault.reason, NOT_A_FILE)
        if isinstance(fault, NoSuchPath):
            return NoSuchPath("content", fault.reason)
        if isinstance(fault, CallerFault) and fault.field == "max_cost":
            return Unmet("max_cost", fault.reason, TOO_EXPENSIVE)
        if type(fault) is CallerFault:
            return CallerFault(_FIELDS.get(fault.field, fault.field), fault.reason)
        return fault

    def _nobody(self) -> FastmarketError:
        if self._too_dear:
            left_out = f"{counted(len(self._too_dear), 'holder')}, of which the cheapest asks"
            reason = f"leaves out {left_out} {min(self._too_dear.values())} per MB; no other serves it"
            return Unmet("max_price", reason, TOO_EXPENSIVE)
        return NotFound(f"no holder of {self._order.root} found")
