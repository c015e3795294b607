"""What this node sells: found by multihash, served out of the files, listed for people."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from time import monotonic

from fastmarket.bounded_map import BoundedMap, Eviction
from fastmarket.config import ContentConfig
from fastmarket.content.database import ContentDatabase
from fastmarket.content.goods import GOOD_COLUMNS, Good, GoodState, SellOrder, good_of, profile_of
from fastmarket.content.index import DIGEST_BYTES, BlockIndex
from fastmarket.content.ledger import GoodsLedger
from fastmarket.content.open_files import ImportedFile, OpenFiles
from fastmarket.content.place import FileMoved, InlineBlock, Place, SoldFile, read_place
from fastmarket.content.stamp import FileStamp
from fastmarket.errors import NodeFault
from fastmarket.formats.cid import SHA2_256_PREFIX, Cid, Codec
from fastmarket.log_throttle import LogThrottle

log = logging.getLogger(__name__)

MAX_TRIES = 64
"""Owners of one block that are looked at: thousands of files may begin alike, and all but one be gone."""
KNOWN_OWNERS = 4096  # files, and directories, in memory: the most recently asked ones, 2 MB
FAULT_LOG_INTERVAL_S = 60.0  # between log lines about a database that cannot be read
MAX_PAGE = 1001  # of `goods`: a page of callers, and one more, which tells that another page follows
_FILE = "SELECT path, profile, stamp FROM files WHERE id = ? AND state = ?"
_ROOTS = "SELECT id, prefix FROM files WHERE digest = ? AND state = ? LIMIT ?"


def _nothing() -> None:
    """For a catalogue whose owner looks by itself."""


class Catalogue:
    """A `BlockSource`: `find`, `read`, `file_of` and `goods` in one thread, that of the event loop.

    What changes it, `ledger` and `index`, is called in any other.
    """

    def __init__(
        self, directory: Path | None, config: ContentConfig, on_moved: Callable[[], None] = _nothing
    ) -> None:
        """Opens or creates it in the data directory, or for as long as it is open in a temporary one: 2 s
        for 4 million blocks.

        `on_moved` is called, in the same thread, when a file is found not to be as it was imported: it is
        time for `GoodsKeeper.look`. Raises NodeFault.
        """
        with ExitStack() as stack:
            if directory is None:
                directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fastmarket-")))
            self.database = ContentDatabase(directory)
            """Its file, for those that write."""
            stack.callback(self.database.close)
            self.scratch = directory / "content"
            """Directory of imports in progress."""
            self.index = BlockIndex(self.database)
            self.index.load()
            self.ledger = GoodsLedger(self.database, self.index, config)
            self._open_files = OpenFiles(config.max_open_files)
            stack.callback(self._open_files.close)
            self._stack = stack.pop_all()
        self._on_moved = on_moved
        self.moved: set[int] = set()
        """Numbers of files seen not to be as they were imported, until `GoodsKeeper.look` has looked."""
        self._files: BoundedMap[int, ImportedFile] = BoundedMap(
            KNOWN_OWNERS, eviction=Eviction.LEAST_RECENTLY_USED
        )
        self._directories: BoundedMap[int, bool] = BoundedMap(KNOWN_OWNERS)
        self._generation = 0
        self._last_places: tuple[int, bytes, list[tuple[int, int]]] = (-1, b"", [])
        self._faults = LogThrottle(FAULT_LOG_INTERVAL_S, 1)

    def close(self) -> None:
        """Nothing is served afterwards; no import may run any more."""
        self._stack.close()

    def tidy_scratch(self) -> None:
        """Deletes what imports left that do not go on. None may run."""
        wanted = self.ledger.under_way()
        self.scratch.mkdir(mode=0o700, exist_ok=True)
        for path in self.scratch.iterdir():
            if path.suffix == ".rows":
                shutil.rmtree(path, ignore_errors=True)
            elif not path.stem.isdecimal() or int(path.stem) not in wanted:
                path.unlink(missing_ok=True)

    # --- BlockSource

    def find(self, multihash: bytes) -> Place | None:
        """Where the block is; None: it is not sold here, or its file is no longer as it was."""
        if not self.index.may_have(multihash):
            return None
        try:
            return self._find(multihash[-DIGEST_BYTES:])
        except NodeFault as fault:
            self._tell(fault)
            return None

    def read(self, multihash: bytes) -> bytes | None:
        """The block itself; None likewise."""
        place = self.find(multihash)
        try:
            return None if place is None else read_place(place)
        except FileMoved:
            return None

    def file_of(self, cid: Cid) -> SoldFile | None:
        """The whole file behind the root of a file; None: not here, or a directory, or a part of a file."""
        if not self.index.may_have(cid.multihash):
            return None
        try:
            self._refresh()
            parameters = (cid.multihash[-DIGEST_BYTES:], GoodState.SELLING, MAX_TRIES)
            for number, prefix in self.database.rows(_ROOTS, parameters):
                codec = Codec.DAG_PB if prefix == SHA2_256_PREFIX else prefix[1]
                file = self._file(number)
                if file is not None and codec == cid.codec and file.is_in_place():
                    return SoldFile(file, file.size, os.path.basename(file.path))
        except NodeFault as fault:
            self._tell(fault)
        return None

    # --- goods

    def goods(self, after: tuple[str, int] | None = None, limit: int = MAX_PAGE) -> tuple[Good, ...]:
        """Goods by path, at most `limit` of them, behind the one with this path and number."""
        path, number = ("", 0) if after is None else after
        query = f"SELECT {GOOD_COLUMNS} WHERE (goods.path, goods.id) > (?, ?) ORDER BY goods.path, goods.id"
        parameters = os.fsencode(path), number, min(max(limit, 0), MAX_PAGE)
        rows = self.database.rows(f"{query} LIMIT ?", parameters)
        return self._shown(map(good_of, rows))

    def path_of(self, good: int) -> str | None:
        """The path of the good with that number; None: there is none."""
        rows = self.database.rows("SELECT path FROM goods WHERE id = ?", (good,))
        return os.fsdecode(rows[0][0]) if rows else None

    def goods_of(self, multihash: bytes) -> tuple[Good, ...]:
        """Goods with that content; more than one if it is sold from several places."""
        if not multihash.startswith(SHA2_256_PREFIX):
            return ()
        query = f"SELECT {GOOD_COLUMNS} WHERE goods.digest = ? ORDER BY goods.id LIMIT ?"
        rows = self.database.rows(query, (multihash[2:], MAX_PAGE))
        return self._shown(map(good_of, rows))

    def count(self) -> int:
        """How many goods there are."""
        return int(self.database.rows("SELECT count(*) FROM goods")[0][0])

    def orders(self) -> list[tuple[SellOrder, bool]]:
        """All orders, and whether each was finished: what is not goes on after a restart."""
        return self.ledger.orders()

    def remove(self, *, multihash: bytes | None = None, path: str | None = None) -> list[Good]:
        """Ends the sale of a content, or of what was sold by a path; returns what is no longer sold.

        Raises CallerFault("content", ...) for a file below a directory that is followed: it would be sold
        again. Writes to disk: not for the event loop. `GoodsKeeper.look` deletes the rows.
        """
        return self.ledger.remove(multihash, path)

    # --- within

    def _find(self, digest: bytes) -> Place | None:
        self._refresh()
        for owner, place in self.places(digest):
            if owner > 0:
                file = self._file(owner)
                if file is None or not file.is_in_place():
                    continue
                if place >= 0:
                    return file.leaf(place)
            elif not self._is_sold(-owner):
                continue
            block = self.index.node(owner, place)
            if block is not None:
                return InlineBlock(block)
        return None

    def places(self, digest: bytes) -> list[tuple[int, int]]:
        """Owner and place of each time that a block is here, as `BlockIndex.places`; those of the last block
        that was asked for are remembered until something is written. Raises NodeFault."""
        commits, last, found = self._last_places
        if (commits, last) != (self.database.commits, digest):
            commits = self.database.commits  # before the look: what is written meanwhile counts as later
            found = self.index.places(digest, MAX_TRIES)
            self._last_places = commits, digest, found
        return found

    def _refresh(self) -> None:
        """Forgets what is known of files and directories when one of them changed."""
        generation = self.ledger.generation
        if generation != self._generation:
            self._generation = generation
            self._files.clear()
            self._directories.clear()
            self._open_files.close()

    def _file(self, number: int) -> ImportedFile | None:
        found = self._files.get(number)
        if found is None:
            rows = self.database.rows(_FILE, (number, GoodState.SELLING))
            if not rows:
                return None
            ((where, profile, stamped),) = rows
            path, stamp = os.fsdecode(where), FileStamp.from_bytes(stamped)
            found = ImportedFile(number, path, stamp, profile_of(profile), self._open_files, self._file_moved)
            self._files.put(number, found)
        return found

    def _is_sold(self, good: int) -> bool:
        found = self._directories.peek(good)
        if found is None:
            query = "SELECT 1 FROM goods WHERE id = ? AND state = ?"
            found = bool(self.database.rows(query, (good, GoodState.SELLING)))
            self._directories.put(good, found)
        return found

    def _file_moved(self, file: ImportedFile) -> None:
        self.moved.add(file.id)
        self._on_moved()

    def _shown(self, goods: map[Good]) -> tuple[Good, ...]:
        """With those as not served of which a file is being looked at."""
        query = "SELECT good FROM members WHERE file = ?"
        rows = (row for file in tuple(self.moved) for row in self.database.rows(query, (file,)))
        looked_at = {good for (good,) in rows}
        return tuple(good.being_read() if good.id in looked_at else good for good in goods)

    def _tell(self, fault: NodeFault) -> None:
        repeated = self._faults.due("", monotonic())
        if repeated is not None:
            log.error("cannot read the catalogue: %s; repeated %d times", fault, repeated)
