"""Values of the DHT, taken down from time to time and at the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from fastmarket.config import StorageConfig
from fastmarket.storage.database import RecordRow
from fastmarket.storage.journal import Journal


class RecordKeeper:
    """Own offers go to disk before they are acknowledged (`Journal`); values come late, and may be lost."""

    def __init__(
        self, journal: Journal, config: StorageConfig, changed: Callable[[], Sequence[RecordRow]]
    ) -> None:
        """`changed`: those put since the last call."""
        self._journal = journal
        self._config = config
        self._changed = changed
        self._unwritten: dict[bytes, RecordRow] = {}
        self._task = asyncio.ensure_future(self._run())

    async def close(self) -> None:
        """Takes down the last ones."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._write()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._config.record_interval_s)
            await self._write()

    async def _write(self) -> None:
        self._unwritten.update((row.key, row) for row in self._changed())
        while len(self._unwritten) > self._config.max_unwritten:  # the disk has been full for long
            del self._unwritten[next(iter(self._unwritten))]
        if self._unwritten and await self._journal.put_records(tuple(self._unwritten.values())):
            self._unwritten.clear()
