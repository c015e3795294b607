"""What a node pays from: its tabs, and the disk that each receipt is on before it is sent."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from typing import Protocol

from fastmarket.errors import StorageFault
from fastmarket.formats.identity import PeerId
from fastmarket.net.clock import Clock
from fastmarket.payments.buyer import BuyerTabs, SignedReceipt
from fastmarket.payments.purse import Purse
from fastmarket.payments.rows import BuyerRow
from fastmarket.payments.tab import SALT_BYTES

log = logging.getLogger(__name__)


class BuyerRowWriter(Protocol):
    """The disk."""

    def put(self, rows: Sequence[BuyerRow]) -> asyncio.Future[None]:
        """Completes when the rows are on disk; raises StorageFault."""


class Wallet:
    """What a node pays from."""

    def __init__(self, tabs: BuyerTabs, writer: BuyerRowWriter, clock: Clock) -> None:
        self.tabs = tabs
        self._writer = writer
        self._waiting: dict[int, list[Callable[[], None]]] = {}  # by the tab that is being written
        self._unwritten: dict[int, Purse] = {}  # whose receipt could not be written
        self.clock = clock

    def purse(self, seller: PeerId) -> Purse:
        """The tab with a seller. Raises NodeFault."""
        return self.tabs.purse(seller, os.urandom(SALT_BYTES))

    def write(self, signed: SignedReceipt, then: Callable[[], None] | None = None) -> None:
        """Writes a receipt; `then` is called when it may be sent."""
        self._waiting[id(signed.purse)] = [] if then is None else [then]
        done = self._writer.put([signed.row])
        done.add_done_callback(lambda done: self._on_written(done, signed.purse))

    def wait(self, purse: Purse, then: Callable[[], None] | None = None) -> bool:
        """Whether a receipt of that tab is being written; `then` is called when it may be sent."""
        waiting = self._waiting.get(id(purse))
        if waiting is not None and then is not None and then not in waiting:
            waiting.append(then)
        return waiting is not None

    def _on_written(self, done: asyncio.Future[None], purse: Purse) -> None:
        fault = StorageFault("not written") if done.cancelled() else done.exception()
        if fault is None:
            self.tabs.confirm_written(purse)
        else:
            self._unwritten[id(purse)] = purse
            log.warning("cannot write a receipt, and pay %s: %s", purse.tab.seller, fault)
        for then in self._waiting.pop(id(purse)):
            then()

    def look(self) -> None:
        """Writes what has changed, and what could not be written before."""
        unwritten, self._unwritten = self._unwritten, {}
        for purse in unwritten.values():
            self.write(SignedReceipt(purse, purse.row()))
        rows = self.tabs.poll_changes()
        if rows:
            self._writer.put(rows).add_done_callback(lambda done: self._on_looked(done, rows))

    def _on_looked(self, done: asyncio.Future[None], rows: Sequence[BuyerRow]) -> None:
        if done.cancelled() or done.exception() is not None:
            self.tabs.on_write_failed(rows)
        else:
            self.tabs.on_written(rows)

    async def close(self) -> None:
        """Writes everything as closed."""
        rows = self.tabs.poll_changes(closing=True)
        if rows:
            await self._writer.put(rows)
