"""A cashier over a small shop, whose disk a test holds in its hand, and a customer of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from fastmarket.config import PaymentConfig
from fastmarket.content.port.cashier import Cashier
from fastmarket.errors import StorageFault
from fastmarket.formats.cid import Cid
from fastmarket.formats.identity import PeerId
from fastmarket.payments.account import Account
from fastmarket.payments.buyer import BuyerTabs
from fastmarket.payments.reasons import Reason
from fastmarket.payments.rows import SellerRow
from fastmarket.payments.seller import SellerTabs
from fastmarket.payments.till import Till
from fastmarket.payments.x402 import Payment, decode_terms, encode_payment
from tests.virtual.payments import CONTENT, START, BuyerDisk, SellerDisk, identity

PRICE = 3


class HeldDisk(SellerDisk):
    """Writes what it is given when it is told to; without `is_held`, at once."""

    def __init__(self) -> None:
        super().__init__()
        self.is_held = False
        self.waiting: list[tuple[Sequence[SellerRow], asyncio.Future[None]]] = []
        self.given: set[asyncio.Future[None]] = set()

    def put_all(self, rows: Sequence[SellerRow]) -> asyncio.Future[None]:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting.append((rows, done))
        self.given.add(done)
        if not self.is_held:
            self.let_go()
        return done

    def let_go(self) -> None:
        waiting, self.waiting = self.waiting, []
        for rows, done in waiting:
            written = [self.put(row) for row in rows]
            if all(written):
                done.set_result(None)
            else:
                done.set_exception(StorageFault("the disk is full"))

    async def told(self) -> None:
        """Who put something knows what became of it."""
        given, self.given = self.given, set()
        if given:
            await asyncio.wait(given)


class _Writer:
    def __init__(self, disk: HeldDisk) -> None:
        self.put = disk.put_all


class SmallTill:
    """Sells leaves as parts of `CONTENT`; what else the shop has is free unless it is `priced`."""

    def __init__(self, config: PaymentConfig | None = None, seller: PeerId | None = None) -> None:
        self.config = config or PaymentConfig()
        self.disk = HeldDisk()
        self.priced: set[bytes] = set()
        self.price = PRICE
        self.now = START
        self.tabs = SellerTabs(seller or identity(1).peer_id, self.config, self.disk, bytes(range(32)))
        self.till = Till(self.tabs)
        self.writer = _Writer(self.disk)
        self.cashier = Cashier(self.till, self, self.writer, lambda: self.now)

    def sell(self, leaves: Sequence[Cid]) -> None:
        self.priced.update(cid.multihash for cid in leaves)

    def find(self, block: bytes, content: bytes | None) -> tuple[bytes, int] | None:
        """See `content.prices.GoodPrices`."""
        return (CONTENT, self.price) if block in self.priced or block == CONTENT else None

    def account(self, customer: Customer) -> Account:
        account = self.tabs.find(customer.tabs.purse(self.tabs.seller, bytes(16)).tab.buyer)
        assert account is not None
        return account


class Customer:
    """Makes headers; what it is told is up to the test."""

    def __init__(self, till: SmallTill, number: int = 1000) -> None:
        self.till = till
        self.disk = BuyerDisk()
        self.tabs = BuyerTabs(identity(number), till.config, self.disk)
        self.purse = self.tabs.purse(till.tabs.seller, bytes(16))
        self.offer = self.tabs.offer(CONTENT, till.tabs.seller, till.price)
        self.open()

    def open(self, seller_key: bytes = b"") -> None:
        key = seller_key or self.till.tabs.session_key
        self.tabs.open_session(self.purse, key, bytes(range(1, 33)), self.till.now)

    def header(self, block: bytes, receipt: bytes = b"") -> str:
        ticket = self.tabs.ticket(self.purse, self.offer, CONTENT, block).encode()
        return encode_payment(Payment(ticket, receipt, self.purse.opening))

    def receipt(self, count: int) -> bytes:
        """For so many bytes more, which it says it has verified."""
        self.tabs.on_asked(self.purse, self.offer, count)
        self.tabs.on_verified(self.purse, self.offer, count, count)
        signed = self.tabs.next_receipt(self.purse, self.till.now, final=True)
        assert signed is not None
        self.tabs.confirm_written(self.purse)
        raw = self.tabs.sendable(self.purse)
        assert raw is not None
        return raw

    @staticmethod
    def reason(headers: dict[str, str]) -> Reason:
        lower = {name.lower(): value for name, value in headers.items()}
        return decode_terms(lower["payment-required"]).reason
