"""Receipts of many buyers at one seller: verified, synced to a real disk, counted.

`python -m bench.receipts [--buyers 1000] [--each 20] [--rate 5000] [--folder DIR]`: first all buyers at once,
each with its next receipt as soon as the one before counts: the most that a seller takes. Then `--rate` a
second, evenly, of which the time is told from when each is due until it counts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import uvloop

from fastmarket.config import PaymentConfig
from fastmarket.formats.cid import sha256_multihash
from fastmarket.formats.identity import Identity
from fastmarket.payments.receipt import Receipt
from fastmarket.payments.seller import CheckedReceipt, SellerTabs
from fastmarket.payments.session import TabOpening
from fastmarket.payments.tab import PricedOffer, Tab
from fastmarket.storage.tabs import BuyerTable, TabDatabase, TabJournal

CONTENT = sha256_multihash(b"a content")
PRICE = 3
RECEIPT_BYTES = 1_000_000


def identity(number: int) -> Identity:
    return Identity.from_seed(number.to_bytes(32, "big"))


class Seller:
    """Its tabs on a real disk."""

    def __init__(self, folder: Path) -> None:
        self.config = PaymentConfig()
        self.database = TabDatabase(folder)
        self.journal = TabJournal(self.database, time.time)
        self.tabs = SellerTabs(identity(1).peer_id, self.config, BuyerTable(self.database), os.urandom(32))
        self.late_s: list[float] = []

    def introduce(self, buyer: Identity) -> Tab:
        """Opens a session, after which its receipts count."""
        tab = Tab(buyer.peer_id, self.tabs.seller, self.config.currency, bytes(16))
        opening = TabOpening(tab, self.tabs.session_key, self.tabs.session_key, 1)
        refused = self.tabs.open_session(opening.sign(buyer), "192.0.2.1", time.time())
        assert refused is None, refused
        return tab

    async def take(self, raw: bytes, arrived: float) -> None:
        checked = self.tabs.check_receipt(raw, time.time())
        assert isinstance(checked, CheckedReceipt), checked
        assert checked.row is not None
        await self.journal.put([checked.row])
        self.tabs.confirm_receipt(checked.account, time.time())
        self.late_s.append(time.perf_counter() - arrived)


def receipts(tab: Tab, buyer: Identity, first: int, count: int) -> list[bytes]:
    offer = PricedOffer.of(CONTENT, tab.seller, tab.currency, PRICE)
    until = int(time.time()) + 86_400
    made = []
    for seq in range(first, first + count):
        sums = seq * RECEIPT_BYTES, seq * offer.cost(RECEIPT_BYTES)
        made.append(Receipt(tab, seq, *sums, offer.hash, until).sign(buyer))
    return made


def told(seller: Seller, took_s: float, cpu_s: float) -> dict[str, float]:
    late = sorted(seller.late_s)
    seller.late_s = []
    return {
        "receipts": len(late),
        "per_s": round(len(late) / took_s),
        "p50_ms": round(late[len(late) // 2] * 1e3, 2),
        "p99_ms": round(late[len(late) * 99 // 100] * 1e3, 2),
        "cpu_us_each": round(cpu_s / len(late) * 1e6, 1),
    }


async def at_once(seller: Seller, rows: Sequence[Sequence[bytes]]) -> None:
    async def buy(some: Sequence[bytes]) -> None:
        for raw in some:
            await seller.take(raw, time.perf_counter())

    await asyncio.gather(*map(buy, rows))


async def evenly(seller: Seller, rows: Sequence[Sequence[bytes]], rate: float) -> None:
    """In order of time: the first receipt of each buyer, the second of each, ...; no buyer sends one before
    the last one counts."""
    began = time.perf_counter()

    async def buy(first: int, some: Sequence[bytes]) -> None:
        for turn, raw in enumerate(some):
            due = began + (first + turn * len(rows)) / rate
            await asyncio.sleep(due - time.perf_counter())
            await seller.take(raw, due)

    await asyncio.gather(*(buy(number, some) for number, some in enumerate(rows)))


async def main(arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        seller = Seller(Path(folder))
        buyers = [identity(1000 + number) for number in range(arguments.buyers)]
        tabs = [seller.introduce(buyer) for buyer in buyers]
        both = []
        for turn in range(2):
            first = 1 + turn * arguments.each
            made = [receipts(tab, b, first, arguments.each) for tab, b in zip(tabs, buyers, strict=True)]
            began, cpu = time.perf_counter(), time.process_time()
            if turn:
                await evenly(seller, made, arguments.rate)
            else:
                await at_once(seller, made)
            both.append(told(seller, time.perf_counter() - began, time.process_time() - cpu))
        await seller.journal.close()
        load = os.getloadavg()[0]
        print(
            json.dumps(
                {
                    "at_once": both[0],
                    "evenly": both[1],
                    "commits": seller.journal.commits,
                    "load": round(load, 2),
                }
            )
        )
        seller.database.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--buyers", type=int, default=1000)
    parser.add_argument("--each", type=int, default=20)
    parser.add_argument("--rate", type=float, default=5000.0)
    parser.add_argument("--folder")
    uvloop.run(main(parser.parse_args()))
