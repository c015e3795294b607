"""Tabs on disk: what a write returned for is there after SIGKILL, and a full disk loses nothing."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmarket.errors import NodeFault, StorageFault
from fastmarket.payments.rows import BuyerRow, DueRow, OwedRow, SellerRow
from fastmarket.storage import tabs
from fastmarket.storage.tab_text import DamagedTab, row_of, text_of
from fastmarket.storage.tabs import FILE, BuyerTable, SellerTable, TabDatabase, TabJournal

BUYER = SellerRow(
    buyer=b"ann",
    currency="unit",
    salt=bytes(16),
    opened=5,
    seq=1,
    paid_bytes=2,
    paid_amount=(1 << 63) - 1,
    receipt=b"receipt",
    credit=4,
    grown_from=3,
    owed=(OwedRow(bytes(32), 3, 5, 7),),
    settled_bytes=2,
    total_bytes=0,
    total_amount=0,
    earlier=(b"earlier", b""),
    defaults=1,
    active_at=1.5,
    is_blocked=True,
    proof=(b"one", b"other"),
)
SELLER = BuyerRow(
    seller=b"bob",
    currency="unit",
    salt=bytes(16),
    opened=5,
    seq=1,
    paid_bytes=2,
    paid_amount=3,
    receipt=b"receipt",
    is_accepted=False,
    unverified=1,
    due=(DueRow(bytes(32), 3, 5),),
    is_open=True,
    credit=4,
    day=20_000,
    day_amount=3,
)
NOW = 1_800_000_000.0  # 2027-01-15
Run = Callable[..., object]


@pytest.mark.parametrize("row", [BUYER, SELLER])
def test_rows_read_back(row: SellerRow | BuyerRow) -> None:
    assert row_of(type(row), text_of(row)) == row


@given(st.text(max_size=200) | st.binary(max_size=300).map(lambda raw: raw.decode("latin-1")))
def test_what_is_no_row_is_damaged(text: str) -> None:
    with pytest.raises(DamagedTab):
        row_of(SellerRow, text)


@given(st.sampled_from([BUYER, SELLER]), st.integers(0, 2000), st.sampled_from('x{"1]'))
def test_a_changed_row_is_a_row_or_damaged(row: SellerRow | BuyerRow, at: int, by: str) -> None:
    text = text_of(row)
    at %= len(text)
    try:
        found = row_of(type(row), text[:at] + by + text[at + 1 :])
    except DamagedTab:
        return
    assert text_of(found)


def test_rows_are_there_after_a_restart(tmp_path: Path) -> None:
    database = TabDatabase(tmp_path)
    database.write(
        [BUYER, SELLER, replace(BUYER, currency="shells"), replace(SELLER, seller=b"cyd", day=2)], NOW
    )
    database.write([replace(BUYER, seq=2)], NOW)
    database.close()
    database = TabDatabase(tmp_path)
    buyers, sellers = BuyerTable(database), SellerTable(database)
    assert buyers.find(b"ann", "unit") == replace(BUYER, seq=2)
    assert buyers.find(b"bob", "unit") is None
    assert sellers.find(b"bob", "unit") == SELLER
    assert (sellers.spent(20_000), sellers.spent(2), sellers.spent(3)) == (3, 3, 0)
    assert [one.currency for one in database.buyers()] == ["shells", "unit"]
    assert [one.seller for one in database.sellers()] == [b"bob", b"cyd"]
    assert (tmp_path / FILE).stat().st_mode & 0o077 == 0
    database.close()


def test_what_comes_during_a_write_is_written_together(tmp_path: Path) -> None:
    async def main() -> None:
        database = TabDatabase(tmp_path)
        journal = TabJournal(database, lambda: NOW)
        rows = [replace(BUYER, buyer=number.to_bytes(2, "big")) for number in range(500)]
        await asyncio.gather(*(journal.put([row]) for row in rows))
        assert journal.commits == 2
        last = [journal.put([replace(BUYER, seq=number)]) for number in range(10)]
        await asyncio.gather(*last)
        found = database.find_buyer(b"ann", "unit")
        assert found is not None
        assert found.seq == 9  # in the order of calls
        waiting = journal.put([replace(BUYER, seq=11)])
        await journal.close()
        assert waiting.done()
        database.close()

    asyncio.run(main())


def test_a_full_disk_is_told_and_loses_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        database = TabDatabase(tmp_path)
        journal = TabJournal(database, lambda: NOW)
        await journal.put([BUYER])
        pages = database._writer.execute("PRAGMA page_count").fetchone()[0]
        database._writer.execute(f"PRAGMA max_page_count={pages}")
        many = [replace(BUYER, buyer=number.to_bytes(2, "big")) for number in range(100)]
        with pytest.raises(StorageFault, match="full"):
            await journal.put(many)
        assert database.find_buyer(b"ann", "unit") == BUYER
        assert database.find_buyer(bytes(2), "unit") is None  # all or nothing
        database._writer.execute("PRAGMA max_page_count=100000")
        await journal.put(many)
        assert len(list(database.buyers())) == 101
        await journal.close()
        database.close()

    asyncio.run(main())


def test_damage_is_named(tmp_path: Path) -> None:
    database = TabDatabase(tmp_path)
    database.write([BUYER], NOW)
    database._writer.execute("UPDATE buyers SET row = '{}'")
    with pytest.raises(NodeFault, match=r"payments\.db: a row that no fastmarket wrote"):
        database.find_buyer(b"ann", "unit")
    database.close()
    other = tmp_path / "other"
    other.mkdir()
    (other / FILE).write_bytes(bytes(5000))
    with pytest.raises(NodeFault, match=r"not a database|malformed"):
        TabDatabase(other)
    newer = tmp_path / "newer"
    newer.mkdir()
    TabDatabase(newer).close()
    with sqlite3.connect(newer / FILE) as connection:
        connection.execute("PRAGMA user_version=99")
    with pytest.raises(NodeFault, match="newer fastmarket"):
        TabDatabase(newer)


WRITING = """
import asyncio, sys
from dataclasses import replace
from pathlib import Path
from fastmarket.storage.tabs import TabDatabase, TabJournal
from tests.unit.storage.test_tabs import BUYER

async def main():
    journal = TabJournal(TabDatabase(Path(sys.argv[1])), lambda: 1.8e9)
    for seq in range(1, 1_000_000):
        await journal.put([replace(BUYER, seq=seq)])
        print(seq, flush=True)

asyncio.run(main())
"""


def test_a_row_that_was_acknowledged_is_there_after_sigkill(tmp_path: Path) -> None:
    random = Random(1)
    for _ in range(5):
        command = [sys.executable, "-c", WRITING, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            told = 0
            for _ in range(random.randint(1, 60)):
                told = int(child.stdout.readline())
            child.send_signal(signal.SIGKILL)
            rest = child.stdout.read().split("\n")
            told = max([told, *(int(line) for line in rest[:-1])])
        database = TabDatabase(tmp_path)
        found = database.find_buyer(b"ann", "unit")
        assert found is not None
        assert found.seq in (told, told + 1)
        database.close()


def test_a_file_of_some_size_takes_no_further_parties(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = TabDatabase(tmp_path)
    monkeypatch.setattr(tabs, "MAX_FILE_BYTES", 256 * 1024)
    table, number = BuyerTable(database), 0
    while table.takes_new():
        database.write([replace(BUYER, buyer=b"%d" % one) for one in range(number, number + 50)], NOW)
        number += 50
        assert number <= 5000
    assert number > 50
    database.close()


def test_the_event_loop_does_not_wait_for_another_program(tmp_path: Path) -> None:
    """It reads there; who waits for a lock of another program waits in the thread that writes."""
    database = TabDatabase(tmp_path)
    waits = [one.execute("PRAGMA busy_timeout").fetchone()[0] for one in (database._reader, database._writer)]
    assert waits == [tabs.READ_TIMEOUT_S * 1000, tabs.BUSY_TIMEOUT_S * 1000]
    with sqlite3.connect(tmp_path / FILE, isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert database.find_buyer(b"ann", "unit") is None  # a writer does not stop who reads
        assert database.takes_new()
    other.close()
    database.close()
