"""Orders become goods: files and directories are read, their blocks are noted, and they are served.

An order that does not end, for whatever reason, goes on where it was when it is given again.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from time import monotonic
from typing import TypeAlias

from fastmarket.config import ContentConfig
from fastmarket.content.allowed import AllowedPaths
from fastmarket.content.catalogue import Catalogue
from fastmarket.content.channel import ChannelClosed, ThreadChannel
from fastmarket.content.goods import Good, SellOrder
from fastmarket.content.import_files import FileImporter
from fastmarket.content.leaves import path_fault
from fastmarket.content.records import FileRecord, GoodPut, NewGood
from fastmarket.content.walk import Walk, Walked, WalkStep
from fastmarket.errors import CallerFault
from fastmarket.formats.unixfs.tree import TreeBuilder

PROGRESS_S = 0.1  # between two events of progress
STEPS_AT_ONCE = 512  # of a walk: their files are written in one transaction
MIN_CHUNK_BYTES = 4096  # of what is sold: a page of the disk, for which a row of 48 bytes is kept


@dataclass(frozen=True, slots=True)
class ImportProgress:
    """Bytes of all files of the order so far, of all that were there when it began."""

    done: int
    total: int
    path: str  # being read


@dataclass(frozen=True, slots=True)
class PathRefused:
    """What is at this path alone is not sold, and why."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class GoodEnded:
    """The order sold it earlier, and no longer does: its file is gone."""

    good: Good


ImportEvent: TypeAlias = ImportProgress | GoodPut | PathRefused | GoodEnded


class Importer:
    """Runs orders, some at a time, each in a thread of its own that has others hash for it."""

    def __init__(
        self,
        catalogue: Catalogue,
        config: ContentConfig,
        allowed: AllowedPaths,
        threads: int | None = None,
    ) -> None:
        self._catalogue = catalogue
        self._config = config
        self._allowed = allowed
        self.files = FileImporter(catalogue, config.import_step_bytes, threads)
        self._turns = asyncio.Semaphore(config.max_imports)
        self._pool = ThreadPoolExecutor(config.max_imports, thread_name_prefix="fastmarket-order")
        catalogue.tidy_scratch()

    def close(self) -> None:
        """Ends its threads; no order may run any more."""
        self._pool.shutdown()
        self.files.close()

    async def sell(self, order: SellOrder) -> AsyncGenerator[ImportEvent, None]:
        """Imports what the order names and sells it: for a file, a directory, or each file below it, one
        `GoodPut`.

        The same order again finds what is new, changed or gone, and reads nothing else. To end it early,
        close the generator: the order goes on when it is given again, also after a restart
        (`Catalogue.orders`). Raises CallerFault for a path or profile that cannot be sold, Forbidden for one
        that may not, and StorageFault.
        """
        self._allowed.check_real(order.path)
        if order.profile.chunk_bytes < MIN_CHUNK_BYTES:
            raise CallerFault("profile", f"chunks of less than {MIN_CHUNK_BYTES} bytes are not sold")
        async with self._turns:
            channel: ThreadChannel[ImportEvent] = ThreadChannel(asyncio.get_running_loop())
            run = _Run(self._catalogue, self._config, self._allowed, self.files, order, channel.put)
            job = asyncio.get_running_loop().run_in_executor(self._pool, channel.filled_by, run.run)
            try:
                async for event in channel:
                    yield event
                await job
            finally:
                channel.close()
                await asyncio.wait((job,))
                if not job.cancelled():
                    job.exception()  # seen, whoever closed the generator


class _Run:
    """One order, in a thread."""

    def __init__(
        self,
        catalogue: Catalogue,
        config: ContentConfig,
        allowed: AllowedPaths,
        files: FileImporter,
        order: SellOrder,
        emit: Callable[[ImportEvent], None],
    ) -> None:
        self._catalogue = catalogue
        self._ledger = catalogue.ledger
        self._config = config
        self._allowed = allowed
        self.files = files
        self._order = order
        self._emit = emit
        self._done = self._total = 0
        self._shown_at = 0.0
        self._number = 0
        self._sold: list[int] = []

    def run(self) -> None:
        """The whole. Raises ChannelClosed if nobody waits for it any more."""
        order = self._order
        self._number = self._ledger.begin(order)
        try:
            status = os.stat(order.path, follow_symlinks=False)
            if not stat.S_ISDIR(status.st_mode):
                self._total = status.st_size
                self._sell_file()
            else:
                self._total = self._bytes_below()
                self._sell_each() if order.each_file else self._sell_directory()
        except OSError as error:
            self._finish()
            raise path_fault(order.path, error) from None
        except CallerFault:
            self._finish()
            raise
        self._finish()
        self._emit(ImportProgress(self._done, self._done, order.path))

    def _finish(self) -> None:
        for good in self._ledger.finish(self._number, self._sold):
            self._emit(GoodEnded(good))

    def _sell_file(self) -> None:
        order = self._order
        refused: list[str] = []
        found = self.files.records(
            (order.path,), order.profile, self._on_bytes, lambda _, reason: refused.append(reason)
        )
        if refused:
            raise CallerFault("path", refused[0])
        self._put([_good_of(found[order.path])])

    def _sell_each(self) -> None:
        steps = self._walk(hidden=True, refuse=self._refuse)
        paths = (step.path for step in steps if step.step is WalkStep.FILE)
        while some := list(islice(paths, STEPS_AT_ONCE)):
            records = self.files.records(some, self._order.profile, self._on_bytes, self._refuse)
            self._put([_good_of(records[path]) for path in some if path in records])

    def _sell_directory(self) -> None:
        order = self._order
        good = self._ledger.reserve_good(order.path, str(order.profile))
        rows = self.files.rows(-good)
        tree = TreeBuilder(order.profile, rows.add_node)
        numbers: list[int] = []
        blocks = 0
        steps = self._walk(hidden=False, refuse=self._refuse)
        try:
            while some := list(islice(steps, STEPS_AT_ONCE)):
                for record in self._add(tree, some):
                    numbers.append(record.id)
                    blocks += record.blocks
            tree.leave()
            assert tree.root is not None
            rows.settle(lambda: self._on_bytes(0, order.path))
            self._put([NewGood(order.path, tree.root, blocks + rows.blocks, numbers, rows)])
        finally:
            rows.discard()

    def _add(self, tree: TreeBuilder, steps: Sequence[Walked]) -> Iterator[FileRecord]:
        """Adds what the walk came to; returns the files."""
        paths = [step.path for step in steps if step.step is WalkStep.FILE]
        records = self.files.records(paths, self._order.profile, self._on_bytes, self._refuse)
        for step in steps:
            if step.step is WalkStep.ENTER:
                tree.enter(step.name)
            elif step.step is WalkStep.LEAVE:
                tree.leave()
            elif step.step is WalkStep.LINK:
                try:
                    tree.add_symlink(step.name, step.target)
                except CallerFault as fault:
                    self._refuse(step.path, f"the target {fault.reason}")
            elif step.path in records:
                tree.add(step.name, records[step.path].link)
                yield records[step.path]

    def _put(self, goods: Sequence[NewGood]) -> None:
        for put in self._ledger.put_goods(self._number, goods):
            self._sold.append(put.good.id)
            self._emit(put)

    def _walk(self, *, hidden: bool, refuse: Callable[[str, str], None]) -> Iterator[Walked]:
        walk = Walk(
            refuse,
            hidden=hidden,
            max_depth=self._config.max_depth,
            may_sell=self._allowed.check_real,
        )
        most = self._config.max_files_per_good
        for number, step in enumerate(walk.below(self._order.path)):
            if number >= 2 * most:  # each directory is entered and left
                raise CallerFault("path", f"more than {most} files and directories are below it")
            yield step

    def _bytes_below(self) -> int:
        """Those of all files, for progress. What is refused is told by the second walk."""
        return sum(step.size for step in self._walk(hidden=self._order.each_file, refuse=_silently))

    def _refuse(self, path: str, reason: str) -> None:
        self._emit(PathRefused(path, reason))

    def _on_bytes(self, count: int, path: str) -> None:
        self._done += count
        now = monotonic()
        if now - self._shown_at >= PROGRESS_S:
            self._shown_at = now
            self._emit(ImportProgress(self._done, max(self._done, self._total), path))


def _good_of(record: FileRecord) -> NewGood:
    return NewGood(record.path, record.link, record.blocks, (record.id,))


def _silently(_path: str, _reason: str) -> None:
    """Told by the walk that counts."""


__all__ = ["ChannelClosed", "GoodEnded", "ImportEvent", "ImportProgress", "Importer", "PathRefused"]
