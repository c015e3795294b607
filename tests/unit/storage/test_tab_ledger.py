"""What is told of tabs: the statements of both sides add up to their tabs, whatever happened and whenever."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastmarket.config.payments import PaymentConfig
from fastmarket.errors import CallerFault, NoSuchTab
from fastmarket.payments.ledger import (
    EARLIER,
    Debt,
    StatementRow,
    TabSide,
    month_of,
    month_text,
    months_before,
    parse_month,
    tab_entry,
)
from fastmarket.payments.rows import BuyerRow, SellerRow
from fastmarket.payments.tab import MAX_SUM
from fastmarket.storage.tab_ledger import TabLedger
from fastmarket.storage.tab_sums import TabSumsReader
from fastmarket.storage.tab_text import text_of
from fastmarket.storage.tab_writing import KEPT_MONTHS
from fastmarket.storage.tabs import FILE, FORMAT, MIGRATIONS, BuyerTable, SellerTable, TabDatabase, TabJournal
from tests.unit.storage.test_tabs import BUYER, SELLER
from tests.virtual.payments import (
    BLOCK_BYTES,
    START,
    BuyerDisk,
    SellerDisk,
    VirtualBuyer,
    VirtualSeller,
)

DAY_S = 86_400.0
ALL_MONTHS = (EARLIER, 999_912)
FIRST = (-1, b"", "")


class SellerFile(SellerDisk):
    """Rows of a seller in a database."""

    def __init__(self, database: TabDatabase) -> None:
        super().__init__()
        self.database, self.now = database, START

    def find(self, buyer: bytes, currency: str) -> SellerRow | None:
        return BuyerTable(self.database).find(buyer, currency)

    def put(self, row: SellerRow) -> bool:
        self.database.write([row], self.now)
        return True


class BuyerFile(BuyerDisk):
    """Rows of a buyer in a database."""

    def __init__(self, database: TabDatabase) -> None:
        super().__init__()
        self.database, self.now = database, START

    def find(self, seller: bytes, currency: str) -> BuyerRow | None:
        return SellerTable(self.database).find(seller, currency)

    def put(self, row: BuyerRow) -> None:
        self.database.write([row], self.now)


def statement(database: TabDatabase, side: TabSide) -> list[StatementRow]:
    reader = TabSumsReader(database.path)
    try:
        return reader.statement(side, ALL_MONTHS, FIRST, 10_000)
    finally:
        reader.close()


def summed(rows: list[StatementRow]) -> Debt:
    return Debt(sum(row.bytes for row in rows), sum(row.amount for row in rows))


@contextmanager
def made() -> Iterator[TabDatabase]:
    with tempfile.TemporaryDirectory() as directory:
        database = TabDatabase(Path(directory))
        database._writer.execute("PRAGMA synchronous=OFF")  # nobody pulls the plug here
        yield database
        database.close()


STEPS = st.lists(
    st.tuples(
        st.integers(0, 1),  # which buyer
        st.integers(1, 40),  # blocks
        st.integers(-45, 400),  # days since the step before
        st.sampled_from(["", "", "buyer crashes", "seller crashes", "buyer loses its directory"]),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=25, deadline=None)
@given(STEPS)
def test_statements_add_up_to_the_tabs_of_both_sides(steps: list[tuple[int, int, int, str]]) -> None:
    with made() as sold, made() as first, made() as second:
        seller = VirtualSeller()
        seller.disk = SellerFile(sold)
        seller.crash()
        buyers = [VirtualBuyer(1000 + number) for number in range(2)]
        for buyer, database in zip(buyers, (first, second), strict=True):
            buyer.disk = BuyerFile(database)
            buyer.crash()
        now = START
        for who, blocks, days, happens in steps:
            now += days * DAY_S
            buyer = buyers[who]
            if happens == "buyer loses its directory":
                buyer.disk = BuyerDisk()  # what it signed before is told by the seller alone
            if happens.startswith("buyer"):
                buyer.crash()
            elif happens:
                seller.crash()
            for disk in (seller.disk, buyer.disk):
                if isinstance(disk, SellerFile | BuyerFile):
                    disk.now = now
            buyer.fetch(seller, blocks, now)
            seller.flush()
            buyer.flush()
        rows = statement(sold, TabSide.SOLD)
        for buyer in buyers:
            of_buyer = [row for row in rows if row.peer == buyer.peer_id.raw]
            row = sold.find_buyer(buyer.peer_id.raw, "unit")
            assert summed(of_buyer) == (Debt() if row is None else tab_entry(row).signed)
            if isinstance(buyer.disk, BuyerFile):
                bought = statement(buyer.disk.database, TabSide.BOUGHT)
                assert summed(bought) == summed(of_buyer)
                assert [(one.month, one.receipts) for one in bought] == [
                    (one.month, one.receipts) for one in of_buyer
                ]


def paid(count: int, **changed: object) -> SellerRow:
    return replace(BUYER, paid_bytes=count, paid_amount=count, **changed)  # type: ignore[arg-type]


def test_a_month_counts_what_was_added_in_it(tmp_path: Path) -> None:
    database = TabDatabase(tmp_path)
    november, december = 1_795_000_000.0, 1_796_500_000.0
    database.write([paid(10), SELLER], november)
    database.write([paid(10, credit=9)], november)  # no receipt
    database.write([paid(30)], november)
    database.write([paid(35)], december)
    database.write([paid(36)], november)  # the clock went back
    rows = statement(database, TabSide.SOLD)
    assert [(row.month, row.receipts, row.bytes, row.amount) for row in rows] == [
        (202_611, 3, 31, 31),
        (202_612, 1, 5, 5),
    ]
    assert [(row.month, row.receipts, row.bytes) for row in statement(database, TabSide.BOUGHT)] == [
        (202_611, 1, SELLER.paid_bytes)
    ]
    database.close()


def test_sums_that_outgrow_their_field_are_told_as_the_most(tmp_path: Path) -> None:
    database = TabDatabase(tmp_path)
    for peer in (b"ann", b"eve"):
        row = replace(BUYER, buyer=peer, paid_amount=MAX_SUM, total_amount=MAX_SUM)
        database.write([replace(row, total_amount=0, paid_amount=MAX_SUM - 1)], START)
        database.write([row], START)
        database.write([row], START + 1)
    reader = TabSumsReader(database.path)
    assert [row.amount for row in statement(database, TabSide.SOLD)] == [MAX_SUM, MAX_SUM]
    assert reader.months(TabSide.SOLD, EARLIER)[0].amount == MAX_SUM
    assert reader.sums()[0].signed.amount == MAX_SUM
    reader.close()
    database.close()


def test_old_months_become_one(tmp_path: Path) -> None:
    database = TabDatabase(tmp_path)
    for number in range(KEPT_MONTHS + 20):
        database.write([paid(number + 1)], START + number * 31 * DAY_S)
    rows = statement(database, TabSide.SOLD)
    assert len(rows) == KEPT_MONTHS + 1
    assert (rows[0].month, rows[0].receipts, rows[0].bytes) == (EARLIER, 20, 20)
    assert sum(row.bytes for row in rows) == KEPT_MONTHS + 20
    database.write([paid(100)], 9e11)  # a clock that is wrong by centuries costs one month
    database.write([paid(101)], START + 60 * 31 * DAY_S)
    assert len(statement(database, TabSide.SOLD)) == KEPT_MONTHS + 1
    database.close()


def test_a_file_of_the_first_format_is_filled_in(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / FILE, isolation_level=None) as connection:
        replace(FORMAT, migrations=MIGRATIONS[:1]).migrate(connection)
        connection.execute("INSERT INTO buyers VALUES (?, ?, ?)", (b"ann", "unit", text_of(BUYER)))
        connection.execute("INSERT INTO sellers VALUES (?, ?, 0, 0, ?)", (b"bob", "unit", text_of(SELLER)))
    connection.close()
    for _ in range(2):
        database = TabDatabase(tmp_path)
        reader = TabSumsReader(database.path)
        sold, bought = reader.sums()
        assert (sold.signed, sold.unpaid, sold.lost) == (Debt(2, MAX_SUM), Debt(5, 1), Debt(7, 1))
        assert (sold.defaults, sold.blocked) == (1, 1)
        assert (bought.signed, bought.unpaid) == (Debt(2, 3), Debt(5, 1))
        assert [row.month for row in statement(database, TabSide.SOLD)] == [EARLIER]
        reader.close()
        database.close()


def test_tabs_come_in_pages(tmp_path: Path) -> None:
    database = TabDatabase(tmp_path)
    rows = [replace(BUYER, buyer=b"%03d" % number, currency=one) for number in range(50) for one in "ab"]
    rows = [replace(row, owed=() if row.buyer < b"040" else row.owed) for row in rows]
    database.write([*rows, SELLER], START)
    reader = TabSumsReader(database.path)
    found, after = [], (b"", "")
    while page := reader.tabs(TabSide.SOLD, after, 7, owing=False):
        found += page
        after = page[-1].peer, page[-1].currency
    assert [(one.peer, one.currency) for one in found] == [(row.buyer, row.currency) for row in rows]
    owing = reader.tabs(TabSide.SOLD, (b"", ""), 100, owing=True)
    assert [one.peer for one in owing] == [row.buyer for row in rows if row.owed]
    months = reader.statement(TabSide.SOLD, ALL_MONTHS, FIRST, 30)
    last = months[-1]
    months += reader.statement(TabSide.SOLD, ALL_MONTHS, (last.month, last.peer, last.currency), 100)
    assert [(one.peer, one.currency) for one in months] == [(row.buyer, row.currency) for row in rows]
    reader.close()
    database.close()


def test_the_ledger_of_a_running_node(tmp_path: Path) -> None:
    async def main() -> None:
        database = TabDatabase(tmp_path)
        journal = TabJournal(database, lambda: START)
        seller, buyer = VirtualSeller(), VirtualBuyer(config=PaymentConfig(budget_per_day=1000))
        seller.disk = SellerFile(database)
        seller.crash()
        ledger = TabLedger(database, journal, seller.tabs, buyer.tabs, lambda: START)
        assert (await ledger.sums()).tabs == []
        offer = buyer.tabs.offer(b"content", seller.peer_id, 3)
        buyer.fetch(seller, 10, START)
        account = seller.tabs.find(buyer.peer_id)
        assert account is not None
        seller.tabs.admit(account, offer, BLOCK_BYTES, START)  # and it leaves
        told, bought = (await ledger.sums()).tabs  # what is in memory, too
        assert (told.tabs, told.signed.bytes, told.unpaid) == (1, 10 * BLOCK_BYTES, Debt(BLOCK_BYTES, 1))
        assert (bought.tabs, bought.signed, bought.unpaid) == (1, told.signed, Debt())
        (entry,) = await ledger.tabs(TabSide.SOLD, (b"", ""), 10, owing=True)
        assert entry.peer == buyer.peer_id.raw
        assert await ledger.forgive(buyer.peer_id) == Debt(BLOCK_BYTES, 1)
        assert await ledger.tabs(TabSide.SOLD, (b"", ""), 10, owing=True) == []
        stranger = VirtualBuyer(1001)
        with pytest.raises(NoSuchTab):
            await ledger.forgive(stranger.peer_id)
        for one in (buyer, stranger):
            await ledger.block(one.peer_id, blocked=True)
            assert one.fetch(seller, 1, START).why == "peer"
        seller.crash()  # it is on disk
        assert stranger.fetch(seller, 1, START).why == "peer"
        sums = await ledger.sums()
        assert (sums.tabs[0].blocked, sums.month, sums.budget_per_day) == (2, 202_701, 1000)
        assert sums.spent_today == sums.months[1].amount == sums.months[0].amount
        ledger = TabLedger(database, journal, seller.tabs, buyer.tabs, lambda: START)
        await ledger.block(stranger.peer_id, blocked=False)
        assert stranger.fetch(seller, 1, START).why == ""
        await ledger.close()
        await journal.close()
        database.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("now", "month"), [(0, 197_001), (START, 202_701), (-1e30, 190_001), (1e30, 999_912)]
)
def test_months_of_any_clock(now: float, month: int) -> None:
    assert month_of(now) == month


@given(st.integers(1900, 9999), st.integers(1, 12), st.integers(0, 500))
def test_months_read_back(year: int, month: int, count: int) -> None:
    number = year * 100 + month
    assert parse_month(month_text(number)) == number
    before = months_before(number, count)
    assert (year - before // 100) * 12 + month - before % 100 == count
    assert parse_month("earlier") == EARLIER


@given(st.text(max_size=12))
def test_other_texts_are_no_month(text: str) -> None:
    try:
        month = parse_month(text)
    except CallerFault:
        return
    assert month_text(month) == text
