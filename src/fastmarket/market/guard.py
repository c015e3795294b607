"""What stands around every gRPC call: may it be made, how long it took, how it ended."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, asynccontextmanager
from typing import Any, TypeAlias

import grpc
import grpc.aio

from fastmarket.config import AccessConfig
from fastmarket.market.access import Scope, Tokens
from fastmarket.market.call_rate import CallRate, Seldom
from fastmarket.market.grpc_errors import too_many_calls

log = logging.getLogger(__name__)

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Around: TypeAlias = Callable[[str, Context], AbstractAsyncContextManager[None]]
Observer: TypeAlias = Callable[[str, str, float], None]
"""Told of each call that ended: its method ("/market.Market/CheckHolders"), code ("OK") and seconds."""

# Everything else reads. Whoever has no token for these may at least see that the node lives.
WRITES = frozenset({"RegisterFile", "RegisterFiles", "WithdrawFile", "PutRecord"})
OPEN_SERVICE = "/grpc.health.v1.Health/"
_CODE_NAMES = {code.value[0]: code.name for code in grpc.StatusCode}


class CallWrapper(grpc.aio.ServerInterceptor):
    """Puts `arounds` around every call, the first outermost."""

    def __init__(self, arounds: Sequence[Around]) -> None:
        self._arounds = tuple(arounds)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """The method's handler, wrapped; unknown methods and health checks as they are."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or method.startswith(OPEN_SERVICE):
            return handler
        return self._wrapped(handler, method)

    def _wrapped(self, handler: Any, method: str) -> Handler:
        arounds = self._arounds
        inner = handler.stream_stream or handler.stream_unary or handler.unary_stream or handler.unary_unary

        async def unary(request: Any, context: Context) -> Any:
            async with AsyncExitStack() as stack:
                for around in arounds:
                    await stack.enter_async_context(around(method, context))
                return await inner(request, context)

        async def stream(request: Any, context: Context) -> None:
            async with AsyncExitStack() as stack:
                for around in arounds:
                    await stack.enter_async_context(around(method, context))
                answers = inner(request, context)
                if not hasattr(answers, "aclose"):
                    await answers  # it writes to the context itself
                    return
                async with aclosing(answers):
                    async for answer in answers:
                        await context.write(answer)

        kinds = {
            (False, False): (grpc.unary_unary_rpc_method_handler, unary),
            (False, True): (grpc.unary_stream_rpc_method_handler, stream),
            (True, False): (grpc.stream_unary_rpc_method_handler, unary),
            (True, True): (grpc.stream_stream_rpc_method_handler, stream),
        }
        make, call = kinds[handler.request_streaming, handler.response_streaming]
        return make(call, handler.request_deserializer, handler.response_serializer)


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

    @asynccontextmanager
    async def around(self, method: str, context: Context) -> AsyncIterator[None]:
        """Aborts the call, or lets it go on."""
        host = host_of(context.peer())
        caller = host
        if self._tokens is not None:
            caller = await self._authorized(self._tokens, method, context, host)
        if not from_here(host):
            wait_s = self._rate.take(caller, self._now())
            if wait_s:
                self._tell(caller, "calls too often")
                wait_ms = max(1, round(wait_s * 1000))
                status = too_many_calls(f"calls: too many at once; try again in {wait_ms} ms", wait_s)
                await context.abort(status.code, status.details, status.metadata)
        yield

    async def _authorized(self, tokens: Tokens, method: str, context: Context, host: str) -> str:
        """Who it is; aborts."""
        sent = dict(context.invocation_metadata() or ()).get("authorization", "")
        kind, _, secret = (sent if isinstance(sent, str) else "").partition(" ")
        token = tokens.find(secret.strip()) if kind.lower() == "bearer" else None
        if token is None:
            self._tell(host, "shows no token of ours")
            await context.abort(
                grpc.StatusCode.UNAUTHENTICATED, "authorization: expects Bearer and a token of this server"
            )
        elif token.scope is not Scope.WRITE and method.rpartition("/")[2] in WRITES:
            self._tell(token.name, f"may not call {method}")
            await context.abort(
                grpc.StatusCode.PERMISSION_DENIED, f"authorization: this token may not call {method[1:]}"
            )
        assert token is not None, "abort raises"
        return token.name

    def _tell(self, caller: str, what: str) -> None:
        unsaid = self._seldom.due(caller, self._now())
        if unsaid is not None:
            log.warning("refused a call: %s %s (and %d times more since last told)", caller, what, unsaid)


def observing(observer: Observer, now: Callable[[], float] = time.perf_counter) -> Around:
    """Tells `observer` of every call that ends."""

    @asynccontextmanager
    async def around(method: str, context: Context) -> AsyncIterator[None]:
        begun = now()
        cancelled = True
        try:
            yield
            cancelled = False
        except asyncio.CancelledError:
            raise
        except BaseException:
            cancelled = False
            raise
        finally:
            code = "CANCELLED" if cancelled else _CODE_NAMES.get(_number(context.code()), "UNKNOWN")
            observer(method, code, now() - begun)

    return around


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
