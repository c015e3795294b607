"""The part of a node that sells: catalogue, imports, content port, Bitswap and the offers of all that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from fastmarket.config import NodeConfig
from fastmarket.content.address import ContentPlace, check_url, content_place, open_address
from fastmarket.content.allowed import AllowedPaths
from fastmarket.content.catalogue import Catalogue
from fastmarket.content.importing import Importer
from fastmarket.content.keeping import GoodsKeeper
from fastmarket.content.port.cashier import Cashier
from fastmarket.content.port.server import ContentServer
from fastmarket.content.prices import GoodPrices
from fastmarket.content.shop import OfferRegistry, Shop
from fastmarket.faults import Faults
from fastmarket.libp2p.scopes import ScopeKind
from fastmarket.net.dht_node import DhtNode
from fastmarket.net.port_mapping import PortMapping
from fastmarket.node_payments import LOOK_S, Payments
from fastmarket.offers.model.metadata import Way
from fastmarket.repeating import Repeating


@dataclass(frozen=True, slots=True)
class Selling:
    """A node's shop, and the port and catalogue that it serves from."""

    shop: Shop
    port: ContentServer
    catalogue: Catalogue
    place: ContentPlace  # at the start

    def reload(self) -> None:
        """Reads the content port's certificate again. Raises CallerFault, and then changes nothing."""
        self.port.reload()


@asynccontextmanager
async def selling(
    dht: DhtNode,
    registry: OfferRegistry,
    config: NodeConfig,
    data_dir: Path | None,
    payments: Payments | None = None,
    mapping: PortMapping | None = None,
) -> AsyncIterator[Selling]:
    """Serves what was sold before from enter to exit. `registry` takes the offers: the node, or its fleet.
    `payments`: None: what has a price is given away.

    Raises CallerFault ("content-port", "content-url", "content-cert", "allow-path"), NodeFault."""
    content = config.content
    if content.url:
        check_url(content.url)
    allowed = AllowedPaths(content.allow_paths, () if data_dir is None else (str(data_dir),))
    moved = asyncio.Event()
    catalogue = await asyncio.to_thread(Catalogue, data_dir, content, moved.set)
    importer = Importer(catalogue, content, allowed)
    faults = dht.host.faults
    memory = dht.host.memory.child(ScopeKind.CONTENT, config.memory.content_bytes)
    cashier: Cashier | None = None
    if payments is not None:
        cashier = Cashier(payments.till, GoodPrices(catalogue), payments.journal, dht.host.clock.now)
    port = ContentServer(
        catalogue,
        content,
        faults=faults,
        secrets_mode=config.access.secrets_mode,
        memory=memory,
        cashier=cashier,
    )
    async with AsyncExitStack() as parts:
        parts.callback(catalogue.close)
        parts.push_async_callback(asyncio.to_thread, importer.close)
        if cashier is not None:
            await parts.enter_async_context(_looked_after(cashier, faults))
        parts.push_async_callback(port.stop)
        bound = await port.start()
        address = open_address(content)
        if mapping is not None and address is not None:
            mapping.add_port(bound, address)

        def place() -> ContentPlace:
            forwarded = None if mapping is None else mapping.external_of(bound)
            found = content_place(content, bound, dht.announced_addrs, forwarded)
            # Who takes payments takes them for blocks over Bitswap, too.
            return found if payments is None else replace(found, ways=found.ways | Way.BITSWAP)

        keeper = GoodsKeeper(catalogue, content, moved)
        shop = Shop(
            catalogue, importer, keeper, allowed, registry, place, port.tally.take_sent, content, faults
        )
        shop.start()
        dht.host.identifier.addresses.on_changed.append(shop.on_place_changed)
        if mapping is not None:
            mapping.on_changed.append(shop.on_place_changed)
        parts.push_async_callback(shop.stop)
        yield Selling(shop, port, catalogue, place())


@asynccontextmanager
async def _looked_after(cashier: Cashier, faults: Faults) -> AsyncIterator[None]:
    """Writes what has changed from time to time, and in the end."""
    looking = Repeating("counting what is owed", lambda: LOOK_S, cashier.look, faults)
    looking.start()
    try:
        yield
    finally:
        await looking.stop()
        await cashier.close()
