"""Keeps what is sold true: looks whether files are as they were imported, and reads again those that may be.

A file of another size has changed. One of the same size with other times is read again before a byte of it is
served: a changed mode, or a copy that was put back, ends no sale.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass

from fastmarket.bounded_map import BoundedMap
from fastmarket.config import ContentConfig
from fastmarket.content.allowed import shown_path
from fastmarket.content.catalogue import Catalogue
from fastmarket.content.goods import Good, GoodState, profile_of
from fastmarket.content.leaves import check_unchanged, leaf_parts, opened_file
from fastmarket.content.stamp import FileStamp, settled_stamp
from fastmarket.errors import CallerFault, FastmarketError
from fastmarket.formats.unixfs.importer import UnixfsImporter

log = logging.getLogger(__name__)

FILES_A_READ = 1000  # of the list of all files
MAX_REMEMBERED = 65_536  # changed files that are not read again before their times change; 10 MB
_FILES = "SELECT id, path, stamp, state FROM files WHERE id > ? ORDER BY id LIMIT ?"
_FILE = "SELECT path, profile, stamp, CAST(prefix || digest AS BLOB), state FROM files WHERE id = ?"


@dataclass(frozen=True, slots=True)
class _Kept:
    """A file as it was imported."""

    id: int
    path: str
    profile: str
    stamp: FileStamp
    cid: bytes
    state: GoodState


class _Stopped(FastmarketError):
    """The keeper was closed while it read a file."""


class GoodsKeeper:
    """Looks at files, in a thread; goods come back whose state changed by what it saw."""

    def __init__(self, catalogue: Catalogue, config: ContentConfig, moved: asyncio.Event) -> None:
        """`moved` is set by the catalogue: it is made with `Catalogue(..., moved.set)`."""
        self._catalogue = catalogue
        self._ledger = catalogue.ledger
        self._look_s = config.look_s
        self._moved = moved
        self._is_closed = False
        self._changed: BoundedMap[int, FileStamp] = BoundedMap(MAX_REMEMBERED)

    async def changes(self) -> AsyncGenerator[list[Good], None]:
        """Goods whose state changed: the offers of those that are CHANGED or GONE are to be withdrawn, those
        that are SELLING again to be registered. First come all that are CHANGED or GONE: an earlier run may
        have ended before that was done. Looks at all files at the start and every `look_s`, and at once at
        one that was found to have changed. Raises StorageFault."""
        broken = await asyncio.to_thread(self._ledger.broken)
        if broken:
            yield broken
        wants_all = True
        while True:
            self._moved.clear()
            goods = await asyncio.to_thread(self.look, all_files=wants_all)
            if goods:
                yield goods
            wants_all = False
            try:
                await asyncio.wait_for(self._moved.wait(), self._look_s)
            except TimeoutError:
                wants_all = True

    def close(self) -> None:
        """Ends a look that is under way."""
        self._is_closed = True

    def look(self, *, all_files: bool) -> list[Good]:
        """Looks at the files that were found to have moved, or at all; deletes the rows of what is no longer
        sold. Returns the goods whose state changed. Raises StorageFault."""
        goods = self._ledger.take_changed()
        with suppress(_Stopped):
            for number in self._suspects(all_files=all_files):
                file = self._file(number)
                if file is not None:
                    goods += self._look_at(file)
                if number in self._catalogue.moved:
                    self._catalogue.moved.discard(number)
                    self._ledger.refresh()
            while not self._is_closed and self._catalogue.index.purge():
                pass
        return goods

    def _suspects(self, *, all_files: bool) -> Iterator[int]:
        yield from tuple(self._catalogue.moved)
        last = 0
        while all_files:
            with self._catalogue.database.reading() as connection:
                rows = connection.execute(_FILES, (last, FILES_A_READ)).fetchall()
            if not rows:
                return
            last = rows[-1][0]
            for number, path, stamp, state in rows:
                now = _stamp_at(path)
                is_same = now is not None and now.to_bytes() == stamp
                if state <= GoodState.SELLING:
                    is_suspect = not is_same
                else:
                    is_suspect = now is not None and now != self._changed.peek(number)
                if is_suspect:
                    yield number

    def _look_at(self, file: _Kept) -> list[Good]:
        state, stamp = self._seen(file)
        if state is file.state and (stamp is None or stamp == file.stamp):
            return []
        if file.state is GoodState.IMPORTING and state is GoodState.SELLING:
            state = file.state  # of no good yet
        goods = self._ledger.set_state(file.id, state, stamp)
        if state is not file.state:
            path = shown_path(file.path)
            if state is GoodState.CHANGED:
                log.warning(
                    "%s is not the file that was imported; contents no longer sold: %d", path, len(goods)
                )
            elif state is GoodState.GONE:
                log.warning("%s is gone; contents no longer sold: %d", path, len(goods))
        return goods

    def _seen(self, file: _Kept) -> tuple[GoodState, FileStamp | None]:
        """The state that the file is in, and its stamp if that is another for the same bytes."""
        now = _stamp_at(os.fsencode(file.path))
        if now is None:
            return GoodState.GONE, None
        if now == file.stamp:
            return GoodState.SELLING, None
        if now.size == file.stamp.size and now != self._changed.peek(file.id):
            with suppress(CallerFault):
                stamp = self._same_bytes(file)
                if stamp is not None:
                    return GoodState.SELLING, stamp
        self._changed.put(file.id, now)
        return GoodState.CHANGED, None

    def _same_bytes(self, file: _Kept) -> FileStamp | None:
        """Reads the file; its stamp if it has the bytes that were imported."""
        profile = profile_of(file.profile)
        importer = UnixfsImporter(profile)
        with opened_file(file.path) as descriptor:
            stamp = settled_stamp(descriptor, file.path)
            if stamp.size != file.stamp.size:
                return None
            with closing(leaf_parts(descriptor, file.path, 0, stamp.size, profile, 1)) as parts:
                for length, digests in parts:
                    importer.add_leaves(digests, length)
                    if self._is_closed:
                        raise _Stopped("the catalogue is being closed")
            check_unchanged(descriptor, file.path, stamp)
        return stamp if importer.finish_link().cid == file.cid else None

    def _file(self, number: int) -> _Kept | None:
        with self._catalogue.database.reading() as connection:
            row = connection.execute(_FILE, (number,)).fetchone()
        if row is None:
            return None
        path, profile, stamp, cid, state = row
        return _Kept(number, os.fsdecode(path), profile, FileStamp.from_bytes(stamp), cid, GoodState(state))


def _stamp_at(path: bytes) -> FileStamp | None:
    try:
        return FileStamp.of(os.stat(path, follow_symlinks=False))
    except OSError:
        return None
