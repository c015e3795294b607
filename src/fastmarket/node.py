"""The composition root: turns a configuration and an identity into a running node, and stops it in order."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from fastmarket import descriptors, memory_limit
from fastmarket import node_parts as parts
from fastmarket.config import NodeConfig
from fastmarket.errors import CallerFault
from fastmarket.formats.identity import Identity, PeerId
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.kad.routing.peer_cache import PeerCache
from fastmarket.libp2p.scopes import Pressure, ScopeKind
from fastmarket.live import Live
from fastmarket.market.dht import Dht
from fastmarket.market.grpc_server import MarketServer
from fastmarket.market.service import MarketService
from fastmarket.net.dht_node import DhtNode
from fastmarket.net.joining import Joining
from fastmarket.trace import NULL_TRACE

if TYPE_CHECKING:
    from fastmarket.fleet.dht import FleetDht
    from fastmarket.market.guard import Around
    from fastmarket.net.port_mapping import PortMapping
    from fastmarket.node_content import Selling
    from fastmarket.node_fetching import Fetching
    from fastmarket.node_payments import Payments
    from fastmarket.web.metrics import NodeMetrics
    from fastmarket.web.server import WebServer
    from fastmarket.web.write_access import WriteAccess


class Node(Live):
    """A whole node: the DHT, the offers, and the gRPC services for local programs.

    Use `async with Node(config, identity) as node:`, or `start()` and `stop()`.
    """

    def __init__(self, config: NodeConfig, identity: Identity, data_dir: Path | None = None) -> None:
        """`data_dir` stores offers and peers across restarts; the caller holds its lock
        (`storage.directory`). None: nothing is stored."""
        config = descriptors.fitted(memory_limit.fitted(config), descriptors.limit())
        self._config = config
        self._identity = identity
        self._data_dir = data_dir
        self._joining = Joining(identity.peer_id, config.bootstrap)
        self._saved = PeerCache(config.kad, identity.peer_id)
        self._running = AsyncExitStack()  # the parts that were entered
        self._dht: DhtNode | None = None
        self._fleet: FleetDht | None = None
        self._grpc: MarketServer | None = None
        self._payments: Payments | None = None
        self._selling: Selling | None = None
        self._fetching: Fetching | None = None
        self._mapping: PortMapping | None = None
        self._writers: WriteAccess | None = None
        self.grpc_address = ""
        self.http_address = ""
        self.metrics_address = ""
        self.content_url = ""

    @property
    def peer_id(self) -> PeerId:
        """This node's peer id."""
        return self._identity.peer_id

    @property
    def dht(self) -> DhtNode:
        """The network part of a started node; in a fleet, without the shared store."""
        if self._dht is None:
            raise CallerFault("node", "is not started")
        return self._dht

    @property
    def fleet(self) -> FleetDht | None:
        """The network part with the shared store, of a started server of a fleet; None otherwise."""
        return self._fleet

    @property
    def market(self) -> Dht:
        """What calls to a started node are answered from: `fleet` where there is one, else `dht`."""
        return self._fleet or self.dht

    @property
    def listen_addrs(self) -> tuple[Multiaddr, ...]:
        """The addresses listened on, one per interface, with /p2p; empty before the start."""
        return () if self._dht is None else self._dht.listen_addrs

    @property
    def announced_addrs(self) -> tuple[Multiaddr, ...]:
        """The addresses announced; the same unless the operator configured others or peers observed more."""
        return () if self._dht is None else self._dht.announced_addrs

    async def start(self) -> None:
        """Returns when the node serves and, with bootstrap peers, has joined the network or found them all
        dead; it then keeps trying them. Raises CallerFault (a port in use, ...)."""
        try:
            await self._start(self._running)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Lets calls in progress end first, then stops the network. Safe to call twice."""
        await self._running.aclose()  # if one raises, the others are still left

    async def _start(self, running: AsyncExitStack) -> None:
        """Enters the parts. They are left in reverse: calls end first, the disk last."""
        config, enter = self._config, running.enter_async_context
        dht, metrics = self._made()
        self._dht = dht
        dht.troubles.append(self._joining.outside_reason)
        await enter(parts.memory(dht, config.memory))
        kept = None
        if self._data_dir is not None:
            kept = await enter(parts.disk(dht, config.storage, self._data_dir))
        self._fleet = await enter(parts.fleet(dht, config)) if config.fleet.store else None
        watch = await enter(parts.network(dht, kept, self._fleet, config.host.listen))
        # An operator who announces addresses has seen to it that they lead here.
        if config.port_map.mode != "off" and not config.host.announce:
            self._mapping = await enter(parts.port_mapping(dht, config.port_map, watch))
        if kept is not None and self._data_dir is not None:
            await enter(parts.records(dht, config.storage, kept.journal))
            self._saved = await enter(parts.peers(dht, config, self._data_dir))
        around = None
        if config.web.trace_endpoint:
            around = await enter(parts.tracing(dht, config.web.trace_endpoint))
        if config.payments.required:
            self._payments = await enter(self._pays())
        elif config.payments.settlement != "none":
            raise CallerFault("settlement", "settles receipts, which there are with --payments alone")
        if config.content.port is not None:
            self._selling = await enter(self._sells())
            self.content_url = self._selling.place.base_url
        self._fetching = await enter(self._fetches())
        self._grpc = self._market_server(metrics, around)
        self.grpc_address = _at(config.market.host, await enter(parts.grpc(self._grpc)))
        await self._serve_web(running, metrics)
        memory_limit.log_shares(config)  # of a start that fails, the reason alone is told
        if config.host.mdns != "off":
            await enter(parts.local_network(dht, config.host.mdns))
        await enter(parts.joining(self._joining, dht, self._saved))

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def store(self) -> str:
        """The fleet's store without its password; empty if there is none."""
        return "" if self._fleet is None else self._fleet.store.url.shown

    @property
    def joins(self) -> bool:
        """Whether there is a peer to join through: a bootstrap peer, or a peer of an earlier run."""
        return self._joining.is_possible

    @property
    def bootstrapped(self) -> bool:
        """Whether it has joined a network since the start."""
        return self._joining.has_joined

    def reload(self) -> None:
        """Reads tokens and certificates again. Raises `CallerFault` and then changes nothing."""
        if self._grpc is None:
            return
        if self._selling is not None:
            self._selling.reload()
        tokens = self._grpc.reload()
        if self._writers is not None:
            self._writers.tokens = tokens

    def missing(self) -> str:
        """Why the node is not usable, or ""."""
        if not self.grpc_address:
            return "starting"
        if why := self.dht.disk_trouble:
            return why
        if (pressure := self.dht.host.memory.pressure) is Pressure.CRITICAL:
            return memory_limit.trouble(pressure)
        return self._joining.outside_reason() or self.dht.clock_fault()

    def note(self) -> str:
        """What a usable node lacks, or ""."""
        return "; ".join(self.market.node_info().troubles)

    def _made(self) -> tuple[DhtNode, NodeMetrics | None]:
        if self._config.web.metrics_port is None:
            return DhtNode(self._identity, self._config, trace=NULL_TRACE), None
        with parts.extra("metrics-port", "metrics"):
            from fastmarket.web.metrics import CountingTrace, NodeMetrics
        trace = CountingTrace()
        dht = DhtNode(self._identity, self._config, trace=trace)
        metrics = NodeMetrics(dht, trace)
        dht.job_observers.append(metrics.job_ended)
        return dht, metrics

    def _sells(self) -> AbstractAsyncContextManager[Selling]:
        from fastmarket.node_content import selling

        return selling(self.dht, self.market, self._config, self._data_dir, self._payments, self._mapping)

    def _fetches(self) -> AbstractAsyncContextManager[Fetching]:
        from fastmarket.node_fetching import fetching

        return fetching(self.dht, self.market, self._config, self._selling, self._data_dir, self._payments)

    def _pays(self) -> AbstractAsyncContextManager[Payments]:
        from fastmarket.node_payments import payments

        config = self._config
        mode = config.access.secrets_mode
        return payments(self.dht, self._identity, config.payments, self._data_dir, mode, self._fleet)

    def _market_server(self, metrics: NodeMetrics | None, around: Around | None) -> MarketServer:
        config = self._config
        history = None if self._fetching is None else self._fetching.fetcher.history
        service = MarketService(self.market, config.market, now=self.dht.now, history=history)
        observer = None if metrics is None else metrics.call_ended
        shop = None if self._selling is None else self._selling.shop
        fetching = self._fetching
        prober, fetcher = (None, None) if fetching is None else (fetching.prober, fetching.fetcher)
        memory = self.dht.host.memory.child(ScopeKind.GRPC, config.memory.grpc_bytes)
        ledger = None if self._payments is None else self._payments.ledger
        served = shop, prober, fetcher, memory, ledger
        return MarketServer(service, config.market, config.access, observer, around, *served)

    async def _serve_web(self, running: AsyncExitStack, metrics: NodeMetrics | None) -> None:
        config = self._config.web
        servers: list[WebServer] = []
        if config.port is not None:
            servers.append(self._http_server(config.port))
        if metrics is not None:
            servers.append(self._metrics_server(metrics))
        ports = await running.enter_async_context(parts.webs(servers))
        if metrics is not None:
            self.metrics_address = _at(config.metrics_host, ports.pop())
            await running.enter_async_context(parts.measuring(metrics))
        if config.port is not None:
            self.http_address = _at(config.host, ports.pop())

    def _metrics_server(self, metrics: NodeMetrics) -> WebServer:
        from fastmarket.web.metrics import PROBES, Readiness, metrics_routes
        from fastmarket.web.server import WebServer

        if self._fleet is not None:
            from fastmarket.web.fleet_metrics import FleetState

            metrics.registry.register(FleetState(self._fleet))
        from fastmarket.web.content_metrics import FetchingState, SellingState

        if (sold := self._selling) is not None:
            metrics.registry.register(SellingState(sold.shop, sold.catalogue, sold.port.tally))
        if (paying := self._payments) is not None:
            from fastmarket.web.payment_metrics import PaymentState

            settled = paying.settler.report if paying.settler.is_needed else None
            state = PaymentState(paying.till.tabs, paying.wallet.tabs, self.dht.now, settled)
            metrics.registry.register(state)
        if (fetching := self._fetching) is not None:
            metrics.registry.register(FetchingState(fetching.fetcher, fetching.bitswap))
        config = self._config.web
        routes = metrics_routes(metrics, Readiness(self.missing, self.note), config)
        return WebServer(
            routes, config, config.metrics_host, config.metrics_port or 0, "metrics-port", PROBES
        )

    def _http_server(self, port: int) -> WebServer:
        with parts.extra("http-port", "http"):
            from fastmarket.web.market_api import MarketApi
            from fastmarket.web.routing_api import RoutingApi
            from fastmarket.web.search import PageSearch
            from fastmarket.web.server import WebServer
            from fastmarket.web.status import StatusPage
            from fastmarket.web.write_access import WriteAccess
        config, dht, fleet = self._config.web, self.dht, self._fleet
        self._writers = WriteAccess(None if self._grpc is None else self._grpc.tokens)
        source = dht.public if fleet is None else fleet.public
        api = RoutingApi(source, config, self._config.kad, self._writers)
        fetching = self._fetching
        shop = None if self._selling is None else self._selling.shop
        prober, fetcher = (None, None) if fetching is None else (fetching.prober, fetching.fetcher)
        ledger = None if self._payments is None else self._payments.ledger
        search = PageSearch(self.market, config, self._writers, prober)
        market = MarketApi(shop, fetcher, self._writers, config, dht.now, ledger)
        page = StatusPage(dht, config)
        routes = [*api.routes(), *page.routes(), *search.routes(), *market.routes()]
        memory = dht.host.memory.child(ScopeKind.HTTP, self._config.memory.http_bytes)
        return WebServer(routes, config, config.host, port, memory=memory)


def _at(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
