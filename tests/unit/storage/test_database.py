"""The offer database: what is written stays, what cannot be read is named and left alone."""

from __future__ import annotations

import itertools
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from fastmarket.errors import NodeFault, StorageFault
from fastmarket.storage.database import (
    APPLICATION_ID,
    FILE,
    MIGRATIONS,
    PAGE_BYTES,
    BatchRow,
    BatchWrites,
    OfferDatabase,
    RecordRow,
    Row,
)


def row(content: bytes, signed: bytes = b"signed", *, own: bool = True, withdrawn: bool = False) -> Row:
    return (content, int(own), int(withdrawn), 1000, signed)


def held(directory: Path) -> dict[bytes, int]:
    database = OfferDatabase(directory)
    try:
        return dict(database.offers())
    finally:
        database.close()


def test_what_is_put_is_there_after_the_process_is_gone(tmp_path: Path) -> None:
    database = OfferDatabase(tmp_path)
    database.put([row(b"a", b"1"), row(b"b", b"2", own=False)])
    database.put([row(b"a", b"3")])
    # Not closed: as after SIGKILL, the log alone has it.
    assert held(tmp_path) == {b"3": 1, b"2": 0}
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600


def test_all_or_nothing(tmp_path: Path) -> None:
    database = OfferDatabase(tmp_path)
    with pytest.raises(StorageFault, match=r"offers\.db"):
        database.put([row(b"a"), (b"b", None, 0, 1, b"x")])  # type: ignore[list-item]
    assert held(tmp_path) == {}
    database.put([row(b"a")])
    assert held(tmp_path) == {b"signed": 1}


def test_what_ended_is_forgotten_but_own_offers_are_not(tmp_path: Path) -> None:
    database = OfferDatabase(tmp_path)
    database.put(
        [
            row(b"own", b"own"),
            row(b"tombstone", b"tombstone", withdrawn=True),
            row(b"other", b"other", own=False),
        ]
    )
    database.put([], ended=1000)
    assert set(held(tmp_path)) == {b"own", b"tombstone", b"other"}
    database.put([], ended=1001)
    assert set(held(tmp_path)) == {b"own"}


def test_no_batch_takes_the_number_that_a_mark_is_left_of(tmp_path: Path) -> None:
    """Else a slot of the new one, which may be acknowledged by then, would count as replaced."""
    database = OfferDatabase(tmp_path)
    database.put([], together=BatchWrites(batches=[BatchRow(4, 1, 1000, b"signed")], dead=[(7, 3)]))
    assert database.next_number() == 8
    database.close()


def test_values(tmp_path: Path) -> None:
    database = OfferDatabase(tmp_path)
    mine = RecordRow(b"mine", True, b"1", b"", 10.0, 20.0)
    other = RecordRow(b"other", False, b"2", b"publisher", 10.0, 20.0)
    database.put_records([mine, other], 0.0)
    database.put_records([mine._replace(value=b"3")], 20.0)
    assert set(database.records()) == {mine._replace(value=b"3"), other}
    database.put_records([], 21.0)
    assert database.records() == [mine._replace(value=b"3")]
    with pytest.raises(StorageFault):
        database.put_records([mine._replace(value=None)], 0.0)  # type: ignore[list-item]
    assert database.records() == [mine._replace(value=b"3")]


@pytest.mark.parametrize("version", range(1, len(MIGRATIONS)))
def test_an_older_format_is_brought_up_to_date_and_keeps_what_it_holds(tmp_path: Path, version: int) -> None:
    with sqlite3.connect(tmp_path / FILE) as connection:
        connection.executescript("".join(MIGRATIONS[:version]))
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version={version}")
        connection.execute("INSERT INTO offers VALUES (?, 1, 0, 1000, ?)", (b"a", b"signed"))
    connection.close()
    assert held(tmp_path) == {b"signed": 1}
    database = OfferDatabase(tmp_path)
    database.put_records([RecordRow(b"key", False, b"value", b"", 1.0, 2.0)], 0.0)
    assert len(database.records()) == 1
    with sqlite3.connect(tmp_path / FILE) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
    connection.close()


def test_a_newer_format_is_named_and_left_alone(tmp_path: Path) -> None:
    OfferDatabase(tmp_path).close()
    with sqlite3.connect(tmp_path / FILE) as connection:
        connection.execute("PRAGMA user_version=99")
    connection.close()
    before = (tmp_path / FILE).read_bytes()
    with pytest.raises(NodeFault, match=r"offers\.db was written by a newer fastmarket \(format 99"):
        OfferDatabase(tmp_path)
    assert (tmp_path / FILE).read_bytes() == before


@pytest.mark.parametrize("at", [0, 20, PAGE_BYTES])
def test_a_damaged_file_is_named_and_left_alone(tmp_path: Path, at: int) -> None:
    database = OfferDatabase(tmp_path)
    database.put([row(b"%d" % number, bytes(600)) for number in range(100)])
    database.close()
    path = tmp_path / FILE
    damaged = bytearray(path.read_bytes())
    damaged[at : at + 64] = b"\xa5" * 64
    path.write_bytes(damaged)
    with pytest.raises(NodeFault, match=r"offers\.db") as caught:
        list(OfferDatabase(tmp_path).offers())
    assert not isinstance(caught.value, StorageFault)
    assert path.read_bytes() == bytes(damaged)


def test_somebody_elses_database_is_not_taken_over(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / FILE) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    with pytest.raises(NodeFault, match="is not a fastmarket offer database"):
        OfferDatabase(tmp_path)


@pytest.mark.parametrize("count", [1, 63, 64, 65, 128, 200])
def test_many_at_once(tmp_path: Path, count: int) -> None:
    rows = [row(b"%d" % n, b"%d" % n) for n in range(count)]
    with closing(OfferDatabase(tmp_path)) as database:
        database.put(rows[::2])
        database.put(rows)
        assert sorted(database.offers()) == sorted((one[4], 1) for one in rows)
        with pytest.raises(StorageFault):
            database.put([row(b"%d" % n, b"other") for n in range(count)] + [(b"x", None, 0, 1, b"x")])  # type: ignore[list-item]
        assert sorted(database.offers()) == sorted((one[4], 1) for one in rows)


ODD_VALUES: tuple[object, ...] = (-1, 2**62 + 1, 2**63 - 1, 1e300, float("inf"), "text", b"", b"blob")
CELLS = [
    *(("offers", column) for column in ("key", "own", "withdrawn", "not_after", "signed")),
    *(("batches", column) for column in ("number", "own", "not_after", "signed")),
    *(("dead", column) for column in ("batch", "slot")),
    *(("records", column) for column in ("key", "own", "value", "publisher", "received", "expires")),
    ("numbers", "value"),
]


def _whole(directory: Path) -> bytes:
    database = OfferDatabase(directory)
    together = BatchWrites(batches=[BatchRow(1, 1, 1000, b"batch")], dead=[(1, 3)], seq=77)
    database.put([row(b"a", b"1"), row(b"b", b"2")], together=together)
    database.put_records([RecordRow(b"k%d" % at, False, b"v", b"", 1.0, 9e9) for at in range(2)], 0.0)
    database.close()
    return (directory / FILE).read_bytes()


def _set(path: Path, table: str, column: str, value: object) -> bool:
    """Of one row, or of all where rows have no numbers; false: no file has it."""
    which = "" if table == "dead" else f" WHERE rowid = (SELECT min(rowid) FROM {table})"
    with closing(sqlite3.connect(path, isolation_level=None)) as raw:
        raw.execute("PRAGMA synchronous=OFF")
        try:
            raw.execute(f"UPDATE {table} SET {column} = ?{which}", (value,))
        except sqlite3.IntegrityError:
            return False
    return True


def test_a_cell_that_no_program_of_ours_wrote_costs_its_row_alone(tmp_path: Path) -> None:
    """As a damaged page may have it: SQLite's check of a file does not look at types."""
    whole = _whole(tmp_path)
    for (table, column), value in itertools.product(CELLS, ODD_VALUES):
        (tmp_path / FILE).write_bytes(whole)
        if not _set(tmp_path / FILE, table, column, value):
            continue
        with closing(OfferDatabase(tmp_path)) as database:
            signed = [one for one, _ in database.offers()]
            assert all(isinstance(one, bytes) for one in signed)
            assert b"2" in signed
            assert len(signed) == 2
            ((batch, dead),) = database.batches()
            assert isinstance(batch.signed, bytes)
            assert all(isinstance(slot, int) and 0 <= slot < 256 for slot in dead)
            records = database.records()
            assert RecordRow(b"k1", False, b"v", b"", 1.0, 9e9) in records
            assert all(abs(one.expires) < 1e13 and abs(one.received) < 1e13 for one in records)
            for number in (database.next_number, database.seq_floor):
                try:
                    assert isinstance(number(), int)
                except NodeFault:
                    assert table in ("batches", "dead", "numbers")


@pytest.mark.parametrize("version", [-3, -1, 0])
def test_a_file_of_no_version_is_left_alone(tmp_path: Path, version: int) -> None:
    OfferDatabase(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as raw:
        raw.execute(f"PRAGMA user_version={version}")
    with pytest.raises(NodeFault, match="is not a fastmarket offer database"):
        OfferDatabase(tmp_path)
