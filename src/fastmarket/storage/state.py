"""Values and the routing table, taken down from time to time and at the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from fastmarket.config import StorageConfig
from fastmarket.storage.database import PeerRow, RecordRow
from fastmarket.storage.journal import Journal


class StateKeeper:
    """Offers go to disk before they are acknowledged (`Journal`); these come late, and may be lost."""

    def __init__(
        self,
        journal: Journal,
        config: StorageConfig,
        records: Callable[[], Sequence[RecordRow]],
        peers: Callable[[], Sequence[PeerRow]],
    ) -> None:
        """`records`: those put since the last call; `peers`: the routing table."""
        self._journal = journal
        self._config = config
        self._records = records
        self._peers = peers
        self._unwritten: dict[bytes, RecordRow] = {}
        self._told: tuple[PeerRow, ...] = ()
        self._task = asyncio.ensure_future(self._run())

    async def close(self) -> None:
        """Takes down the last state."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._write()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._config.state_interval_s)
            await self._write()

    async def _write(self) -> None:
        self._unwritten.update((row.key, row) for row in self._records())
        # A table that is empty tells nothing: we may be cut off, and want the old one to come back by.
        peers = tuple(self._peers()) or self._told
        if not self._unwritten and peers == self._told:
            return
        if await self._journal.put_state(tuple(self._unwritten.values()), peers):
            self._unwritten.clear()
            self._told = peers
