"""What this node saw of holders, on disk: `holders`, replaced as a whole.

Without it the node only starts to learn again. So a file that cannot be read is logged and moved aside.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from fastmarket.config import FetchConfig
from fastmarket.errors import NodeFault, StorageFault
from fastmarket.exchange.fetching.history import HolderHistory
from fastmarket.faults import Faults
from fastmarket.repeating import Repeating
from fastmarket.storage.whole_file import WholeFile

log = logging.getLogger(__name__)

FILE = "holders"
MAX_FILE_BYTES = 1 << 20  # 4,096 holders take 450 kB
LOOK_S = 5.0  # between looks whether a fetch has ended; a node that is killed forgets so much


class HolderFile:
    """The file of one data directory. Usable from any thread, one at a time."""

    def __init__(self, directory: Path) -> None:
        self._file = WholeFile(directory, FILE, MAX_FILE_BYTES)
        self.path = self._file.path

    def read(self, config: FetchConfig) -> HolderHistory:
        """What was seen; nothing if there is no file, or if it cannot be read, which is logged."""
        try:
            content = self._file.read()
        except OSError as error:
            log.error("cannot read %s (%s); what was seen of holders is forgotten", self.path, error.strerror)
            return HolderHistory(config)
        if content is None:
            return HolderHistory(config)
        try:
            if len(content) > MAX_FILE_BYTES:
                raise NodeFault(f"it is longer than {MAX_FILE_BYTES} bytes")
            return HolderHistory.from_bytes(content, config)
        except NodeFault as fault:
            self._file.move_aside()
            log.error("cannot read %s (%s); what was seen of holders is forgotten", self.path, fault)
            return HolderHistory(config)

    def write(self, content: bytes) -> None:
        """Replaces the file; the old or the new one survives a crash. Raises StorageFault."""
        self._file.write(content)


class HolderSaver:
    """Writes it after fetches have ended, and at shutdown."""

    def __init__(self, file: HolderFile, history: HolderHistory, ended_count: Callable[[], int]) -> None:
        """`ended_count`: of fetches."""
        self._file = file
        self._history = history
        self._ended_count = ended_count
        self._written = ended_count()
        self._failing = False
        self._looking = Repeating("saving what was seen of holders", lambda: LOOK_S, self._look, Faults())
        self._looking.start()

    async def close(self) -> None:
        """Writes a last time."""
        await self._looking.stop()
        await self._look()

    async def _look(self) -> None:
        count = self._ended_count()
        if count == self._written:
            return
        try:
            await asyncio.to_thread(self._file.write, self._history.to_bytes())
        except StorageFault as fault:
            if not self._failing:
                self._failing = True
                log.error("%s; after a restart this node knows nothing of holders", fault)
            return
        self._failing = False
        self._written = count
