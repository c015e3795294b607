"""The part of a node that pays and is paid: its tabs on disk, a till to sell by, a wallet to buy from."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fastmarket.config import PaymentConfig
from fastmarket.formats.identity import Identity, PeerId
from fastmarket.net.clock import Clock
from fastmarket.net.dht_node import DhtNode
from fastmarket.net.fetching.debts import MAX_KEPT_DEBTS
from fastmarket.net.fetching.wallet import Wallet
from fastmarket.payments.backing import Backings, sign_terms
from fastmarket.payments.buyer import BuyerTabs
from fastmarket.payments.seller import SellerTabs
from fastmarket.payments.till import Till
from fastmarket.repeating import Repeating
from fastmarket.secret_files import OWNER_ALONE
from fastmarket.settlement.interface import SettlementContext, SettlementPlugin
from fastmarket.settlement.loading import open_by_name, split_choice
from fastmarket.settlement.settler import Settler
from fastmarket.storage.tab_ledger import TabLedger
from fastmarket.storage.tab_scan import newest_receipts
from fastmarket.storage.tabs import BuyerTable, SellerTable, TabDatabase, TabJournal

if TYPE_CHECKING:
    from fastmarket.fleet.credit import FleetCredit
    from fastmarket.fleet.dht import FleetDht

LOOK_S = 1.0  # between writes of what has changed, and of which nobody waits to be on disk


@dataclass(frozen=True, slots=True)
class Payments:
    """What a node sells by and buys from, and what settles it."""

    till: Till
    wallet: Wallet
    journal: TabJournal
    ledger: TabLedger
    settler: Settler
    unpaid: tuple[bytes, ...]
    """Sellers that were owed something at the start."""


@asynccontextmanager
async def payments(
    dht: DhtNode,
    identity: Identity,
    config: PaymentConfig,
    data_dir: Path | None,
    secrets_mode: str = OWNER_ALONE,
    fleet: FleetDht | None = None,
) -> AsyncIterator[Payments]:
    """Opens the tabs, from enter to exit; without a data directory they last as long. Raises NodeFault, and
    CallerFault("settlement")."""
    name, file = split_choice(config.settlement)
    context = SettlementContext(identity.peer_id, config.currency, file, secrets_mode)
    settlement = await asyncio.to_thread(open_by_name, name, context)
    with ExitStack() as stack:
        if data_dir is None:
            data_dir = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fastmarket-")))
        database = await asyncio.to_thread(TabDatabase, data_dir)
        stack.callback(database.close)
        unpaid = await asyncio.to_thread(database.unpaid_sellers, MAX_KEPT_DEBTS)
        clock = dht.host.clock
        journal = TabJournal(database, clock.now)
        vouchers = settlement.vouchers
        terms = b"" if vouchers is None else sign_terms(identity, vouchers.terms)
        backings = Backings(config.settling, vouchers, terms)
        credit = None if fleet is None else _credit(fleet, identity.peer_id, config)
        shares = None if credit is None else credit.shares
        tabs = SellerTabs(identity.peer_id, config, BuyerTable(database), os.urandom(32), backings, shares)
        settler = _settler(settlement, backings, database.path, config, clock)
        bought = BuyerTabs(identity, config, SellerTable(database), vouchers)
        wallet = Wallet(bought, journal, clock)
        ledger = TabLedger(database, journal, tabs, bought, clock.now)
        looking = Repeating("writing what is owed", lambda: LOOK_S, wallet.look, dht.host.faults)
        looking.start()
        settling = Repeating("settling", lambda: LOOK_S, settler.look, dht.host.faults)
        if settler.is_needed:
            settling.start()
            dht.troubles.append(lambda: settler.report().status.trouble)
        try:
            yield Payments(Till(tabs), wallet, journal, ledger, settler, tuple(unpaid))
        finally:
            if credit is not None:
                await credit.close()
            await ledger.close()
            await settling.stop()
            await looking.stop()
            try:
                await wallet.close()
            finally:
                await journal.close()


def _settler(
    settlement: SettlementPlugin, backings: Backings, path: Path, config: PaymentConfig, clock: Clock
) -> Settler:
    return Settler(
        settlement, backings, lambda since: newest_receipts(path, since), config.settling, clock.now
    )


def _credit(fleet: FleetDht, server: PeerId, config: PaymentConfig) -> FleetCredit:
    from fastmarket.fleet.credit import FleetCredit
    from fastmarket.storage.shared_credit import SharedCredit

    return FleetCredit(SharedCredit(fleet.store, server.raw, config.currency), config.credit)
