"""Whether the cells of the catalogue's tables are such as a fastmarket writes.

SQLite keeps a value of any type in any column: a damaged page, or another program, may have put anything
there. It is seen once, at the opening, in all tables but those of blocks and nodes, which are millions: what
is wrong in these costs the block (`content.index`).
"""

from __future__ import annotations

import sqlite3
from contextlib import suppress

from fastmarket.errors import CallerFault
from fastmarket.formats.unixfs.profile import CidProfile

MAX_OWNER = 1 << 38
"""Of the numbers of files and goods: with the number of a node behind it, one fits into SQLite's."""

_INTEGERS = {
    "orders": ("each_file", "watched", "price", "finished"),
    "goods": ("ordered", "directory", "size", "blocks"),
    "files": ("tree_bytes", "blocks"),
    "members": ("good", "file"),
}
_BYTES = {"orders": ("path", "user_id"), "goods": ("path",), "files": ("path",), "imports": ("path", "stamp")}
_TEXTS = {"orders": ("profile", "user_name"), "files": ("profile",), "imports": ("profile",)}
_PREFIXES = "(x'1220', x'01701220', x'01551220')"  # of CIDs by SHA-256: version 0; 1 of dag-pb, of raw
_STATE = "typeof(state) = 'integer' AND state BETWEEN 1 AND 4"
_DIGEST = f"typeof(digest) = 'blob' AND length(digest) = 32 AND prefix IN {_PREFIXES}"
_RULES = {
    "orders": (f"id BETWEEN 1 AND {MAX_OWNER}", "price >= 0"),
    "goods": (
        f"id BETWEEN 1 AND {MAX_OWNER}",
        _STATE,
        f"(({_DIGEST}) OR (digest = x'' AND prefix = x''))",  # not known yet
        "min(size, blocks) >= 0",
    ),
    "files": (
        f"id BETWEEN 1 AND {MAX_OWNER}",
        _STATE,
        _DIGEST,
        "typeof(stamp) = 'blob' AND length(stamp) = 32",
        "min(tree_bytes, blocks) >= 0",
    ),
    "imports": (f"abs(file) <= {MAX_OWNER}",),
    "dropped": (f"abs(owner) <= {MAX_OWNER}", "typeof(digest) = 'blob' AND length(digest) IN (0, 32)"),
    "members": (),  # types alone
}


class DamagedCells(sqlite3.DatabaseError):
    """A table has a row that is not one of ours."""


def check_cells(connection: sqlite3.Connection) -> None:
    """Raises DamagedCells."""
    for table, rules in _RULES.items():
        every = [
            *_typed("integer", _INTEGERS.get(table, ())),
            *_typed("blob", _BYTES.get(table, ())),
            *_typed("text", _TEXTS.get(table, ())),
            *rules,
        ]
        if _any(connection, table, " AND ".join(every)):
            wrong = next(rule for rule in every if _any(connection, table, rule))
            raise DamagedCells(f"table {table} has a row without {wrong}")
    for table in _TEXTS:
        for (text,) in connection.execute(f"SELECT DISTINCT profile FROM {table}"):
            if not _is_profile(text):
                raise DamagedCells(f"table {table} has a row of profile {text!r}")
    highest = connection.execute("SELECT max(seq) FROM sqlite_sequence").fetchone()[0]
    if highest is not None and not (isinstance(highest, int) and highest <= MAX_OWNER):
        raise DamagedCells(f"the latest number is {highest!r}")


def _any(connection: sqlite3.Connection, table: str, rule: str) -> bool:
    """Whether a row breaks the rule."""
    query = f"SELECT 1 FROM {table} WHERE ({rule}) IS NOT 1 LIMIT 1"
    return connection.execute(query).fetchone() is not None


def _typed(kind: str, columns: tuple[str, ...]) -> list[str]:
    return [f"typeof({column}) = '{kind}'" for column in columns]


def _is_profile(text: object) -> bool:
    """Of any type: an index that is damaged may have another one than its table."""
    with suppress(CallerFault):
        return isinstance(text, str) and bool(CidProfile.of(text))
    return False
