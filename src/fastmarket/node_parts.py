"""The parts of a node as async context managers: a part runs from enter to exit.

`Node` enters them in order and leaves them in reverse. Extras are imported on use: a node starts without them
and faster.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fastmarket.config import MemoryConfig, NodeConfig, PortMapConfig, StorageConfig
from fastmarket.errors import CallerFault
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.kad.records.record import Record
from fastmarket.kad.routing.peer_cache import PeerCache
from fastmarket.market.grpc_server import MarketServer
from fastmarket.memory_limit import MemoryWatch, trouble
from fastmarket.net.dht_node import DhtNode
from fastmarket.net.joining import Joining
from fastmarket.net.network_watch import NetworkWatch
from fastmarket.wording import counted

if TYPE_CHECKING:
    from fastmarket.fleet.dht import FleetDht
    from fastmarket.market.guard import Around
    from fastmarket.net.port_mapping import PortMapping
    from fastmarket.storage.database import OfferDatabase, RecordRow
    from fastmarket.storage.journal import Journal
    from fastmarket.web.metrics import NodeMetrics
    from fastmarket.web.server import WebServer

logger = logging.getLogger(__name__)

# Time given to gRPC calls in progress at shutdown; the whole node must exit within 5 s of SIGTERM.
STOP_GRACE_S = 2.0


@contextmanager
def extra(field: str, name: str) -> Iterator[None]:
    """For imports that need the extra `name`. Raises CallerFault (`field`)."""
    try:
        yield
    except ModuleNotFoundError as missing:
        raise CallerFault(field, f"needs {missing.name}: pip install 'fastmarket[{name}]'") from None


@dataclass(frozen=True, slots=True)
class Disk:
    """The open database of a data directory, and the journal that writes to it."""

    database: OfferDatabase
    journal: Journal

    def restore(self, dht: DhtNode) -> None:
        """Restores offers and values saved by the previous run."""
        began = time.perf_counter()
        database, journal = self.database, self.journal
        batches = database.batches()
        bad, taken = dht.restore_offers(
            database.offers(), ((row.signed, row.own, dead) for row, dead in batches)
        )
        dht.restore_records(
            (Record(row.key, row.value, row.received, row.expires, row.publisher), bool(row.own))
            for row in database.records()
        )
        for batch, (row, dead) in zip(taken, batches, strict=True):
            if batch is None:
                bad += 1
            else:
                journal.took_up(batch, row, dead)
        dht.offers.own.seq_floor = database.seq_floor()
        journal.forget(dht.offers.own.take_stale())
        journal.look_on()
        if bad:
            logger.error("cannot read %s in %s; left in place", counted(bad, "offer"), database.path)
        if dht.offers.other_keys_count:
            logger.error(
                "found %s in %s signed with another key than the one now in identity.pem; restore that key "
                "to renew them",
                counted(dht.offers.other_keys_count, "offer"),
                database.path,
            )
        own, held = len(dht.offers.own), len(dht.offers.store)
        if held:
            took = time.perf_counter() - began
            logger.info("restored %s, %d of them own, in %.2f s", counted(held, "offer"), own, took)


@asynccontextmanager
async def disk(dht: DhtNode, config: StorageConfig, data_dir: Path) -> AsyncIterator[Disk]:
    """The last part to be left, so that the final changes of the others are written."""
    # SQLite takes 1 MB of memory, which a node without storage saves.
    from fastmarket.storage.database import OfferDatabase
    from fastmarket.storage.journal import Journal

    database = OfferDatabase(data_dir)
    journal = Journal(database, config, dht.now)
    try:
        yield Disk(database, journal)
    finally:
        await journal.close()


@asynccontextmanager
async def memory(dht: DhtNode, config: MemoryConfig) -> AsyncIterator[None]:
    """Measures what is held, and refuses near the limit."""
    host = dht.host
    watch = MemoryWatch(config, host.memory, dht.now, host.links.shrink)
    watch.start()
    dht.troubles.append(lambda: trouble(host.memory.pressure))
    try:
        yield
    finally:
        await watch.stop()


@asynccontextmanager
async def fleet(dht: DhtNode, config: NodeConfig) -> AsyncIterator[FleetDht]:
    """The shared store. `network` opens it and is left before it, so that its final offers are written."""
    with extra("store", "fleet"):
        from fastmarket.fleet.dht import FleetDht, shared_store
    made = FleetDht(dht, shared_store(config), config)
    try:
        yield made
    finally:
        await made.close()


@asynccontextmanager
async def network(
    dht: DhtNode, kept: Disk | None, shared: FleetDht | None, listen: Sequence[str]
) -> AsyncIterator[NetworkWatch]:
    """Restores what the previous run saved, then listens. Raises CallerFault."""
    watch = NetworkWatch(dht.host)
    try:
        if kept is not None:
            kept.restore(dht)
        journal = None if kept is None else kept.journal
        if shared is not None:
            shared.open(journal)
        elif journal is not None:
            dht.keep_offers(journal)
        for text in listen:
            await dht.listen(Multiaddr.from_text(text))
        watch.start()
        yield watch
    finally:
        await watch.stop()
        await dht.close()


@asynccontextmanager
async def port_mapping(
    dht: DhtNode, config: PortMapConfig, watch: NetworkWatch
) -> AsyncIterator[PortMapping]:
    """Maps the ports at the router of the network; yields at once."""
    from fastmarket.net.port_mapping import PortMapping

    made = PortMapping(dht.host, config)
    made.start()
    watch.on_changed.append(made.look_soon)
    dht.troubles.append(made.trouble)
    try:
        yield made
    finally:
        await made.stop()


@asynccontextmanager
async def records(dht: DhtNode, config: StorageConfig, journal: Journal) -> AsyncIterator[None]:
    """Writes values of the DHT to disk from time to time."""
    from fastmarket.storage.records import RecordKeeper

    keeper = RecordKeeper(journal, config, lambda: _record_rows(dht))
    try:
        yield
    finally:
        await keeper.close()


@asynccontextmanager
async def peers(dht: DhtNode, config: NodeConfig, data_dir: Path) -> AsyncIterator[PeerCache]:
    """Writes the routing table likewise; yields the peers of the previous run."""
    from fastmarket.storage.peers import PeerFile, PeerSaver

    file = PeerFile(data_dir)
    saved = PeerCache(config.kad, dht.peer_id, file.read())
    routing = dht.engine.routing
    saver = PeerSaver(file, config.storage, lambda: saved.snapshot(routing, dht.now()))
    try:
        yield saved
    finally:
        await saver.close()


@asynccontextmanager
async def tracing(dht: DhtNode, endpoint: str) -> AsyncIterator[Around]:
    """Exports spans; yields what wraps each gRPC call."""
    with extra("trace-endpoint", "tracing"):
        from fastmarket.web.tracing import NodeTracing
    made = NodeTracing(endpoint, dht.peer_id)
    dht.job_observers.append(made.job_ended)
    try:
        yield made.around
    finally:
        await asyncio.to_thread(made.stop)


@asynccontextmanager
async def grpc(server: MarketServer) -> AsyncIterator[int]:
    """Yields the port. Raises CallerFault."""
    try:
        yield await server.start()
    finally:
        await server.stop(STOP_GRACE_S)


@asynccontextmanager
async def webs(servers: Sequence[WebServer]) -> AsyncIterator[list[int]]:
    """Yields the ports; the servers stop concurrently, each with its grace. Raises CallerFault."""
    try:
        yield [await server.start() for server in servers]
    finally:
        ends = await asyncio.gather(*(server.stop() for server in servers), return_exceptions=True)
        for fault in ends:
            if fault is not None:
                raise fault


@asynccontextmanager
async def measuring(metrics: NodeMetrics) -> AsyncIterator[None]:
    """Measures the event loop's lag."""
    metrics.start()
    try:
        yield
    finally:
        await metrics.stop()


@asynccontextmanager
async def joining(tries: Joining, dht: DhtNode, saved: PeerCache) -> AsyncIterator[None]:
    """Enters after the first attempt; others follow if it failed."""
    try:
        await tries.start(dht, saved)
        yield
    finally:
        await tries.stop()


@asynccontextmanager
async def local_network(dht: DhtNode, wanted: str) -> AsyncIterator[None]:
    """Meets the nodes of the local network. Raises CallerFault: it is "on", and lacks a package."""
    try:
        with extra("mdns", "mdns"):
            import zeroconf  # noqa: F401 - whether it is there
    except CallerFault as fault:
        if wanted == "on":
            raise
        logger.info("nodes of the local network are not looked for: mDNS %s", fault.reason)
        yield
        return
    from fastmarket.net.local_network import LocalNetwork

    network = LocalNetwork(dht)
    await network.start()
    try:
        yield
    finally:
        await network.stop()


def _record_rows(dht: DhtNode) -> list[RecordRow]:
    from fastmarket.storage.database import RecordRow

    return [
        RecordRow(record.key, own, record.value, record.publisher, record.received, record.expires)
        for record, own in dht.records.take_changed()
    ]
