"""What stands around every gRPC call: may it be made, how long it took, how it ended."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc
import grpc.aio

from fastmarket.config import AccessConfig
from fastmarket.market.access import Scope, Token, Tokens
from fastmarket.market.call_rate import CallRate, Seldom
from fastmarket.market.grpc_errors import Status, too_many_calls

log = logging.getLogger(__name__)

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Around: TypeAlias = Callable[[str, Context], AbstractAsyncContextManager[None]]
Observer: TypeAlias = Callable[[str, str, float], None]
"""Told of each call that ended: its method ("/market.Market/CheckHolders"), code ("OK") and seconds."""

# Everything else reads.
WRITES = frozenset({"RegisterFile", "RegisterFiles", "WithdrawFile", "PutRecord"})
_CODE_NAMES = {code.value[0]: code.name for code in grpc.StatusCode}


@dataclass(frozen=True, slots=True)
class Watch:
    """What is done about every call: `around` (the outermost), `observer`, `guard` (the innermost)."""

    around: Around | None = None
    observer: Observer | None = None
    guard: Guard | None = None
    now: Callable[[], float] = time.perf_counter

    @property
    def idle(self) -> bool:
        """Nothing at all."""
        return self.around is None and self.observer is None and self.guard is None

    def over(self, handler: Any, method: str) -> Handler:
        """The handler of a method, watched."""
        inner = handler.stream_stream or handler.stream_unary or handler.unary_stream or handler.unary_unary
        call = self._streaming(inner, method) if handler.response_streaming else self._unary(inner, method)
        return _MAKERS[handler.request_streaming, handler.response_streaming](
            call, handler.request_deserializer, handler.response_serializer
        )

    def _unary(self, inner: Any, method: str) -> Any:
        guard, observer = self.guard, self.observer

        async def admitted(request: Any, context: Context) -> Any:
            if guard is not None and (refusal := guard.refusal(method, context)) is not None:
                await context.abort(refusal.code, refusal.details, refusal.metadata)
            return await inner(request, context)

        async def observed(request: Any, context: Context) -> Any:
            assert observer is not None
            begun, cancelled = self.now(), False
            try:
                return await admitted(request, context)
            except asyncio.CancelledError:
                cancelled = True
                raise
            finally:
                code = "CANCELLED" if cancelled else _CODE_NAMES.get(_number(context.code()), "UNKNOWN")
                observer(method, code, self.now() - begun)

        return self._surrounded(admitted if observer is None else observed, method)

    def _streaming(self, inner: Any, method: str) -> Any:
        """As one coroutine that writes: a generator left early would be told of late."""

        async def written(request: Any, context: Context) -> None:
            answers = inner(request, context)
            if not hasattr(answers, "aclose"):
                await answers  # it writes to the context itself
                return
            async with aclosing(answers):
                async for answer in answers:
                    await context.write(answer)

        return self._unary(written, method)

    def _surrounded(self, call: Any, method: str) -> Any:
        around = self.around
        if around is None:
            return call

        async def surrounded(request: Any, context: Context) -> Any:
            async with around(method, context):
                return await call(request, context)

        return surrounded


_MAKERS: dict[tuple[bool, bool], Callable[..., Handler]] = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}


class Registry:
    """Where services are registered at a server, with a watch over each of their methods."""

    def __init__(self, server: grpc.aio.Server, watch: Watch) -> None:
        self._server = server
        self._watch = watch

    def add_generic_rpc_handlers(self, services: Sequence[grpc.GenericRpcHandler]) -> None:
        """As of the server."""
        if not self._watch.idle:
            services = [_Watched(service, self._watch) for service in services]
        self._server.add_generic_rpc_handlers(services)

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Handler]) -> None:
        """What generated code calls besides; an asyncio server has no use for it."""


class _Watched(grpc.GenericRpcHandler):
    """The methods of a service, each wrapped once: an interceptor would do so at every call."""

    def __init__(self, methods: grpc.GenericRpcHandler, watch: Watch) -> None:
        self._methods = methods
        self._watch = watch
        self._made: dict[str, Handler] = {}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler | None:
        """The method's handler, None for one that is not there."""
        method = handler_call_details.method
        made = self._made.get(method)
        if made is None:
            handler = self._methods.service(handler_call_details)
            if handler is not None:
                made = self._made[method] = self._watch.over(handler, method)
        return made


class Guard:
    """Refuses callers without a token, and those that call too often."""

    def __init__(
        self,
        config: AccessConfig,
        tokens: Tokens | None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tokens = tokens
        self._now = now
        self._rate = CallRate(config.calls_per_second, config.burst_calls, config.max_callers)
        self._seldom = Seldom(config.refusal_log_interval_s, config.max_callers)

    def refusal(self, method: str, context: Context) -> Status | None:
        """Why the call is not made; None: it is."""
        host = host_of(context.peer())
        caller = host
        if self._tokens is not None:
            token, refused = self._authorized(self._tokens, method, context, host)
            if token is None:
                return refused
            caller = token.name
        if from_here(host):
            return None
        wait_s = self._rate.take(caller, self._now())
        if not wait_s:
            return None
        self._tell(caller, "calls too often")
        wait_ms = max(1, round(wait_s * 1000))
        return too_many_calls(f"calls: too many at once; try again in {wait_ms} ms", wait_s)

    def _authorized(
        self, tokens: Tokens, method: str, context: Context, host: str
    ) -> tuple[Token | None, Status | None]:
        """Whose call it is, or why it is not made."""
        sent = dict(context.invocation_metadata() or ()).get("authorization", "")
        kind, _, secret = (sent if isinstance(sent, str) else "").partition(" ")
        token = tokens.find(secret.strip()) if kind.lower() == "bearer" else None
        if token is None:
            self._tell(host, "shows no token of ours")
            return None, Status(
                grpc.StatusCode.UNAUTHENTICATED, "authorization: expects Bearer and a token of this server"
            )
        if token.scope is not Scope.WRITE and method.rpartition("/")[2] in WRITES:
            self._tell(token.name, f"may not call {method}")
            return None, Status(
                grpc.StatusCode.PERMISSION_DENIED, f"authorization: this token may not call {method[1:]}"
            )
        return token, None

    def _tell(self, caller: str, what: str) -> None:
        unsaid = self._seldom.due(caller, self._now())
        if unsaid is not None:
            log.warning("refused a call: %s %s (and %d times more since last told)", caller, what, unsaid)


def _number(code: object) -> int:
    if isinstance(code, grpc.StatusCode):
        return int(code.value[0])
    return code if isinstance(code, int) else 0


def host_of(peer: str) -> str:
    """The IP address of gRPC's name for a caller ("ipv4:192.0.2.1:4000", "ipv6:%5B::1%5D:4000")."""
    kind, _, rest = peer.partition(":")
    if kind not in ("ipv4", "ipv6"):
        return kind
    return rest.rpartition(":")[0].replace("%5B", "").replace("%5D", "").strip("[]")


def from_here(host: str) -> bool:
    """A program of this machine, over loopback or a Unix socket."""
    return host == "unix" or host == "::1" or host.startswith(("127.", "::ffff:127."))
