"""Writes own offers to the shared store: many at a time, and retries until they are there."""

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
from fastmarket.fleet.offers import FleetOffers
from fastmarket.net.driver import Keeper
from fastmarket.offers.model.offer import Offer, OfferKey
from fastmarket.offers.store.changes import AnyChange
from fastmarket.storage.shared import SharedStore
from fastmarket.wording import counted

log = logging.getLogger(__name__)

OWN_BUG = "a bug of ours; see the log"
MAX_TOLD = 64  # reasons for which offers wait; each is logged once until none waits


class SharedWriter:
    """Writes offers, a slice at a time; failed ones are retried separately.

    Limited by the number of own offers: only the latest version of each is written.
    """

    def __init__(self, store: SharedStore, config: FleetConfig, now: Callable[[], float]) -> None:
        self._store = store
        self._config = config
        self._now = now
        self._faults = Faults()
        # An offer is in one of these until the store has it.
        self._waiting: dict[OfferKey, Offer] = {}
        self._under_way: dict[OfferKey, Offer] = {}
        self._failed: dict[OfferKey, Offer] = {}
        self._why: dict[OfferKey, str] = {}  # the reasons of those
        self._written: asyncio.Future[None] | None = None  # the end of the write in progress, or of the next
        self._task: asyncio.Task[None] | None = None
        self._again: asyncio.TimerHandle | None = None
        self._news = asyncio.Event()
        self._told: set[str] = set()  # reasons logged, until every offer is written

    def __len__(self) -> int:
        """Offers still to be written."""
        return len(self._waiting) + len(self._under_way) + len(self._failed)

    def start(self) -> None:
        """Starts writing."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Tries once more to write what is pending, then stops."""
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
        """Queues offers for writing."""
        for offer in offers:
            self._failed.pop(offer.key, None)
            self._why.pop(offer.key, None)
            self._waiting[offer.key] = offer
        if self._waiting:
            self._news.set()

    async def settled(self, keys: Iterable[OfferKey], timeout_s: float | None = None) -> dict[OfferKey, str]:
        """Those keys whose latest version could not be written in time, and why; the others are in the
        store."""
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
        """Why some offers wait, or ""."""
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
            if key not in self._waiting:  # else a later version is written anyway
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
        """Writes; returns those the store refused, and why. A bug of ours counts as a refusal: writing goes
        on."""
        now, rows, bad = self._now(), {}, {}
        for key, offer in chosen:
            try:
                rows[offer_row(offer, now)] = key
            except Exception as error:  # noqa: BLE001 - it affects only this offer
                self._faults.tell("making a row of the shared store", error)
                bad[key] = OWN_BUG
        try:
            refused = await self._store.put(list(rows))
        except Exception as error:  # noqa: BLE001 - they are retried
            self._faults.tell("writing to the shared store", error)
            return {**bad, **dict.fromkeys(rows.values(), OWN_BUG)}
        return {**bad, **{rows[row]: why for row, why in refused.items()}}

    def _tell(self) -> None:
        """Logs each reason once."""
        reasons = {why.partition(" fastmarket:")[0]: why for why in self._why.values()}  # keys are many
        for name, why in reasons.items():
            if name not in self._told and len(self._told) < MAX_TOLD:
                self._told.add(name)
                failed = counted(len(self._failed), "offer")
                log.error("cannot write %s to the shared store (%s); will retry", failed, why)

    def _retry_later(self) -> None:
        self._again = asyncio.get_running_loop().call_later(self._config.retry_s, self._retry)

    def _retry(self) -> None:
        """Retries failed writes; logs nothing more until all have succeeded."""
        if not self._failed and not self._waiting and not self._under_way:
            self._again = None
            self._told.clear()
            log.warning("all offers are in the shared store again")
            return
        self._retry_later()
        if self._failed:
            self._waiting = {**self._failed, **self._waiting}
            self._failed = {}
            self._why = {}
            self._news.set()


class FleetKeeper(Keeper):
    """Stores changes on disk, if there is one, and passes own offers to the writer."""

    def __init__(self, writer: SharedWriter, offers: FleetOffers, keeper: Keeper | None) -> None:
        """`offers` forgets each content that has changed."""
        self._writer = writer
        self._offers = offers
        self._keeper = keeper

    @property
    def trouble(self) -> str:
        return "" if self._keeper is None else self._keeper.trouble

    @property
    def lost(self) -> str:
        return "" if self._keeper is None else self._keeper.lost

    def keep(self, changes: Sequence[AnyChange]) -> Awaitable[None]:
        """Completes when the disk has the changes; for the store, see the writer's `settled`."""
        for change in changes:
            for offer in change.offers:
                self._offers.forget(offer.content)
        self._writer.take(offer for change in changes if change.own for offer in change.offers)
        if self._keeper is not None:
            return self._keeper.keep(changes)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done


def unavailable(why: str) -> StorageFault:
    """The fault for a caller whose registration the fleet could not accept."""
    return StorageFault(why)
