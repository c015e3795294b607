"""The composition root: a configuration and an identity become a running node, and stop in order."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from fastmarket import descriptors
from fastmarket.config import NodeConfig
from fastmarket.errors import CallerFault
from fastmarket.formats.identity import Identity, PeerId
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.kad.records.record import Record
from fastmarket.kad.routing.peer_cache import PeerCache
from fastmarket.live import Live
from fastmarket.market.grpc_server import MarketServer
from fastmarket.market.service import MarketService
from fastmarket.net.dht_node import DhtNode
from fastmarket.net.joining import Joining
from fastmarket.trace import NULL_TRACE, Trace

if TYPE_CHECKING:
    from fastmarket.fleet.dht import FleetNode
    from fastmarket.market.guard import Around
    from fastmarket.storage.database import RecordRow
    from fastmarket.storage.journal import Journal
    from fastmarket.storage.peers import PeerSaver
    from fastmarket.storage.records import RecordKeeper
    from fastmarket.web.metrics import NodeMetrics
    from fastmarket.web.server import WebServer
    from fastmarket.web.tracing import NodeTracing
    from fastmarket.web.write_access import WriteAccess

logger = logging.getLogger(__name__)

# What a gRPC call under way is given at the end; the whole node has to be gone within 5 s of SIGTERM.
STOP_GRACE_S = 2.0


class Node(Live):
    """A whole node: the network, the offers, and the gRPC services for local programs.

    `async with Node(config, identity) as node:` or `start()` and `stop()`.
    """

    def __init__(self, config: NodeConfig, identity: Identity, data_dir: Path | None = None) -> None:
        """`data_dir` keeps offers and peers across restarts; whoever starts the node holds its lock
        (`storage.directory`). None: nothing is kept."""
        self._config = config = descriptors.fitted(config, descriptors.limit())
        self._identity = identity
        self._data_dir = data_dir
        self._journal: Journal | None = None
        self._records: RecordKeeper | None = None
        self._joining = Joining(identity.peer_id, config.bootstrap)
        self._saved = PeerCache(config.kad, identity.peer_id)
        self._saver: PeerSaver | None = None
        self._dht: DhtNode | None = None
        self._fleet: FleetNode | None = None
        self._grpc: MarketServer | None = None
        self._webs: list[WebServer] = []
        self._writers: WriteAccess | None = None
        self._metrics: NodeMetrics | None = None
        self._tracing: NodeTracing | None = None
        self.grpc_address = ""
        self.http_address = ""
        self.metrics_address = ""

    @property
    def peer_id(self) -> PeerId:
        """This node."""
        return self._identity.peer_id

    @property
    def dht(self) -> DhtNode:
        """The network half of a started node."""
        if self._dht is None:
            raise CallerFault("node", "not started")
        return self._dht

    @property
    def listen_addrs(self) -> tuple[Multiaddr, ...]:
        """What this node listens on, one for each interface, /p2p included; empty before the start."""
        return () if self._dht is None else self._dht.listen_addrs

    @property
    def announced_addrs(self) -> tuple[Multiaddr, ...]:
        """What others are told; the same unless the operator says otherwise or peers observed more."""
        return () if self._dht is None else self._dht.announced_addrs

    async def start(self) -> None:
        """Returns when the node serves and, with bootstrap peers, is in the network or has found them dead;
        these are then tried again as long as the node runs. Raises CallerFault (a port in use, ...)."""
        web = self._config.web
        self._dht = self._watched() if web.metrics_port is not None else self._made(NULL_TRACE)
        self._dht.troubles.append(self._joining.outside)
        try:
            if self._data_dir is not None:
                self._take_up(self._dht, self._data_dir)
            if self._fleet is not None:
                await self._fleet.open(self._journal)
            for text in self._config.host.listen:
                await self._dht.listen(Multiaddr.from_text(text))
            service = MarketService(self._dht, self._config.market, now=self._dht.now)
            observer = None if self._metrics is None else self._metrics.call_ended
            around = self._traced(self._dht) if web.trace_endpoint else None
            self._grpc = MarketServer(service, self._config.market, self._config.access, observer, around)
            market = self._config.market
            self.grpc_address = _at(market.host, await self._grpc.start())
            if web.port is not None:
                self.http_address = await self._serve_http(self._dht, web.port)
            if self._metrics is not None:
                self.metrics_address = await self._serve_metrics(self._metrics, web.metrics_port or 0)
            await self._joining.start(self._dht, self._saved)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Calls under way end first, then the network. Safe to call twice."""
        async with AsyncExitStack() as ending:  # whatever one of them raises, the others end
            # The last in is the first out.
            if self._journal is not None:
                journal, self._journal = self._journal, None
                ending.push_async_callback(journal.close)
            if self._dht is not None:
                ending.push_async_callback(self._dht.close)
            if self._records is not None:
                records, self._records = self._records, None
                ending.push_async_callback(records.close)
            if self._saver is not None:
                saver, self._saver = self._saver, None
                ending.push_async_callback(saver.close)
            if self._tracing is not None:
                tracing, self._tracing = self._tracing, None
                ending.push_async_callback(asyncio.to_thread, tracing.stop)
            if self._grpc is not None:
                ending.push_async_callback(self._grpc.stop, STOP_GRACE_S)
            ending.push_async_callback(self._stop_webs)
            if self._metrics is not None:
                ending.push_async_callback(self._metrics.stop)
            ending.push_async_callback(self._joining.stop)

    async def _stop_webs(self) -> None:
        await asyncio.gather(*(web.stop() for web in self._webs))

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def store(self) -> str:
        """The fleet's store without its password; empty: none."""
        return "" if self._fleet is None else self._fleet.store.url.shown

    @property
    def joins(self) -> bool:
        """Whether there is anybody to join a network by: bootstrap peers, or peers of an earlier run."""
        return self._joining.possible

    @property
    def bootstrapped(self) -> bool:
        """Whether it has joined one since the start."""
        return self._joining.joined

    def reload(self) -> None:
        """Reads tokens and certificates again. Raises `CallerFault`, with everything as it was."""
        if self._grpc is None:
            return
        tokens = self._grpc.reload()
        if self._writers is not None:
            self._writers.tokens = tokens

    def missing(self) -> str:
        """What keeps the node from being of use, "" when nothing does."""
        if not self.grpc_address:
            return "starting"
        if why := self.dht.disk_trouble:
            return why
        return self._joining.outside() or self.dht.clock_fault()

    def note(self) -> str:
        """What a node that is of use lacks all the same; "" when nothing."""
        return "; ".join(self.dht.node_info().troubles)

    def _take_up(self, dht: DhtNode, data_dir: Path) -> None:
        """Offers and peers of an earlier life; before anybody can reach us."""
        # SQLite takes a node 1 MB, which one that keeps nothing does without.
        from fastmarket.storage.database import OfferDatabase
        from fastmarket.storage.journal import Journal
        from fastmarket.storage.peers import PeerFile, PeerSaver
        from fastmarket.storage.records import RecordKeeper

        began = time.perf_counter()
        database = OfferDatabase(data_dir)
        batches = database.batches()
        bad, taken = dht.restore_offers(
            database.offers(), ((row.signed, row.own, dead) for row, dead in batches)
        )
        dht.restore_records(
            (Record(row.key, row.value, row.received, row.expires, row.publisher), bool(row.own))
            for row in database.records()
        )
        self._journal = Journal(database, self._config.storage, dht.now)
        for batch, (row, dead) in zip(taken, batches, strict=True):
            if batch is None:
                bad += 1
            else:
                self._journal.took_up(batch, row, dead)
        dht.offers.own.seq_floor = database.seq_floor()
        self._journal.forget(dht.offers.own.take_stale())
        self._journal.look_on()
        dht.keep_offers(self._journal)
        file = PeerFile(data_dir)
        saved = self._saved = PeerCache(self._config.kad, self.peer_id, file.read())
        routing = dht.engine.routing
        self._saver = PeerSaver(file, self._config.storage, lambda: saved.snapshot(routing, dht.now()))
        self._records = RecordKeeper(self._journal, self._config.storage, lambda: _record_rows(dht))
        if bad:
            logger.error("%d offers of %s cannot be read and are left where they are", bad, database.path)
        if dht.offers.of_other_keys:
            logger.error(
                "%d offers of %s were made with another key than identity.pem holds now; restore that key to "
                "renew them",
                dht.offers.of_other_keys,
                database.path,
            )
        own, held = len(dht.offers.own), len(dht.offers.store)
        if held:
            took = time.perf_counter() - began
            logger.info("%d offers kept, %d of them ours, read in %.2f s", held, own, took)

    # Extras are loaded on use: a node starts without them, and sooner.

    def _made(self, trace: Trace) -> DhtNode:
        """One of a fleet, or one by itself."""
        if not self._config.fleet.store:
            return DhtNode(self._identity, self._config, trace=trace)
        with _extra("store", "fleet"):
            from fastmarket.fleet.dht import FleetNode
        self._fleet = FleetNode(self._identity, self._config, trace=trace)
        return self._fleet

    def _watched(self) -> DhtNode:
        with _extra("metrics-port", "metrics"):
            from fastmarket.web.metrics import CountingTrace, NodeMetrics
        trace = CountingTrace()
        dht = self._made(trace)
        self._metrics = NodeMetrics(dht, trace)
        dht.job_observers.append(self._metrics.job_ended)
        if self._fleet is not None:
            from fastmarket.web.fleet_metrics import FleetState

            self._metrics.registry.register(FleetState(self._fleet))
        return dht

    def _traced(self, dht: DhtNode) -> Around:
        with _extra("trace-endpoint", "tracing"):
            from fastmarket.web.tracing import NodeTracing
        self._tracing = NodeTracing(self._config.web.trace_endpoint, self.peer_id)
        dht.job_observers.append(self._tracing.job_ended)
        return self._tracing.around

    async def _serve_metrics(self, metrics: NodeMetrics, port: int) -> str:
        from fastmarket.web.metrics import PROBES, Readiness, metrics_routes
        from fastmarket.web.server import WebServer

        config = self._config.web
        routes = metrics_routes(metrics, Readiness(self.missing, self.note), config)
        server = WebServer(routes, config, config.metrics_host, port, "metrics-port", PROBES)
        self._webs.append(server)
        metrics.start()
        return _at(config.metrics_host, await self._webs[-1].start())

    async def _serve_http(self, dht: DhtNode, port: int) -> str:
        with _extra("http-port", "http"):
            from fastmarket.web.routing_api import RoutingApi
            from fastmarket.web.server import WebServer
            from fastmarket.web.status import StatusPage
            from fastmarket.web.write_access import WriteAccess
        config = self._config.web
        self._writers = WriteAccess(None if self._grpc is None else self._grpc.tokens)
        api = RoutingApi(dht.public, config, self._config.kad, self._writers)
        routes = [*api.routes(), *StatusPage(dht, config).routes()]
        self._webs.append(WebServer(routes, config, config.host, port))
        return _at(config.host, await self._webs[-1].start())


@contextmanager
def _extra(field: str, extra: str) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as missing:
        raise CallerFault(field, f"needs {missing.name}: pip install 'fastmarket[{extra}]'") from None


def _record_rows(dht: DhtNode) -> list[RecordRow]:
    from fastmarket.storage.database import RecordRow

    return [
        RecordRow(record.key, own, record.value, record.publisher, record.received, record.expires)
        for record, own in dht.records.take_changed()
    ]


def _at(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
