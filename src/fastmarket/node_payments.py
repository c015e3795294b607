"""The part of a node that pays and is paid: its tabs on disk, a till to sell by, a wallet to buy from."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from fastmarket.config import PaymentConfig
from fastmarket.formats.identity import Identity
from fastmarket.net.dht_node import DhtNode
from fastmarket.net.fetching.wallet import Wallet
from fastmarket.payments.buyer import BuyerTabs
from fastmarket.payments.seller import SellerTabs
from fastmarket.payments.till import Till
from fastmarket.repeating import Repeating
from fastmarket.storage.tabs import BuyerTable, SellerTable, TabDatabase, TabJournal

LOOK_S = 1.0  # between writes of what has changed, and of which nobody waits to be on disk


@dataclass(frozen=True, slots=True)
class Payments:
    """What a node sells by and buys from."""

    till: Till
    wallet: Wallet
    journal: TabJournal


@asynccontextmanager
async def payments(
    dht: DhtNode, identity: Identity, config: PaymentConfig, data_dir: Path | None
) -> AsyncIterator[Payments]:
    """Opens the tabs, from enter to exit; without a data directory they last as long. Raises NodeFault."""
    with ExitStack() as stack:
        if data_dir is None:
            data_dir = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fastmarket-")))
        database = await asyncio.to_thread(TabDatabase, data_dir)
        stack.callback(database.close)
        journal = TabJournal(database)
        tabs = SellerTabs(identity.peer_id, config, BuyerTable(database), os.urandom(32))
        clock = dht.host.clock
        wallet = Wallet(BuyerTabs(identity, config, SellerTable(database)), journal, clock)
        looking = Repeating("writing what is owed", lambda: LOOK_S, wallet.look, dht.host.faults)
        looking.start()
        try:
            yield Payments(Till(tabs), wallet, journal)
        finally:
            await looking.stop()
            try:
                await wallet.close()
            finally:
                await journal.close()
