"""Damage to a SQLite file, told by few bytes: what disks, crashes, other programs and owners do."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

MAX_STEPS: Final = 6
_TEXT_CHARS: Final = 40


class Bytes:
    """Reads what to do; behind the end all is zero."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    @property
    def is_over(self) -> bool:
        return self._at >= len(self._data)

    def take(self, count: int) -> bytes:
        self._at += count
        return self._data[self._at - count : self._at].ljust(count, b"\0")

    def number(self, count: int = 1) -> int:
        return int.from_bytes(self.take(count), "big")

    def choose(self, many: Sequence[str]) -> str:
        return many[self.number() % len(many)]

    def rest(self) -> bytes:
        return self.take(max(len(self._data) - self._at, 0))


class Damaged:
    """A copy of a database, damaged. `tables`: with the columns that are written to. `rows` counts those that
    were changed, by table: all others are as they were, unless `is_raw`."""

    def __init__(self, whole: bytes, page: int, tables: Mapping[str, Sequence[str]]) -> None:
        self._whole, self._page, self._tables = whole, page, tables
        self.rows: dict[str, int] = {}
        self.is_raw = False
        """Whether bytes of the file were changed: then any row may be gone."""
        self.is_other = False
        """Whether it says to be another file, or lacks a table."""

    def write(self, path: Path, steps: Bytes) -> None:
        """Does what `steps` tell."""
        raw = bytearray(self._whole)
        path.write_bytes(raw)
        how: tuple[Callable[[Path, Bytes], None], ...] = (
            self._flip, self._cut, self._swap, self._edit, self._edit, self._edit, self._edit, self._other,
        )  # fmt: skip
        for _ in range(MAX_STEPS):
            if steps.is_over:
                return
            how[steps.number() % len(how)](path, steps)

    def _flip(self, path: Path, steps: Bytes) -> None:
        self.is_raw = True
        raw = bytearray(path.read_bytes())
        for _ in range(1 + steps.number() % 8):
            # Every second time in a header: of the file, or of a page.
            at = steps.number(3) % len(raw) if raw else 0
            if steps.number() & 1:
                at = at // self._page * self._page + at % 100
            raw[at : at + 1] = steps.take(1)
        path.write_bytes(raw)

    def _cut(self, path: Path, steps: Bytes) -> None:
        self.is_raw = True
        raw = path.read_bytes()
        at = steps.number(3) % (len(raw) + 1)
        path.write_bytes(raw[: at // self._page * self._page if steps.number() & 1 else at])

    def _swap(self, path: Path, steps: Bytes) -> None:
        self.is_raw = True
        raw, size = path.read_bytes(), self._page
        pages = [raw[at : at + size] for at in range(0, len(raw), size)]
        if not pages:
            return
        first, second = steps.number() % len(pages), steps.number() % len(pages)
        if steps.number() & 1:
            pages[first], pages[second] = pages[second], pages[first]
        else:
            pages[first] = bytes(size)
        path.write_bytes(b"".join(pages))

    def _edit(self, path: Path, steps: Bytes) -> None:
        """One cell, with a value of any type."""
        table = steps.choose(tuple(self._tables))
        column, row = steps.choose(self._tables[table]), steps.number()
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            try:
                found = connection.execute(
                    f"SELECT {column} FROM {table} LIMIT 1 OFFSET ?", (row % 8,)
                ).fetchone()
                where = f"{column} IS ?" if found is None else f"{column} = ?"
                value = _value(steps, None if found is None else found[0])
                done = connection.execute(
                    f"UPDATE {table} SET {column} = ? WHERE {where}",
                    (value, None if found is None else found[0]),
                )
                self.rows[table] = self.rows.get(table, 0) + max(done.rowcount, 0)
            except (sqlite3.Error, OverflowError):
                return  # no such file can be

    def _other(self, path: Path, steps: Bytes) -> None:
        """Of another version, another program, or without a table."""
        self.is_other = True
        pragma = ("user_version", "application_id", "journal_mode", "encoding")[steps.number() % 4]
        value = str(steps.number() - 3) if pragma != "journal_mode" else ("DELETE", "WAL")[steps.number() & 1]
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            try:
                if pragma == "encoding":
                    table = steps.choose(tuple(self._tables))
                    connection.execute(f"DROP TABLE {table}")
                else:
                    connection.execute(f"PRAGMA {pragma}={value}")
            except sqlite3.Error:
                return


def _value(steps: Bytes, before: object) -> object:
    """A value for a cell: of each type, and what was there a little changed."""
    kind = steps.number() % 8
    if kind == 0:
        return None
    if kind == 1:
        return steps.number() - 128
    if kind == 2:
        return int.from_bytes(steps.take(8), "big", signed=True)
    if kind == 3:
        return float(struct.unpack(">d", steps.take(8))[0])
    if kind == 4:
        return steps.take(steps.number() % _TEXT_CHARS).decode("latin-1")
    if kind == 5 or not isinstance(before, bytes) or not before:
        return steps.take(steps.number() % _TEXT_CHARS)
    changed, at = bytearray(before), steps.number(2) % len(before)
    if kind == 6:
        changed[at : at + 1] = steps.take(1)
    else:
        del changed[at : at + 1 + steps.number()]
    return bytes(changed)


def seeds(tables: Mapping[str, Sequence[str]]) -> list[bytes]:
    """A step of each kind, and each cell with a value of each type."""
    found = [b"", b"\x00\x03" + bytes(20), b"\x01\x00\x40\x00\x01", b"\x02\x01\x02\x01", b"\x02\x01\x02\x00"]
    found += [bytes((7, pragma, value)) for pragma in range(4) for value in (0, 2, 4, 9)]
    for number, columns in enumerate(tables.values()):
        for column in range(len(columns)):
            found += [bytes((3, number, column, 0, kind, 7, 7, 1, 2, 3, 4, 5, 6)) for kind in range(8)]
    return found
