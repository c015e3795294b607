"""Group commit: a thread writes many callers' changes together, and each caller learns when its are
durable."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from weakref import WeakKeyDictionary

from fastmarket.config import StorageConfig
from fastmarket.errors import StorageFault
from fastmarket.faults import Faults
from fastmarket.native.batch import SignedBatch
from fastmarket.offers.model.offer import Offer
from fastmarket.offers.store.changes import AnyChange, Change, Displaced
from fastmarket.repeating import Repeating
from fastmarket.storage.database import BatchRow, BatchWrites, Locked, OfferDatabase, RecordRow, Row
from fastmarket.storage.unwritten import KeptBatch, Unwritten
from fastmarket.storage.watch import Misplaced

log = logging.getLogger(__name__)


class Journal:
    """Stores changes of the offer store in an `OfferDatabase`.

    Own offers and own tombstones are written at once, those of other nodes with the next write, after
    `write_behind_s` at the latest. While one write is in progress, the next batch collects. Own changes that
    could not be written (the disk is full) are written once there is room, although their caller got an
    error. While another program has the database locked, writes are retried; how long a caller waits for that
    is its own choice (`core.operations`).
    """

    def __init__(self, database: OfferDatabase, config: StorageConfig, now: Callable[[], float]) -> None:
        self._database = database
        self._config = config
        self._now = now
        self._kept: WeakKeyDictionary[SignedBatch, KeptBatch] = WeakKeyDictionary()
        self._unwritten = Unwritten(self._kept)
        self._next_number = database.next_number()
        self._waiting: list[asyncio.Future[None]] = []
        self._writing: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._thread = ThreadPoolExecutor(1, "fastmarket-journal")
        self._swept_at = 0.0
        self._failing = ""  # why the last write failed
        self._misplaced = ""  # what has been moved or replaced
        self._told: set[type[StorageFault]] = set()  # kinds of faults already logged
        self._looking = Repeating(
            "looking after the data directory", lambda: config.look_s, self._look, Faults()
        )
        self._closing = self._closed = False
        self.commits = 0
        """Successful writes."""

    @property
    def trouble(self) -> str:
        """Why nothing can be written now; "" if the last write and the last check succeeded. For callers:
        without paths."""
        return self._misplaced or self._failing

    @property
    def lost(self) -> str:
        """What is missing or replaced in the data directory: new registrations would not survive a
        restart."""
        return self._misplaced

    def look_on(self) -> None:
        """Starts checking every `look_s` that the files are in place, even if nothing is written."""
        self._looking.start()

    def took_up(self, batch: SignedBatch, row: BatchRow, dead: Iterable[int]) -> None:
        """Registers a batch read from the database at startup."""
        self._kept[batch] = KeptBatch(row, batch.count, dead)

    def forget(self, stale: Iterable[Offer]) -> None:
        """Deletes own offers read at startup of which later versions are stored, too."""
        for offer in stale:
            self._unwritten.forget(offer, own=True)
        if self._unwritten:
            self._schedule(self._config.write_behind_s)

    def keep(self, changes: Sequence[AnyChange]) -> asyncio.Future[None]:
        """Completes when the changes are durable; raises StorageFault. Awaiting it is optional."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.add_done_callback(_seen)
        if self._closed:
            done.set_exception(StorageFault("the node is shutting down"))
            return done
        urgent = any(change.own for change in changes)
        unwritten, most = self._unwritten, self._config.max_unwritten
        for change in changes:
            if isinstance(change, Displaced):
                for offer in change.offers:
                    unwritten.forget(offer, own=False)
                continue
            if not change.own and len(unwritten) >= most:
                # What it replaces is deleted all the same: a withdrawn offer must not come back from disk.
                for old in (change.replaced,) if isinstance(change, Change) else change.replaced:
                    if old is not None:
                        unwritten.forget(old, own=False)
                continue
            if isinstance(change, Change):
                unwritten.add(change)
            else:
                unwritten.add_batch(change, self._next_number)
                self._next_number += 1
        self._waiting.append(done)
        self._schedule(0.0 if urgent else self._config.write_behind_s)
        return done

    async def put_records(self, records: Sequence[RecordRow]) -> None:
        """Writes values, between the writes of offers. Raises StorageFault if that fails now."""
        ended = self._now() - self._config.kept_after_end_s
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, self._database.put_records, records, ended)

    async def close(self) -> None:
        """Writes what is left, once more even if that has just failed, and then stops."""
        self._closing = True
        await self._looking.stop()
        if self._timer is not None:
            self._timer.cancel()
        if self._writing is not None:
            await asyncio.wait({self._writing})
        self._closed = True
        if self._unwritten or self._waiting:
            await self._write()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._database.close)
        self._thread.shutdown(wait=False)

    def _schedule(self, wait_s: float) -> None:
        if self._writing is not None or self._closing:
            return  # the end of that write, or of the node, continues
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
        if self._closing:
            return
        if self._waiting:
            self._begin()  # they arrived during the write
        elif self._unwritten:
            self._schedule(self._config.retry_s)

    async def _write(self) -> None:
        unwritten, self._unwritten = self._unwritten, Unwritten(self._kept)
        waiting, self._waiting = self._waiting, []
        now = self._now()
        ended = None
        if now - self._swept_at >= self._config.sweep_interval_s:
            self._swept_at, ended = now, int(now - self._config.kept_after_end_s)
        rows, together = unwritten.take()
        try:
            await self._put(rows, ended, together)
        except StorageFault as fault:
            self._failed(fault, unwritten, waiting)
            return
        except Exception as error:  # a bug of ours: the callers are told, and no change is lost
            self._failed(StorageFault(f"a bug of ours: {error!r}"), unwritten, waiting)
            raise
        self.commits += 1
        self._well(written=True)
        for done in waiting:
            if not done.done():
                done.set_result(None)

    async def _put(self, rows: Sequence[Row], ended: int | None, together: BatchWrites) -> None:
        """Retries until another program releases the lock, or the node shuts down. Raises StorageFault."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                await loop.run_in_executor(self._thread, self._database.put, rows, ended, together)
            except Locked as fault:
                if self._closing:
                    raise
                self._tell(fault)
                await asyncio.sleep(0)  # the database call has already waited for the lock
            else:
                return

    async def _look(self) -> None:
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._database.check)
        except Misplaced as fault:
            self._tell(fault)
        else:
            self._well()
            if self._failing and self._writing is None:
                self._begin()  # the failed callers are gone: only a write shows whether it succeeds again

    def _tell(self, fault: StorageFault) -> None:
        """Logs each kind once, until everything works again."""
        if isinstance(fault, Misplaced):
            self._misplaced = str(fault)
        else:
            self._failing = str(fault)
        if type(fault) in self._told:
            return
        self._told.add(type(fault))
        where = self._database.path.parent
        if isinstance(fault, Misplaced):
            log.error("registrations are refused: %s (in %s)", fault, where)
        else:
            log.error("%s (in %s); registrations fail until this is resolved", fault, where)

    def _well(self, *, written: bool = False) -> None:
        self._misplaced = ""
        if written:
            self._failing = ""
        if self._told and not self.trouble:
            self._told.clear()
            log.warning("%s is writable again", self._database.path)

    def _failed(self, fault: StorageFault, failed: Unwritten, waiting: list[asyncio.Future[None]]) -> None:
        self._tell(fault)
        self._unwritten.own_of(failed)
        for done in waiting:
            if not done.done():
                done.set_exception(StorageFault(str(fault)))


def _seen(done: asyncio.Future[None]) -> None:
    if not done.cancelled():
        done.exception()
