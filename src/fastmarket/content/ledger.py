"""What the catalogue keeps of orders, goods and files, and how one becomes another. Called in any thread.

A file is imported once for each profile, however many goods it is in. It is served as soon as it is part of a
good, and no longer than that.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from fastmarket.config import ContentConfig
from fastmarket.content.database import ContentDatabase
from fastmarket.content.goods import (
    GOOD_COLUMNS,
    ORDER_COLUMNS,
    Good,
    GoodState,
    SellOrder,
    good_of,
    order_of,
)
from fastmarket.content.index import DIGEST_BYTES, BlockIndex
from fastmarket.content.records import FileRecord, GoodPut, NewGood
from fastmarket.content.stamp import FileStamp
from fastmarket.content.tree_rows import TreeRows
from fastmarket.errors import CallerFault
from fastmarket.formats.unixfs.importer import DagLink

_PUT_ORDER = """
INSERT INTO orders (path, profile, each_file, watched, price, user_id, user_name, finished)
VALUES (?, ?, ?, ?, ?, ?, ?, 0) ON CONFLICT (path, profile) DO UPDATE SET each_file = excluded.each_file,
watched = excluded.watched, price = excluded.price, user_id = excluded.user_id,
user_name = excluded.user_name, finished = 0
RETURNING id
"""
_PUT_FILE = "INSERT INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_FILE = (
    "SELECT id, stamp, prefix, digest, tree_bytes, blocks, state FROM files WHERE path = ? AND profile = ?"
)
_IMPORT = "SELECT file FROM imports WHERE path = ? AND profile = ?"
_PUT_GOOD = """
INSERT INTO goods (id, path, ordered, directory, prefix, digest, size, blocks, state)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id
"""
# Files that are in no good and not below an order that is being imported.
_NOT_WANTED = """
NOT EXISTS (SELECT 1 FROM orders WHERE NOT finished AND ({table}.path = orders.path
    OR substr({table}.path, 1, length(orders.path) + 1) = CAST(orders.path || x'2f' AS BLOB)))
"""
# Files in no good, and imports, that no order is waiting for.
_ORPHANS = f"""
SELECT id, digest FROM files WHERE NOT EXISTS (SELECT 1 FROM members WHERE members.file = files.id)
AND {_NOT_WANTED.format(table="files")}
"""
_ABANDONED = f"SELECT file FROM imports WHERE {_NOT_WANTED.format(table='imports')}"


class GoodsLedger:
    """Orders, goods and files, in the tables of those names."""

    def __init__(self, database: ContentDatabase, index: BlockIndex, config: ContentConfig) -> None:
        self._database = database
        self._index = index
        self._config = config
        self.generation = 0
        """Grows whenever what was found before may no longer be right."""
        self._is_stale = False
        self._changed: list[Good] = []

    def refresh(self) -> None:
        """What was found before may no longer be right."""
        self.generation += 1

    # --- orders

    def begin(self, order: SellOrder) -> int:
        """Notes the order, so that it goes on after a restart; returns its number."""
        path = os.fsencode(order.path)
        with self._writing() as connection:
            row = (
                *(path, str(order.profile), order.each_file, order.watched),
                *(order.price_per_mb, order.user_id, order.user_name),
            )
            number: int = connection.execute(_PUT_ORDER, row).fetchone()[0]
            goods, of_order = connection.execute(
                "SELECT count(*), coalesce(sum(ordered = ?), 0) FROM goods", (number,)
            ).fetchone()
            if goods >= self._config.max_goods:
                raise CallerFault("path", f"{self._config.max_goods} contents are sold already")
            if not of_order:
                fresh = (None, path, number, 0, b"", b"", 0, 0, GoodState.IMPORTING)
                connection.execute(_PUT_GOOD, fresh).fetchall()
        return number

    def orders(self) -> list[tuple[SellOrder, bool]]:
        """All orders, and whether each was finished: what is not goes on."""
        with self._database.reading() as connection:
            rows = connection.execute(f"SELECT finished, {ORDER_COLUMNS} ORDER BY id").fetchall()
        return [(order_of(row[1:]), bool(row[0])) for row in rows]

    def finish(self, number: int, sold: Iterable[int]) -> list[Good]:
        """Ends an order whose goods are these, by their numbers; returns the others of earlier times, which
        are no longer sold."""
        with self._writing() as connection:
            connection.execute("UPDATE orders SET finished = 1 WHERE id = ?", (number,))
            rows = connection.execute(f"SELECT {GOOD_COLUMNS} WHERE goods.ordered = ?", (number,)).fetchall()
            kept = set(sold)
            ended = [good for good in map(good_of, rows) if good.id not in kept]
            self._drop_goods(connection, ended)
            self._drop_orders(connection, [number])
            self._drop_orphans(connection)
        return [good for good in ended if good.cid is not None]

    def remove(self, multihash: bytes | None, path: str | None) -> list[Good]:
        """Ends the sale of the goods with that content, or by an order for that path or at it; returns them.

        Nothing of them is served any more; their rows are deleted by `BlockIndex.purge`. Raises
        CallerFault("content", ...) for a file below a directory that is followed.
        """
        digest, at = (multihash or b"")[2:], os.fsencode(path or "")
        query = (
            f"SELECT orders.path, {GOOD_COLUMNS} WHERE goods.digest = ? OR goods.path = ? OR orders.path = ?"
        )
        with self._writing() as connection:
            rows = connection.execute(query, (digest or None, at, at)).fetchall()
            goods = [good_of(row[1:]) for row in rows]
            for row, good in zip(rows, goods, strict=True):
                order = os.fsdecode(row[0])
                if good.watched and order not in (good.path, path):
                    reason = f"{good.path} is sold with {order}, which is followed; end the sale of that"
                    raise CallerFault("content", reason)
            query = "SELECT ordered FROM goods WHERE id = ?"
            marks = [(good.id,) for good in goods]
            orders = {row[0] for mark in marks for row in connection.execute(query, mark)}
            self._drop_goods(connection, goods)
            connection.execute("DELETE FROM orders WHERE path = ?", (at,))
            self._drop_orders(connection, orders, also_watched=True)
            self._drop_orphans(connection)
        return goods

    # --- files

    def known(self, paths: Sequence[str], profile: str) -> dict[str, FileRecord]:
        """Of these paths, the files that were imported and not seen to change."""
        found = {}
        with self._database.reading() as connection:
            for path in paths:
                row = connection.execute(_FILE, (os.fsencode(path), profile)).fetchone()
                if row is not None and row[6] in (GoodState.IMPORTING, GoodState.SELLING):
                    number, stamp, prefix, digest, tree_bytes, blocks, _ = row
                    was = FileStamp.from_bytes(stamp)
                    link = DagLink(prefix + digest, was.size, tree_bytes)
                    found[path] = FileRecord(number, path, profile, was, link, blocks)
        return found

    def reserve(self, path: str, profile: str, stamp: FileStamp) -> tuple[int, bool]:
        """A number for a file that is to be imported, and whether an earlier import of the same state of it
        goes on."""
        row = (os.fsencode(path), profile)
        with self._database.writing() as connection:
            query = "SELECT file, stamp FROM imports WHERE path = ? AND profile = ?"
            found = connection.execute(query, row).fetchone()
            if found is not None and found[1] == stamp.to_bytes():
                return int(found[0]), True
            if found is not None:
                self._give_up(connection, found[0])
            number = self._new_number(connection, "files")
            connection.execute("INSERT INTO imports VALUES (?, ?, ?, ?)", (number, *row, stamp.to_bytes()))
        return number, False

    def reserve_good(self, path: str, profile: str) -> int:
        """A number for a directory that is to be imported."""
        where = (os.fsencode(path) + b"/", profile)  # no file has such a path
        with self._database.writing() as connection:
            for (owner,) in connection.execute(_IMPORT, where).fetchall():
                self._give_up(connection, owner)
            number = self._new_number(connection, "goods")
            connection.execute("INSERT INTO imports VALUES (?, ?, ?, ?)", (-number, *where, b""))
        return number

    def give_up(self, owner: int) -> None:
        """An import does not go on."""
        with self._database.writing() as connection:
            self._give_up(connection, owner)

    def under_way(self) -> set[int]:
        """The numbers of all imports that may go on."""
        with self._database.reading() as connection:
            return {row[0] for row in connection.execute("SELECT file FROM imports")}

    def put_files(self, files: Sequence[tuple[FileRecord, TreeRows | None]]) -> list[FileRecord]:
        """Writes imported files with their blocks, each in place of what was at its path under its profile.

        Without rows, the file is one leaf and gets its number now. Returns the records as they are kept.
        """
        with self._writing(durable=False) as connection:
            return [self._put_file(connection, record, rows) for record, rows in files]

    # --- goods

    def put_goods(self, number: int, found: Sequence[NewGood], *, durable: bool = True) -> list[GoodPut]:
        """Sells what an order's import found, each in place of what the order sold at its path.

        Raises CallerFault if the order was ended meanwhile.
        """
        put = []
        with self._writing(durable=durable) as connection:
            if connection.execute("SELECT 1 FROM orders WHERE id = ?", (number,)).fetchone() is None:
                raise CallerFault("path", "its sale was ended while it was imported")
            for new in found:
                put.append(self._put_good(connection, number, new))
        return put

    def goods_with(self, files: Iterable[int]) -> list[Good]:
        """The goods that these files are in."""
        query = f"SELECT {GOOD_COLUMNS} WHERE goods.id IN (SELECT good FROM members WHERE file = ?)"
        found: dict[int, Good] = {}
        with self._database.reading() as connection:
            for file in files:
                found.update((row[0], good_of(row)) for row in connection.execute(query, (file,)))
        return list(found.values())

    def broken(self) -> list[Good]:
        """Those of which a file changed or is gone."""
        query = f"SELECT {GOOD_COLUMNS} WHERE goods.state > ? ORDER BY goods.id"
        with self._database.reading() as connection:
            return [good_of(row) for row in connection.execute(query, (GoodState.SELLING,))]

    def set_state(self, file: int, state: GoodState, stamp: FileStamp | None = None) -> list[Good]:
        """Notes that a file changed, is gone, or is as it was (with these times); returns the goods whose
        state changed by that."""
        with self._writing() as connection:
            return self._set_state(connection, file, state, stamp)

    def take_changed(self) -> list[Good]:
        """Goods whose state changed because a file of theirs was imported anew, with their states now."""
        changed, self._changed = self._changed, []
        return changed

    # --- within a transaction

    @contextmanager
    def _writing(self, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        with self._database.writing(durable=durable) as connection:
            yield connection
        if self._is_stale:
            # Now that everybody reads what was written.
            self._is_stale = False
            self.generation += 1

    def _set_state(
        self, connection: sqlite3.Connection, file: int, state: GoodState, stamp: FileStamp | None
    ) -> list[Good]:
        connection.execute("UPDATE files SET state = ? WHERE id = ?", (state, file))
        if stamp is not None:
            connection.execute("UPDATE files SET stamp = ? WHERE id = ?", (stamp.to_bytes(), file))
        changed = []
        for good in self.goods_with((file,)):
            now = self._state_of(connection, good.id)
            if now is not good.state:
                connection.execute("UPDATE goods SET state = ? WHERE id = ?", (now, good.id))
                changed.append(replace(good, state=now))
        self._is_stale = True
        return changed

    def _put_file(
        self, connection: sqlite3.Connection, record: FileRecord, rows: TreeRows | None
    ) -> FileRecord:
        where = (os.fsencode(record.path), record.profile)
        cid, stamp = record.link.cid, record.stamp.to_bytes()
        digest = cid[-DIGEST_BYTES:]
        before = connection.execute(_FILE, where).fetchone()
        if before is not None and before[2] + before[3] == cid:
            # The same bytes, with other times.
            number: int = before[0]
            if rows is not None:
                self._give_up(connection, record.id)
            if before[1] != stamp or before[6] > GoodState.SELLING:
                self._changed += self._set_state(connection, number, GoodState.SELLING, record.stamp)
            return replace(record, id=number)
        if before is not None:
            self._replace(connection, before[0], before[3])
        if rows is None:
            record = replace(record, id=self._new_number(connection, "files"))
            self._index.put_rows(connection, [(digest, record.id, 0)])
        else:
            connection.execute("DELETE FROM imports WHERE file = ?", (record.id,))
            rows.write(connection)
        fields = (
            *(record.id, *where, stamp, cid[:-DIGEST_BYTES], digest),
            *(record.link.tree_bytes, record.blocks, GoodState.IMPORTING),
        )
        connection.execute(_PUT_FILE, fields)
        return record

    def _put_good(self, connection: sqlite3.Connection, number: int, new: NewGood) -> GoodPut:
        path, cid = os.fsencode(new.path), new.link.cid
        query = f"SELECT {GOOD_COLUMNS} WHERE goods.path = ? AND goods.ordered = ?"
        row = connection.execute(query, (path, number)).fetchone()
        before = None if row is None else good_of(row)
        if before is not None:
            if self._is_same(connection, before, new):
                if new.rows is not None:
                    self._give_up(connection, new.rows.owner)
                return GoodPut(before, None)
            self._drop_goods(connection, [before])
        reserved = None if new.rows is None else -new.rows.owner
        fields = (
            *(reserved, path, number, new.rows is not None, cid[:-DIGEST_BYTES], cid[-DIGEST_BYTES:]),
            *(new.link.file_bytes, new.blocks, GoodState.SELLING),
        )
        good: int = connection.execute(_PUT_GOOD, fields).fetchone()[0]
        members = [(good, file) for file in new.files]
        connection.executemany("INSERT OR IGNORE INTO members VALUES (?, ?)", members)
        connection.executemany(
            "UPDATE files SET state = ? WHERE id = ? AND state = ?",
            [(GoodState.SELLING, file, GoodState.IMPORTING) for file in new.files],
        )
        if new.rows is not None:
            connection.execute("DELETE FROM imports WHERE file = ?", (new.rows.owner,))
            new.rows.write(connection)
        put = good_of(connection.execute(f"SELECT {GOOD_COLUMNS} WHERE goods.id = ?", (good,)).fetchone())
        same = before is not None and (before.cid is None or before.cid == put.cid)
        return GoodPut(put, None if same else before)

    @staticmethod
    def _is_same(connection: sqlite3.Connection, good: Good, new: NewGood) -> bool:
        if good.cid is None or good.cid.raw != new.link.cid or good.state is not GoodState.SELLING:
            return False
        rows = connection.execute("SELECT file FROM members WHERE good = ?", (good.id,))
        return {row[0] for row in rows} == set(new.files)

    def _give_up(self, connection: sqlite3.Connection, owner: int) -> None:
        connection.execute("DELETE FROM imports WHERE file = ?", (owner,))
        self._index.drop(connection, owner, b"")

    @staticmethod
    def _new_number(connection: sqlite3.Connection, table: str) -> int:
        """One that no row of the table ever had."""
        update = "UPDATE sqlite_sequence SET seq = seq + 1 WHERE name = ? RETURNING seq"
        row = connection.execute(update, (table,)).fetchone()
        if row is None:
            connection.execute("INSERT INTO sqlite_sequence VALUES (?, 1)", (table,))
            return 1
        return int(row[0])

    def _drop_goods(self, connection: sqlite3.Connection, goods: Sequence[Good]) -> None:
        for good in goods:
            connection.execute("DELETE FROM members WHERE good = ?", (good.id,))
            connection.execute("DELETE FROM goods WHERE id = ?", (good.id,))
            if good.is_directory:
                self._index.drop(connection, -good.id, b"")
        if goods:
            self._is_stale = True

    @staticmethod
    def _drop_orders(
        connection: sqlite3.Connection, numbers: Iterable[int], *, also_watched: bool = False
    ) -> None:
        """Those of which nothing is left, nor can come."""
        query = "DELETE FROM orders WHERE id = ? AND watched <= ? AND id NOT IN (SELECT ordered FROM goods)"
        connection.executemany(query, [(number, also_watched) for number in numbers])

    def _drop_orphans(self, connection: sqlite3.Connection) -> None:
        for number, digest in connection.execute(_ORPHANS).fetchall():
            connection.execute("DELETE FROM files WHERE id = ?", (number,))
            self._index.drop(connection, number, digest)
            self._is_stale = True
        for (owner,) in connection.execute(_ABANDONED).fetchall():
            self._give_up(connection, owner)

    def _replace(self, connection: sqlite3.Connection, number: int, digest: bytes) -> None:
        """The new bytes of a file are part of no good before an order says so; the goods with the old ones
        have changed."""
        for good in self.goods_with((number,)):
            connection.execute("UPDATE goods SET state = ? WHERE id = ?", (GoodState.CHANGED, good.id))
            if good.state is GoodState.SELLING:
                self._changed.append(replace(good, state=GoodState.CHANGED))
        connection.execute("DELETE FROM members WHERE file = ?", (number,))
        connection.execute("DELETE FROM files WHERE id = ?", (number,))
        self._index.drop(connection, number, digest)
        self._is_stale = True

    @staticmethod
    def _state_of(connection: sqlite3.Connection, good: int) -> GoodState:
        """The worst state of the files in it."""
        query = "SELECT max(files.state) FROM members JOIN files ON files.id = file WHERE good = ?"
        return GoodState(connection.execute(query, (good,)).fetchone()[0] or GoodState.CHANGED)
