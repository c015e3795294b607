"""Own offers into the shared store: many at a time, and again and again until they are there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import islice

from fastmarket.config import FleetConfig
from fastmarket.errors import StorageFault
from fastmarket.faults import Faults
from fastmarket.fleet.fields import offer_row
from fastmarket.net.keeping import Keeper
from fastmarket.offers.changes import AnyChange
from fastmarket.offers.model import Offer, OfferKey
from fastmarket.storage.shared import SharedStore

log = logging.getLogger(__name__)


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
        self._written: asyncio.Future[None] | None = None  # the end of the write under way, or of the next
        self._task: asyncio.Task[None] | None = None
        self._again: asyncio.TimerHandle | None = None
        self._news = asyncio.Event()

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
            self._waiting[offer.key] = offer
        if self._waiting:
            self._news.set()

    async def settled(self, keys: Iterable[OfferKey]) -> set[OfferKey]:
        """Those of them whose latest version could not be written; the others are in the store."""
        wanted = set(keys)
        while any(key in self._waiting or key in self._under_way for key in wanted):
            if self._written is None:
                self._written = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._written)
        return wanted & self._failed.keys()

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
        for key in await self._put(chosen):
            if key not in self._waiting:  # else a later version comes anyway
                self._failed[key] = self._under_way[key]
        self._under_way = {}
        if self._failed and self._again is None:
            log.error("%d offers could not be written to the shared store; trying again", len(self._failed))
            self._retry_later()
        if self._written is not None:
            self._written.set_result(None)
            self._written = None

    async def _put(self, chosen: Sequence[tuple[OfferKey, Offer]]) -> Iterable[OfferKey]:
        """Those that the store did not take. A bug of ours counts as that: the writing goes on."""
        now, rows, bad = self._now(), {}, []
        for key, offer in chosen:
            try:
                rows[offer_row(offer, now)] = key
            except Exception as error:  # noqa: BLE001 - it costs this offer
                self._faults.tell("making a row of the shared store", error)
                bad.append(key)
        try:
            return [*bad, *(rows[row] for row in await self._store.put(list(rows)))]
        except Exception as error:  # noqa: BLE001 - they are tried again
            self._faults.tell("writing to the shared store", error)
            return [*bad, *rows.values()]

    def _retry_later(self) -> None:
        self._again = asyncio.get_running_loop().call_later(self._config.retry_s, self._retry)

    def _retry(self) -> None:
        """All but what was written meanwhile; silent until that has succeeded."""
        if not self._failed and not self._waiting and not self._under_way:
            self._again = None
            log.warning("the shared store has every offer again")
            return
        self._retry_later()
        if self._failed:
            self._waiting = {**self._failed, **self._waiting}
            self._failed = {}
            self._news.set()


class Told(Keeper):
    """Keeps changes on disk, where there is one, and gives own offers to the writer."""

    def __init__(self, writer: SharedWriter, kept: Callable[[bytes], None], keeper: Keeper | None) -> None:
        """`kept` is told of each content that has changed."""
        self._writer = writer
        self._kept = kept
        self._keeper = keeper

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


def unavailable() -> StorageFault:
    """What a caller is told whose registration the fleet could not take."""
    return StorageFault("the shared store of this fleet does not answer; try again")
