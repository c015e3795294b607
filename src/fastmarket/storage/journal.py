"""Group commit: what many callers want kept is written together, by a thread, and each learns when it is."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from fastmarket._sha256 import sha256
from fastmarket.config import StorageConfig
from fastmarket.errors import StorageFault
from fastmarket.offers.changes import Change
from fastmarket.offers.model import OfferKey
from fastmarket.storage.database import KEY_BYTES, OfferDatabase, RecordRow, Row

log = logging.getLogger(__name__)

_OWN = 1  # of a row


class Journal:
    """Keeps changes of the offer store in an `OfferDatabase`.

    Own offers and tombstones are written at once, those of others with the next write, after
    `write_behind_s` at the latest. While one write is under way the next one gathers. Own changes that could
    not be written (the disk is full) are written when there is room, though their caller was told otherwise.
    """

    def __init__(self, database: OfferDatabase, config: StorageConfig, now: Callable[[], float]) -> None:
        self._database = database
        self._config = config
        self._now = now
        self._rows: dict[OfferKey, Row] = {}  # to be written; the latest version of each
        self._waiting: list[asyncio.Future[None]] = []
        self._writing: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._thread = ThreadPoolExecutor(1, "fastmarket-journal")
        self._swept_at = 0.0
        self._failing = False
        self.commits = 0
        """Writes that succeeded."""

    def keep(self, changes: Sequence[Change]) -> asyncio.Future[None]:
        """Done when the changes are durable; raises StorageFault. Nobody has to wait for it."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.add_done_callback(_seen)
        urgent = any(change.own for change in changes)
        rows, most = self._rows, self._config.max_unwritten
        for change in changes:
            key = change.offer.key
            if change.own or len(rows) < most:
                rows[key] = _row(change)
        self._waiting.append(done)
        self._schedule(0.0 if urgent else self._config.write_behind_s)
        return done

    async def put_records(self, records: Sequence[RecordRow]) -> bool:
        """Values, between the writes of offers; False: not now, the disk is full."""
        ended = self._now() - self._config.kept_after_end_s
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._thread, self._database.put_records, records, ended)
        except StorageFault:
            return False  # the offers tell of a full disk
        return True

    async def close(self) -> None:
        """Writes what is left."""
        if self._timer is not None:
            self._timer.cancel()
        if self._writing is not None:
            await asyncio.wait({self._writing})
        if self._rows:
            await self._write()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._database.close)
        self._thread.shutdown(wait=False)

    def _schedule(self, wait_s: float) -> None:
        if self._writing is not None:
            return  # its end looks again
        if wait_s <= 0.0:
            self._begin()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._begin)

    def _begin(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())
            self._writing.add_done_callback(self._written)

    def _written(self, task: asyncio.Task[None]) -> None:
        self._writing = None
        if not task.cancelled() and (fault := task.exception()) is not None:
            log.error("the journal failed", exc_info=fault)
        if self._waiting:
            self._begin()  # they came while that was written
        elif self._rows:
            self._schedule(self._config.retry_s)

    async def _write(self) -> None:
        rows, self._rows = self._rows, {}
        waiting, self._waiting = self._waiting, []
        now = self._now()
        ended = None
        if now - self._swept_at >= self._config.sweep_interval_s:
            self._swept_at, ended = now, int(now - self._config.kept_after_end_s)
        write = asyncio.get_running_loop().run_in_executor(
            self._thread, self._database.put, list(rows.values()), ended
        )
        try:
            await write
        except StorageFault as fault:
            self._failed(fault, rows, waiting)
            return
        self.commits += 1
        if self._failing:
            self._failing = False
            log.warning("%s can be written again", self._database.path)
        for done in waiting:
            if not done.done():
                done.set_result(None)

    def _failed(
        self, fault: StorageFault, rows: dict[OfferKey, Row], waiting: list[asyncio.Future[None]]
    ) -> None:
        if not self._failing:
            self._failing = True
            log.error("%s; registrations fail until it can be", fault)
        for key, row in rows.items():
            if row[_OWN]:
                self._rows.setdefault(key, row)
        for done in waiting:
            if not done.done():
                done.set_exception(StorageFault(str(fault)))


def _row(change: Change) -> Row:
    offer = change.offer
    # Content and provider are multihashes, which say how long they are.
    short = sha256(b"".join(offer.key))[:KEY_BYTES]
    return (short, int(change.own), int(offer.withdrawn), offer.not_after, offer.envelope)


def _seen(done: asyncio.Future[None]) -> None:
    if not done.cancelled():
        done.exception()
