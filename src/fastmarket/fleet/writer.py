"""Own offers into the shared store: many at a time, and again and again until they are there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from itertools import islice

from fastmarket.config import FleetConfig
from fastmarket.errors import StorageFault
from fastmarket.faults import Faults
from fastmarket.fleet.fields import offer_row
from fastmarket.net.driver import Keeper
from fastmarket.offers.model.offer import Offer, OfferKey
from fastmarket.offers.store.changes import AnyChange
from fastmarket.storage.shared import SharedStore

log = logging.getLogger(__name__)

OWN_BUG = "a bug of ours; the log tells"
MAX_TOLD = 64  # reasons for which offers wait, each told once until none does


class SharedWriter:
    """Writes what it is given, a slice at a time; what could not be written is tried again, aside of it.

    Bounded by the number of own offers: of each the latest version alone is written.
    """

    def __init__(self, store: SharedStore, config: FleetConfig, now: Callable[[], float]) -> None:
        self._store = store
        self._config = config
        self._now = now
        self._faults = Faults()
        # An offer is in one of these until it is in the store.
        self._waiting: dict[OfferKey, Offer] = {}
        self._under_way: dict[OfferKey, Offer] = {}
        self._failed: dict[OfferKey, Offer] = {}
        self._why: dict[OfferKey, str] = {}  # of those
        self._written: asyncio.Future[None] | None = None  # the end of the write under way, or of the next
        self._task: asyncio.Task[None] | None = None
        self._again: asyncio.TimerHandle | None = None
        self._news = asyncio.Event()
        self._told: set[str] = set()  # reasons, until every offer is there

    def __len__(self) -> int:
        """Offers that are to be written."""
        return len(self._waiting) + len(self._under_way) + len(self._failed)

    def start(self) -> None:
        """Begins to write."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """One more try for what waits, then no more."""
        if self._task is None:
            return
        task, self._task = self._task, None
        task.cancel()
        await asyncio.wait([task])
        if self._again is not None:
            self._again.cancel()
        self._waiting = {**self._failed, **self._under_way, **self._waiting}
        self._failed = {}
        while self._waiting and not self._failed:
            await self._write_slice()

    def take(self, offers: Iterable[Offer]) -> None:
        """To be written soon."""
        for offer in offers:
            self._failed.pop(offer.key, None)
            self._why.pop(offer.key, None)
            self._waiting[offer.key] = offer
        if self._waiting:
            self._news.set()

    async def settled(self, keys: Iterable[OfferKey], timeout_s: float | None = None) -> dict[OfferKey, str]:
        """Those of them whose latest version could not be written, or not in time, and why; the others are in
        the store."""
        wanted = set(keys)
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while any(key in self._waiting or key in self._under_way for key in wanted):
                    if self._written is None:
                        self._written = asyncio.get_running_loop().create_future()
                    await asyncio.shield(self._written)
        late = {key for key in wanted if key in self._waiting or key in self._under_way}
        missing = {key: self._why.get(key, "") for key in wanted & self._failed.keys()}
        return {**dict.fromkeys(late, "the shared store has not answered yet"), **missing}

    @property
    def trouble(self) -> str:
        """Why some offers wait, "" when none had to."""
        return next(iter(self._why.values()), "")

    async def _run(self) -> None:
        while self._task is not None:
            if not self._waiting:
                self._news.clear()
                await self._news.wait()
            await self._write_slice()

    async def _write_slice(self) -> None:
        chosen = list(islice(self._waiting.items(), self._config.write_slice))
        self._under_way = dict(chosen)
        for key, _ in chosen:
            del self._waiting[key]
        for key, why in (await self._put(chosen)).items():
            if key not in self._waiting:  # else a later version comes anyway
                self._failed[key] = self._under_way[key]
                self._why[key] = why
        self._under_way = {}
        if self._failed and self._again is None:
            self._retry_later()
        self._tell()
        if self._written is not None:
            self._written.set_result(None)
            self._written = None

    async def _put(self, chosen: Sequence[tuple[OfferKey, Offer]]) -> dict[OfferKey, str]:
        """Those that the store did not take, and why. A bug of ours counts as that: the writing goes on."""
        now, rows, bad = self._now(), {}, {}
        for key, offer in chosen:
            try:
                rows[offer_row(offer, now)] = key
            except Exception as error:  # noqa: BLE001 - it costs this offer
                self._faults.tell("making a row of the shared store", error)
                bad[key] = OWN_BUG
        try:
            refused = await self._store.put(list(rows))
        except Exception as error:  # noqa: BLE001 - they are tried again
            self._faults.tell("writing to the shared store", error)
            return {**bad, **dict.fromkeys(rows.values(), OWN_BUG)}
        return {**bad, **{rows[row]: why for row, why in refused.items()}}

    def _tell(self) -> None:
        """Once of each reason."""
        reasons = {why.partition(" fastmarket:")[0]: why for why in self._why.values()}  # keys are many
        for name, why in reasons.items():
            if name not in self._told and len(self._told) < MAX_TOLD:
                self._told.add(name)
                count = len(self._failed)
                log.error("%d offers could not be written to the shared store (%s); trying again", count, why)

    def _retry_later(self) -> None:
        self._again = asyncio.get_running_loop().call_later(self._config.retry_s, self._retry)

    def _retry(self) -> None:
        """All but what was written meanwhile; silent until that has succeeded."""
        if not self._failed and not self._waiting and not self._under_way:
            self._again = None
            self._told.clear()
            log.warning("the shared store has every offer again")
            return
        self._retry_later()
        if self._failed:
            self._waiting = {**self._failed, **self._waiting}
            self._failed = {}
            self._why = {}
            self._news.set()


class Told(Keeper):
    """Keeps changes on disk, where there is one, and gives own offers to the writer."""

    def __init__(self, writer: SharedWriter, kept: Callable[[bytes], None], keeper: Keeper | None) -> None:
        """`kept` is told of each content that has changed."""
        self._writer = writer
        self._kept = kept
        self._keeper = keeper

    @property
    def trouble(self) -> str:
        """The disk's."""
        return "" if self._keeper is None else self._keeper.trouble

    @property
    def lost(self) -> str:
        """Likewise."""
        return "" if self._keeper is None else self._keeper.lost

    def keep(self, changes: Sequence[AnyChange]) -> Awaitable[None]:
        """As the disk says; what the store says is asked of the writer (`settled`)."""
        for change in changes:
            for offer in change.offers:
                self._kept(offer.content)
        self._writer.take(offer for change in changes if change.own for offer in change.offers)
        if self._keeper is not None:
            return self._keeper.keep(changes)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done


def unavailable(why: str) -> StorageFault:
    """What a caller is told whose registration the fleet could not take."""
    return StorageFault(why)
