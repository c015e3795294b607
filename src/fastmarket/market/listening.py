"""Binds the gRPC port, and serves health checks and reflection on it."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Sequence
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from fastmarket.errors import CallerFault
from fastmarket.formats.dns_name import ascii_name
from fastmarket.market.access import AccessScope
from fastmarket.market.calls import Method
from fastmarket.market.guard import Registry
from fastmarket.wording import why_unbound

SERVING = HealthCheckResponse.SERVING
NOT_SERVING = HealthCheckResponse.NOT_SERVING
_messages: Any = health_pb2
# Health/List came with version 1.85 of the library, whose own servicer does not implement it.
_LISTING = (
    (_messages.HealthListRequest, _messages.HealthListResponse)
    if hasattr(_messages, "HealthListRequest")
    else None
)
REFLECTION = "grpc.reflection.v1alpha.ServerReflection"
_REFLECT = f"/{REFLECTION}/ServerReflectionInfo"


class Health:
    """grpc.health.v1 for the whole server and for each of its services."""

    def __init__(self, registry: Registry, services: Sequence[str]) -> None:
        self._names = ("", *services)
        self._status: int = HealthCheckResponse.UNKNOWN
        self._servicer = health.aio.HealthServicer()
        coding: tuple[Any, Any] = (HealthCheckRequest.FromString, HealthCheckResponse.SerializeToString)
        methods = {
            "Check": Method(
                AccessScope.READ, grpc.unary_unary_rpc_method_handler(self._servicer.Check, *coding)
            ),
            "Watch": Method(
                AccessScope.READ, grpc.unary_stream_rpc_method_handler(self._servicer.Watch, *coding)
            ),
        }
        if _LISTING is not None:
            asked, answer = _LISTING
            handler = grpc.unary_unary_rpc_method_handler(
                self._list, asked.FromString, answer.SerializeToString
            )
            methods["List"] = Method(AccessScope.READ, handler)
        registry.add(health.SERVICE_NAME, methods)

    async def _list(self, request: Any, context: Any) -> Any:
        assert _LISTING is not None
        status = HealthCheckResponse(status=self._status)
        return _LISTING[1](statuses=dict.fromkeys(self._names, status))

    async def say(self, status: int) -> None:
        """Sets SERVING or NOT_SERVING, and tells those that watch."""
        self._status = status
        for name in self._names:
            await self._servicer.set(name, status)


def describe(registry: Registry, services: Sequence[str]) -> None:
    """Server reflection, through which tools such as grpcurl learn the methods and messages."""

    def find(path: str) -> Method | None:
        """Imports reflection at the first call: without calls, the node saves 1 MB."""
        if path != _REFLECT:
            return None
        from grpc_reflection.v1alpha import reflection, reflection_pb2

        handler = grpc.stream_stream_rpc_method_handler(
            reflection.aio.ReflectionServicer((*services, REFLECTION)).ServerReflectionInfo,
            request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
            response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
        )
        return Method(AccessScope.READ, handler)

    registry.add_lazily(find)


async def bind(
    server: grpc.aio.Server, host: str, port: int, credentials: grpc.ServerCredentials | None
) -> int:
    """Makes the server listen there; returns the port. Raises `CallerFault` ("host" or "port")."""
    try:
        host = host if host.isascii() else ascii_name(host)
    except ValueError as error:
        raise CallerFault("host", f"{host!r}: {error}") from None
    await _check_free(host, port)
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        if credentials is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise CallerFault("port", f"cannot listen on {host} port {port} ({error})") from None


async def _check_free(host: str, port: int) -> None:
    """Tries to bind first: the system's reason is clear, while gRPC logs one and does not return it."""
    if not 0 <= port <= 65535:
        raise CallerFault("port", f"{port} is not between 0 and 65535")
    loop = asyncio.get_running_loop()
    try:
        addresses = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise CallerFault("host", f"{host!r} cannot be resolved ({error})") from None
    faults = [fault for *place, _, address in addresses if (fault := _bind_fault(place, address))]
    # A host name may have addresses that this machine lacks (::1 of localhost): gRPC uses those it can.
    in_use = [fault for fault in faults if fault.errno == errno.EADDRINUSE]
    if in_use or len(faults) == len(addresses):
        fault = (in_use or faults)[0]
        field = "host" if fault.errno == errno.EADDRNOTAVAIL else "port"
        raise CallerFault(field, f"{host} port {port} {why_unbound(fault)}")


def _bind_fault(place: Sequence[int], address: tuple[Any, ...]) -> OSError | None:
    with socket.socket(*place) as probe:
        # As gRPC will do: a port in TIME_WAIT from a process just ended is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as fault:
            return fault
    return None
