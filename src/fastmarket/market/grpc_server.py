"""Serves both gRPC services on one port: `market.Market` for earlier clients, and `fastmarket.v1.Market`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message

from fastmarket.config import AccessConfig, MarketConfig
from fastmarket.deferred_accept import defer_accept_at
from fastmarket.libp2p.scopes import MemoryScope
from fastmarket.market import access, replies
from fastmarket.market.access import AccessScope
from fastmarket.market.accounting import LedgerMethods
from fastmarket.market.answer_cache import AnswerCache
from fastmarket.market.call_bounds import Bounds
from fastmarket.market.calls import Calls, Method, Work
from fastmarket.market.crowds import Crowds
from fastmarket.market.fetching import FetchingMethods
from fastmarket.market.guard import CALL_BYTES, Around, CallTimer, Guard, Observer, Registry
from fastmarket.market.listening import NOT_SERVING, SERVING, Health, bind, describe
from fastmarket.market.requests import market_content, market_terms
from fastmarket.market.selling import SellingMethods
from fastmarket.market.service import MarketService
from fastmarket.market.v1_methods import V1Methods
from fastmarket.offers.model.offer import Offer
from fastmarket.pb import market_pb2

if TYPE_CHECKING:
    from fastmarket.content.shop import Shop
    from fastmarket.net.fetching.fetcher import Fetcher
    from fastmarket.net.fetching.probing import Prober
    from fastmarket.storage.tab_ledger import TabLedger

MARKET = "market.Market"
V1 = "fastmarket.v1.Market"
HEALTH = "grpc.health.v1.Health"
# The service cuts its lists to the maximum response size; this is for what surrounds them.
RESPONSE_SLACK_BYTES = 64 * 1024
# At a stop, for calls that were cancelled: the file of a fetch is closed, and what was bought is paid.
LAST_CALLS_S = 5.0

log = logging.getLogger(__name__)


class MarketServer:
    """Serves a `MarketService` from `start` to `stop`."""

    def __init__(
        self,
        service: MarketService,
        config: MarketConfig | None = None,
        access_config: AccessConfig | None = None,
        observer: Observer | None = None,
        around: Around | None = None,
        shop: Shop | None = None,
        prober: Prober | None = None,
        fetcher: Fetcher | None = None,
        memory: MemoryScope | None = None,
        ledger: TabLedger | None = None,
    ) -> None:
        """`observer` is called after every call; `around` wraps each call, outermost. `shop`: what the node
        sells; `prober` asks holders whether they are there; `fetcher` fetches from them. `memory` counts what
        callers make the node hold; None: it has no limit of its own. `ledger`: of payments."""
        self._service = service
        self._config = config or MarketConfig()
        self._access = access_config or AccessConfig()
        self._observer = observer
        self._around = around
        self._shop = shop
        self._prober = prober
        self._fetcher = fetcher
        self._memory = memory
        self._ledger = ledger
        self._work = Work(self._config)
        self._ready = AnswerCache(service.now, self._config.max_ready_bytes)
        self._health: Health | None = None
        self._guard: Guard | None = None
        self._bounds: Bounds | None = None
        self._crowds: Crowds | None = None
        self._server: grpc.aio.Server | None = None

    async def start(self, host: str | None = None, port: int | None = None) -> int:
        """Serves on `host` and `port` (default: the configuration's; 0: any free port); returns the port in
        use.

        Raises `CallerFault` ("host" or "port") if it cannot listen there.
        """
        host = self._config.host if host is None else host
        port = self._config.port if port is None else port
        credentials = access.credentials(self._access, host)
        config, work = self._config, self._work
        server = grpc.aio.server(
            options=self._options(),
            # Our own limit is in `Bounds`, which tells callers apart: this one would refuse anybody.
            maximum_concurrent_rpcs=2
            * (config.max_concurrent_rpcs + config.health_rpcs + config.max_delayed_refusals),
        )
        timer = self._watch(credentials is not None or not access.is_loopback(host))
        if self._memory is not None:
            self._memory.watch(lambda: timer.bounds.used * CALL_BYTES + work.held_bytes)
        watched = Registry(server, timer)
        watched.add(MARKET, self._market_methods(Calls(work, config)))
        methods = V1Methods(self._service, config, work, self._prober).handlers()
        methods |= SellingMethods(self._shop, config).handlers(Calls(work, config))
        methods |= FetchingMethods(self._fetcher, config).handlers(Calls(work, config))
        methods |= LedgerMethods(self._ledger, config).handlers(Calls(work, config))
        watched.add(V1, methods)
        describe(watched, (MARKET, V1, HEALTH))
        # Callers without a token may check the node's health, even while it is busy.
        of_health = Bounds(config.health_rpcs, None, config.health_rpcs // 2)
        for_health = CallTimer(of_health, config.message_timeout_s, config.unread_timeout_s)
        self._health = Health(Registry(server, for_health), (MARKET, V1))
        bound = await bind(server, host, port, credentials)
        await _started(server)
        defer_accept_at(bound)
        await self._health.say(SERVING)
        self._server = server
        self._crowds = Crowds(bound, config.max_connections_per_ip, config.max_connections)
        self._crowds.start()
        return bound

    async def stop(self, grace_s: float = 0.0) -> None:
        """Accepts no new calls; those in progress get `grace_s` to end."""
        if self._server is not None:
            server, self._server = self._server, None
            if self._health is not None:
                await self._health.say(NOT_SERVING)
            if self._crowds is not None:
                await self._crowds.stop()
            self._service.end_watches()
            await server.stop(grace_s)
            await self._ended()
        await self._service.close()

    async def _ended(self) -> None:
        """gRPC has cancelled the calls, and does not wait for their ends: what they hold is let go there."""
        assert self._bounds is not None
        try:
            async with asyncio.timeout(LAST_CALLS_S):
                await self._bounds.none_left()
        except TimeoutError:
            left = self._bounds.used
            log.warning("%d calls are still in progress %.0f s after their end", left, LAST_CALLS_S)

    @property
    def tokens(self) -> access.Tokens | None:
        """The tokens in force; None if no token is needed."""
        return None if self._guard is None else self._guard.tokens

    def reload(self) -> access.Tokens | None:
        """Reads the tokens again and returns them; also checks that the certificates are usable.

        gRPC reads those itself when a caller connects. Raises `CallerFault` and then changes nothing.
        """
        access.check_certificates(self._access)
        tokens = access.read_tokens(self._access)
        if self._guard is not None:
            self._guard.tokens = tokens
        return tokens

    def _watch(self, reachable: bool) -> CallTimer:
        """Loopback without tokens needs no guard."""
        config, tokens = self._config, access.read_tokens(self._access)
        if tokens is not None or reachable:
            self._guard = Guard(self._access, tokens)
        bounds = self._bounds = Bounds(
            *(config.max_concurrent_rpcs, config.max_calls_per_caller, config.max_streaming_calls),
            *(config.refusal_delay_s, config.max_delayed_refusals),
        )
        times = config.message_timeout_s, config.unread_timeout_s
        return CallTimer(bounds, *times, self._around, self._observer, self._guard, memory=self._memory)

    def _options(self) -> list[tuple[str, Any]]:
        config = self._config
        return [
            # Two servers silently sharing a port would each get half of the calls.
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", config.max_request_bytes),
            ("grpc.max_send_message_length", config.max_response_bytes + RESPONSE_SLACK_BYTES),
            ("grpc.max_concurrent_streams", config.max_streams_per_connection),
            # Else gRPC lets a fast caller send megabytes ahead on each of its streams, which we never see; a
            # message that we wait for gets the window that it needs all the same.
            ("grpc.http2.bdp_probe", 0),
            ("grpc.max_allowed_incoming_connections", config.max_connections + config.spare_connections),
            # For plain text, too: the time until a connection has sent its settings.
            ("grpc.server_handshake_timeout_ms", int(config.handshake_timeout_s * 1000)),
            ("grpc.http2.settings_timeout", int(config.handshake_timeout_s * 1000)),
            ("grpc.max_connection_idle_ms", int(config.idle_timeout_s * 1000)),
            ("grpc.keepalive_time_ms", int(config.keep_alive_s * 1000)),
            ("grpc.keepalive_timeout_ms", int(config.keep_alive_timeout_s * 1000)),
            ("grpc.http2.min_ping_interval_without_data_ms", int(config.min_ping_interval_s * 1000)),
            ("grpc.keepalive_permit_without_calls", 1),
        ]

    def _market_methods(self, calls: Calls) -> dict[str, Method]:
        check = calls.prompt(market_pb2.CheckHoldersRequest, self._ready.get, self._market_check)
        return {
            "RegisterFile": Method(
                AccessScope.WRITE, calls.unary(market_pb2.RegisterFileRequest, self._market_register)
            ),
            "CheckHolders": Method(AccessScope.READ, check),
        }

    # --- market.Market

    async def _market_register(
        self, request: market_pb2.RegisterFileRequest, deadline_s: float | None
    ) -> Message:
        await self._service.register(market_terms(request, self._service.peer_id), deadline_s)
        return Empty()

    async def _market_check(
        self, raw: bytes, request: market_pb2.CheckHoldersRequest, deadline_s: float | None
    ) -> bytes:
        content = market_content(request.fileHash)
        known = self._service.known(content)
        if known is None:
            return await self._holders(await self._service.find(content, deadline_s))
        answer = await self._holders(known.offers)
        self._ready.put(raw, known, answer)
        return answer

    async def _holders(self, offers: Sequence[Offer]) -> bytes:
        made = await self._work.made(replies.user_of, offers)
        users = replies.fitting(made, self._config.max_response_bytes)
        return market_pb2.HoldersResponse(holders=users).SerializeToString()


async def _started(server: grpc.aio.Server) -> None:
    """Starts a server. If that is cancelled, stops it, but only once it has started: gRPC's main loop fails
    with InvalidStateError otherwise."""
    starting = asyncio.ensure_future(server.start())
    try:
        await asyncio.shield(starting)
    except asyncio.CancelledError:
        await starting
        await server.stop(None)
        raise
