"""Both gRPC services on one port: `market.Market` of the earlier programs and `fastmarket.v1.Market`."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias, TypeVar

import grpc
import grpc.aio
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError, Message

from fastmarket.config import MarketConfig
from fastmarket.errors import CallerFault, FastmarketError, NodeFault
from fastmarket.market import replies
from fastmarket.market.grpc_errors import Status, status_of
from fastmarket.market.requests import market_content, market_terms, v1_content, v1_terms
from fastmarket.market.service import MarketService
from fastmarket.pb import market_pb2
from fastmarket.pb.fastmarket.v1 import market_pb2 as v1

log = logging.getLogger(__name__)

MARKET = "market.Market"
V1 = "fastmarket.v1.Market"
INTERNAL = Status(grpc.StatusCode.INTERNAL, "internal error; the node's log tells more")
# A response may be as long as the service makes it, which cuts its lists; this is for what surrounds them.
RESPONSE_SLACK_BYTES = 64 * 1024

Request = TypeVar("Request", bound=Message)
Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"
Respond: TypeAlias = Callable[[Request, float | None], Awaitable[Message]]


class MarketServer:
    """Serves a `MarketService` from `start` to `stop`."""

    def __init__(self, service: MarketService, config: MarketConfig | None = None) -> None:
        self._service = service
        self._config = config or MarketConfig()
        self._server: grpc.aio.Server | None = None

    async def start(self, host: str | None = None, port: int | None = None) -> int:
        """Serves on `host` and `port` (by default the configuration's; 0: any free one); the port in use.

        Raises `CallerFault` ("host" or "port") when the address cannot be had.
        """
        host = self._config.host if host is None else host
        port = self._config.port if port is None else port
        await _check_free(host, port)
        server = grpc.aio.server(
            options=self._options(), maximum_concurrent_rpcs=self._config.max_concurrent_rpcs
        )
        server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler(MARKET, self._market_methods()),
                grpc.method_handlers_generic_handler(V1, self._v1_methods()),
            )
        )
        try:
            bound = server.add_insecure_port(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
        except RuntimeError as error:
            raise CallerFault("port", f"cannot listen on {host} port {port} ({error})") from None
        await server.start()
        self._server = server
        return bound

    async def stop(self, grace_s: float = 0.0) -> None:
        """No new calls; those under way may take `grace_s` to end."""
        if self._server is not None:
            server, self._server = self._server, None
            await server.stop(grace_s)
        await self._service.close()

    def _options(self) -> list[tuple[str, Any]]:
        config = self._config
        return [
            # Two servers sharing a port silently would each get half of the calls.
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", config.max_request_bytes),
            ("grpc.max_send_message_length", config.max_response_bytes + RESPONSE_SLACK_BYTES),
            ("grpc.max_concurrent_streams", config.max_streams_per_connection),
        ]

    def _market_methods(self) -> dict[str, grpc.RpcMethodHandler[bytes, bytes]]:
        return {
            "RegisterFile": _unary(market_pb2.RegisterFileRequest, self._market_register),
            "CheckHolders": _unary(market_pb2.CheckHoldersRequest, self._market_check),
        }

    def _v1_methods(self) -> dict[str, grpc.RpcMethodHandler[bytes, bytes]]:
        return {
            "GetNode": _unary(v1.GetNodeRequest, self._get_node),
            "ListPeers": _unary(v1.ListPeersRequest, self._list_peers),
            "ClosestPeers": _unary(v1.ClosestPeersRequest, self._closest_peers),
            "FindHolders": _unary(v1.FindHoldersRequest, self._find_holders),
            "RegisterFile": _unary(v1.RegisterFileRequest, self._register_file),
        }

    # --- market.Market

    async def _market_register(
        self, request: market_pb2.RegisterFileRequest, deadline_s: float | None
    ) -> Message:
        await self._service.register(market_terms(request, self._service.peer_id), deadline_s)
        return Empty()

    async def _market_check(
        self, request: market_pb2.CheckHoldersRequest, deadline_s: float | None
    ) -> Message:
        offers = await self._service.find(market_content(request.fileHash), deadline_s)
        users = replies.fitting(map(replies.user_of, offers), self._config.max_response_bytes)
        return market_pb2.HoldersResponse(holders=users)

    # --- fastmarket.v1.Market

    async def _get_node(self, _: v1.GetNodeRequest, deadline_s: float | None) -> Message:
        return replies.node_of(self._service.peer_id, self._service.node_info())

    async def _list_peers(self, _: v1.ListPeersRequest, deadline_s: float | None) -> Message:
        return replies.peers_of(self._service.peers())

    async def _closest_peers(self, request: v1.ClosestPeersRequest, deadline_s: float | None) -> Message:
        return replies.peers_of(await self._service.closest_peers(v1_content(request.content), deadline_s))

    async def _find_holders(self, request: v1.FindHoldersRequest, deadline_s: float | None) -> Message:
        content = v1_content(request.content)
        offers = await self._service.find(content, deadline_s)
        holders = replies.fitting(map(replies.holder_of, offers), self._config.max_response_bytes)
        return v1.FindHoldersResponse(holders=holders, cid=replies.cid_text(content))

    async def _register_file(self, request: v1.RegisterFileRequest, deadline_s: float | None) -> Message:
        terms = v1_terms(request, self._service.peer_id)
        return replies.registered_of(terms.content, await self._service.register(terms, deadline_s))


def _unary(request_type: type[Request], respond: Respond[Request]) -> grpc.RpcMethodHandler[bytes, bytes]:
    """A method that reads its own request: gRPC would call bytes that are none INTERNAL, a fault of ours."""

    async def handle(raw: bytes, context: Context) -> bytes:
        try:
            request = _read(request_type, raw)
            return (await respond(request, context.time_remaining())).SerializeToString()
        except NodeFault:
            log.exception("%s failed", request_type.DESCRIPTOR.full_name)
            status = INTERNAL
        except FastmarketError as error:
            status = status_of(error)
        except Exception:
            # The top of a task: whatever a bug raises costs one call and is told in the log.
            log.exception("%s failed", request_type.DESCRIPTOR.full_name)
            status = INTERNAL
        await context.abort(status.code, status.details, status.metadata)
        raise AssertionError("abort raises")

    return grpc.unary_unary_rpc_method_handler(handle)


def _read(request_type: type[Request], raw: bytes) -> Request:
    try:
        return request_type.FromString(raw)
    except DecodeError as error:
        raise CallerFault("request", f"not a {request_type.DESCRIPTOR.full_name} ({error})") from None


async def _check_free(host: str, port: int) -> None:
    """Asks the system itself: its reason is clear, while gRPC tells one in its log alone."""
    if not 0 <= port <= 65535:
        raise CallerFault("port", f"{port} is not between 0 and 65535")
    loop = asyncio.get_running_loop()
    try:
        addresses = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise CallerFault("host", f"{host!r} cannot be resolved ({error})") from None
    faults = [fault for *place, _, address in addresses if (fault := _bind_fault(place, address))]
    # A host name may have addresses this machine lacks (::1 of localhost): gRPC takes those that it can.
    in_use = [fault for fault in faults if fault.errno == errno.EADDRINUSE]
    if in_use or len(faults) == len(addresses):
        fault = (in_use or faults)[0]
        field = "host" if fault.errno == errno.EADDRNOTAVAIL else "port"
        reason = "is in use" if in_use else f"refused ({fault.strerror})"
        raise CallerFault(field, f"{host} port {port} {reason}")


def _bind_fault(place: Sequence[int], address: tuple[Any, ...]) -> OSError | None:
    with socket.socket(*place) as probe:
        # As gRPC will: a port that lingers from a process just ended is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as fault:
            return fault
    return None
