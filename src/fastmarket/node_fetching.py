"""The part of a node that fetches: holders by their offers or provider records, over HTTP and Bitswap."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fastmarket.config import NodeConfig
from fastmarket.content.free import FreeGoods
from fastmarket.content.place import FileBlock
from fastmarket.content.prices import GoodPrices
from fastmarket.exchange.fetching.history import HolderHistory
from fastmarket.formats.identity import PeerId
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.libp2p.scopes import ScopeKind
from fastmarket.net.bitswap.exchange import BitswapExchange, NoBlocks
from fastmarket.net.bitswap.holder import BitswapHolder
from fastmarket.net.bitswap.paid_holder import PaidBitswapHolder
from fastmarket.net.dht_node import DhtNode
from fastmarket.net.fetching.debts import DEBTS_LOOK_S, DebtPayer
from fastmarket.net.fetching.fetcher import Fetcher
from fastmarket.net.fetching.holders import BlockAnswers, BlockHolder
from fastmarket.net.fetching.http_dialer import HttpDialer
from fastmarket.net.fetching.payer import Payer
from fastmarket.net.fetching.probing import Prober
from fastmarket.net.fetching.sources import HolderReach, OfferFinder, OfferSource, ProviderHolders
from fastmarket.net.resolver import Resolver
from fastmarket.net.tab_calls import TabCall
from fastmarket.net.tab_streams import TabStreams
from fastmarket.node_content import Selling
from fastmarket.node_payments import Payments
from fastmarket.payments.peer_sales import PeerSales
from fastmarket.repeating import Repeating
from fastmarket.storage.holders import HolderFile, HolderSaver

FIND_PEER_S = 10.0  # for the lookup of a holder that told no address


@dataclass(frozen=True, slots=True)
class Fetching:
    """A node's fetcher, and the exchange of blocks that serves, too."""

    fetcher: Fetcher
    prober: Prober
    bitswap: BitswapExchange


@asynccontextmanager
async def fetching(
    dht: DhtNode,
    offers: OfferFinder,
    config: NodeConfig,
    selling: Selling | None,
    data_dir: Path | None,
    payments: Payments | None = None,
) -> AsyncIterator[Fetching]:
    """`offers` finds holders: the node, or its fleet. What is sold for nothing is served over Bitswap.
    `data_dir`: where what is seen of holders is kept. `payments`: None: nothing is paid for.

    A node that serves nothing takes streams of Bitswap from the first peer on that it asks: until then it
    does not list the protocol."""
    host = dht.host
    find_peer = partial(_find_peer, dht)
    if selling is None:
        bitswap = BitswapExchange(host, config.bitswap, NoBlocks(), _never, find_peer)
    else:
        free = FreeGoods(selling.catalogue)
        priced = None if payments is None else _sales(dht, selling, payments)
        bitswap = BitswapExchange(host, config.bitswap, selling.catalogue, free.is_free, find_peer, priced)
        bitswap.start()
    limit = config.bitswap.max_all_outstanding_bytes + config.bitswap.max_all_partial_bytes
    host.memory.child(ScopeKind.BITSWAP, limit).watch(lambda: bitswap.held_bytes)
    dialer = HttpDialer(
        config.holders,
        Resolver(config.host.nameservers, config.holders.resolve_timeout_s),
        host.identifier.addresses.may_dial,
    )
    wallet = None if payments is None else payments.wallet
    over_bitswap = partial(_over_bitswap, bitswap, dht, config.holders.pay_timeout_s)
    reach = HolderReach(dialer, config.holders, host.clock, over_bitswap, wallet)
    sources = (OfferSource(offers, reach, host.clock), ProviderHolders(dht, reach))
    file = None if data_dir is None else HolderFile(data_dir)
    history = HolderHistory(config.fetching) if file is None else file.read(config.fetching)
    fetcher = Fetcher(config.fetching, config.holders, host.run_queue, sources, history)
    saver = None if file is None else HolderSaver(file, history, lambda: fetcher.totals.ended)
    paying = None if payments is None else _paying(payments, dht)
    try:
        yield Fetching(fetcher, Prober(dialer, config.holders, host.clock, history), bitswap)
        await fetcher.close()
    finally:
        if paying is not None:
            await paying.stop()
        if saver is not None:
            await saver.close()
        await bitswap.close()


async def _find_peer(dht: DhtNode, peer_id: PeerId) -> PeerInfo | None:
    """By a lookup of its id, as any node of the DHT can be found."""
    nearest = await dht.closest_peers(peer_id.raw, FIND_PEER_S)
    return next((view.peer for view in nearest if view.peer.peer_id == peer_id), None)


def _never(multihash: bytes) -> bool:
    return False


def _over_bitswap(
    bitswap: BitswapExchange,
    dht: DhtNode,
    pay_timeout_s: float,
    peer: PeerInfo,
    answers: BlockAnswers,
    payer: Payer | None,
) -> BlockHolder:
    bitswap.start()
    if payer is None:
        return BitswapHolder(bitswap, peer, answers)
    call = TabCall(dht.host, peer, partial(_find_peer, dht))
    return PaidBitswapHolder(bitswap, peer, answers, payer, call, pay_timeout_s, dht.host.faults)


def _paying(payments: Payments, dht: DhtNode) -> Repeating:
    """Pays what purchases leave unpaid, from now on."""
    debts = DebtPayer(payments.wallet, dht.host, partial(_find_peer, dht))
    debts.remember(payments.unpaid)
    paying = Repeating("paying what is due", lambda: DEBTS_LOOK_S, debts.look, dht.host.faults)
    paying.start()
    return paying


def _sales(dht: DhtNode, selling: Selling, payments: Payments) -> PeerSales:
    """Takes payments for what has a price from now on."""
    catalogue = selling.catalogue

    def file_bytes(block: bytes) -> int:
        place = catalogue.find(block)
        return place.length if isinstance(place, FileBlock) else 0

    sales = PeerSales(payments.till, GoodPrices(catalogue), file_bytes)
    TabStreams(dht.host, sales, payments.journal, dht.host.clock.now).start()
    return sales
