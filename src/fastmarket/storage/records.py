"""Saves values of the DHT from time to time and at shutdown."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from fastmarket.bounded_map import BoundedMap
from fastmarket.config import StorageConfig
from fastmarket.errors import StorageFault
from fastmarket.faults import Faults
from fastmarket.repeating import Repeating
from fastmarket.storage.database import RecordRow
from fastmarket.storage.journal import Journal
from fastmarket.wording import counted

log = logging.getLogger(__name__)


class RecordKeeper:
    """Own offers go to disk before they are acknowledged (`Journal`); values are saved later, and may be
    lost."""

    def __init__(
        self, journal: Journal, config: StorageConfig, changed: Callable[[], Sequence[RecordRow]]
    ) -> None:
        """`changed` returns the values put since its last call."""
        self._journal = journal
        self._changed = changed
        self._unwritten: BoundedMap[bytes, RecordRow] = BoundedMap(config.max_unwritten)
        self._failing = False
        self._writing = Repeating(
            "taking down values", lambda: config.record_interval_s, self._write, Faults()
        )
        self._writing.start()

    async def close(self) -> None:
        """Saves the last ones."""
        await self._writing.stop()
        await self._write()

    async def _write(self) -> None:
        for row in self._changed():  # beyond the bound where the disk has been full for long
            self._unwritten.put(row.key, row)
        if not self._unwritten:
            return
        try:
            await self._journal.put_records(tuple(self._unwritten.values()))
        except StorageFault as fault:
            if not self._failing:
                self._failing = True
                unwritten = counted(len(self._unwritten), "value")
                log.error("cannot write %s (%s); will retry", unwritten, fault)
            return
        self._failing = False
        self._unwritten.clear()
