"""Wraps every gRPC call: admission, limits, duration and outcome."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import grpc
import grpc.aio

from fastmarket.config import AccessConfig
from fastmarket.formats.address_block import address_block
from fastmarket.libp2p.scopes import MemoryScope, Priority
from fastmarket.log_throttle import LogThrottle
from fastmarket.market.access import AccessScope, Token, Tokens
from fastmarket.market.call_bounds import Bounds
from fastmarket.market.call_rate import CallRate
from fastmarket.market.calls import Method
from fastmarket.market.grpc_errors import Status, too_many_calls
from fastmarket.market.sharing import CALLER, FROM_HERE, MAY_WRITE
from fastmarket.wording import suppressed_note

log = logging.getLogger(__name__)

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Around: TypeAlias = Callable[[str, Context], AbstractAsyncContextManager[None]]
Observer: TypeAlias = Callable[[str, str, float], None]
"""Called after each call with its method ("/market.Market/CheckHolders"), code ("OK") and seconds."""

LAST_STATUS_S = 1.0  # limit for sending the status of a call whose caller does not read
# A call in progress: its objects here and in gRPC, and its message.
CALL_BYTES = 16 * 1024
RETRY_S = 0.1  # the retry delay for a caller with too many concurrent calls
_NOTHING = nullcontext()
_CODE_NAMES = {code.value[0]: code.name for code in grpc.StatusCode}


class _UnreadError(Exception):
    """The caller does not read its answers."""


class _RevokedError(Exception):
    """The caller's token has been revoked."""


@dataclass(frozen=True, slots=True)
class CallTimer:
    """The wrappers around every call; from the outside in: `around`, `observer`, `guard`, `bounds`."""

    bounds: Bounds
    message_timeout_s: float
    unread_timeout_s: float
    around: Around | None = None
    observer: Observer | None = None
    guard: Guard | None = None
    now: Callable[[], float] = time.perf_counter
    memory: MemoryScope | None = None

    def over(self, method: Method, path: str) -> Handler:
        """The wrapped handler of a method."""
        handler: Any = method.handler
        inner = handler.stream_stream or handler.stream_unary or handler.unary_stream or handler.unary_unary
        streams = handler.request_streaming or handler.response_streaming
        if handler.response_streaming:
            inner = self._writing(inner)
        if not handler.request_streaming:
            inner = self._reading(inner)
        call = self._admitted(inner, method.scope, path, streams)
        if self.observer is not None:
            call = self._observed(call, path)
        if self.around is not None:
            call = self._surrounded(call, path)
        return _MAKERS[handler.response_streaming](
            call, handler.request_deserializer, handler.response_serializer
        )

    def _admitted(self, inner: Any, scope: AccessScope, path: str, streams: bool) -> Any:
        guard, bounds, memory = self.guard, self.bounds, self.memory

        async def admitted(request: Any, context: Context) -> Any:
            caller, may_write = caller_of(context.peer()), from_here(host_of(context.peer()))
            if guard is not None:
                caller, may_write, refusal = guard.admit(path, scope, context)
                if refusal is not None:
                    await context.abort(refusal.code, refusal.details, refusal.metadata)
            if memory is not None and not memory.admits(CALL_BYTES, Priority.CALLER):
                await bounds.before_refusal(caller)
                refusal = too_many_calls("calls: the node is near its memory limit; try again", RETRY_S)
                await context.abort(refusal.code, refusal.details, refusal.metadata)
            try:
                with bounds.one(caller, streams) as taken:
                    if not taken:
                        await bounds.before_refusal(caller)
                        refusal = too_many_calls("calls: too many in progress; try again", RETRY_S)
                        await context.abort(refusal.code, refusal.details, refusal.metadata)
                    CALLER.set(caller)
                    FROM_HERE.set(from_here(host_of(context.peer())))
                    MAY_WRITE.set(may_write)
                    with _NOTHING if guard is None or not streams else guard.going_on(caller, scope):
                        return await inner(request, context)
            except grpc.aio.AbortError as aborted:
                # gRPC keeps it with the call: without the frames below, which hold messages.
                aborted.__context__ = None
                raise aborted.with_traceback(None) from None
            except _RevokedError:
                refusal = Status(grpc.StatusCode.UNAUTHENTICATED, "authorization: the token was revoked")
            except _UnreadError:  # the call's share has been released
                refusal = too_many_calls("answers: not read in time", RETRY_S)
            try:
                # A status queues behind unread answers; if it cannot be sent, gRPC resets the stream.
                async with asyncio.timeout(LAST_STATUS_S):
                    await context.abort(refusal.code, refusal.details, refusal.metadata)
            except TimeoutError:
                raise asyncio.CancelledError from None

        return admitted

    def _observed(self, call: Any, path: str) -> Any:
        observer = self.observer
        assert observer is not None

        async def observed(request: Any, context: Context) -> Any:
            begun, cancelled = self.now(), False
            try:
                return await call(request, context)
            except asyncio.CancelledError:
                cancelled = True
                raise
            finally:
                code = "CANCELLED" if cancelled else _CODE_NAMES.get(_number(context.code()), "UNKNOWN")
                observer(path, code, self.now() - begun)

        return observed

    def _writing(self, inner: Any) -> Any:
        """Writes as one coroutine: a generator that is left early would be closed late."""

        async def written(request: Any, context: Context) -> None:
            answers = inner(request, context)
            if not hasattr(answers, "aclose"):
                await answers  # the handler writes to the context itself
                return
            async with aclosing(answers):
                async for answer in answers:
                    try:
                        async with asyncio.timeout(self.unread_timeout_s):
                            await context.write(answer)
                    except TimeoutError:
                        raise _UnreadError from None
                    except grpc.aio.InternalError:  # the caller has cancelled the call meanwhile
                        raise asyncio.CancelledError from None

        return written

    def _reading(self, inner: Any) -> Any:
        """Reads the one message of a method. gRPC would wait for it as long as the connection lasts, and only
        then ask us to admit the call."""

        async def read(messages: Any, context: Context) -> Any:
            try:
                async with asyncio.timeout(self.message_timeout_s):
                    message = await context.read()
            except TimeoutError:
                message = None
            if message is None:
                await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "request: no message arrived in time")
            if message is grpc.aio.EOF:
                await context.abort(
                    grpc.StatusCode.INVALID_ARGUMENT, "request: the call ended without a message"
                )
            return await inner(message, context)

        return read

    def _surrounded(self, call: Any, path: str) -> Any:
        around = self.around
        assert around is not None

        async def surrounded(request: Any, context: Context) -> Any:
            async with around(path, context):
                return await call(request, context)

        return surrounded


_MAKERS: dict[bool, Callable[..., Handler]] = {
    False: grpc.stream_unary_rpc_method_handler,
    True: grpc.stream_stream_rpc_method_handler,
}
"""By whether answers stream. To gRPC, requests always do: see `CallTimer._reading`."""


class Registry:
    """Registers services at a server, with a watch around each of their methods."""

    def __init__(self, server: grpc.aio.Server, watch: CallTimer) -> None:
        self._server = server
        self._watch = watch

    def add(self, service: str, methods: Mapping[str, Method]) -> None:
        """Adds a service by its full name, with its methods by name.

        gRPC takes up one new call of each registered method about every fourth turn of the loop, in the order
        they came; all others share one such queue. So 1,600 streams that are opened at once delay calls of
        their own method, and of no other. Methods of one answer share the queue, for each that is registered
        costs every call: with all of them, CheckHolders took 150 us of CPU more.
        """
        streams = {name: method for name, method in methods.items() if _streams(method)}
        watched = {name: self._watch.over(method, f"/{service}/{name}") for name, method in streams.items()}
        if watched:
            self._server.add_registered_method_handlers(service, watched)
        found = {f"/{service}/{name}": method for name, method in methods.items() if name not in streams}
        self.add_lazily(found.get)

    def add_lazily(self, find: Callable[[str], Method | None]) -> None:
        """`find` is called with paths ("/market.Market/CheckHolders"); each method it finds is kept."""
        self._server.add_generic_rpc_handlers((_Watched(find, self._watch),))


def _streams(method: Method) -> bool:
    handler = method.handler
    return bool(handler.request_streaming or handler.response_streaming)


class _Watched(grpc.GenericRpcHandler):
    """Methods, each wrapped once: an interceptor would wrap them at every call."""

    def __init__(self, find: Callable[[str], Method | None], watch: CallTimer) -> None:
        self._find = find
        self._watch = watch
        self._made: dict[str, Handler] = {}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler | None:
        """The method's handler, or None if there is no such method."""
        path = handler_call_details.method
        made = self._made.get(path)
        if made is None:
            method = self._find(path)
            if method is not None:
                made = self._made[path] = self._watch.over(method, path)
        return made


class CallAdmission(NamedTuple):
    """The name that a caller is accounted under, whether it may write (`MAY_WRITE`), and why its call is
    refused (None: it is not)."""

    caller: str
    may_write: bool
    refusal: Status | None


class Guard:
    """Refuses callers without a valid token, and those that call too often."""

    def __init__(
        self,
        config: AccessConfig,
        tokens: Tokens | None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tokens = tokens
        self._now = now
        self._rate = CallRate(config.calls_per_second, config.burst_calls, config.max_callers)
        self._log_throttle = LogThrottle(config.refusal_log_interval_s, config.max_callers)
        self._going_on: dict[asyncio.Task[Any], tuple[str, AccessScope]] = {}
        self._revoked: set[asyncio.Task[Any]] = set()

    @property
    def tokens(self) -> Tokens | None:
        """The tokens in force; they may be replaced while calls are served."""
        return self._tokens

    @tokens.setter
    def tokens(self, tokens: Tokens | None) -> None:
        self._tokens = tokens
        good = {token.name: token.scope for token in tokens or ()}
        for task, (caller, scope) in self._going_on.items():
            if tokens is not None and not (caller in good and good[caller].allows(scope)):
                self._revoked.add(task)
                task.cancel()

    @contextmanager
    def going_on(self, caller: str, scope: AccessScope) -> Iterator[None]:
        """Tracks a long-running call during the block: it ends when its token is revoked."""
        task = asyncio.current_task()
        assert task is not None
        self._going_on[task] = caller, scope
        try:
            yield
        except asyncio.CancelledError:
            if task not in self._revoked:
                raise
            task.uncancel()
            raise _RevokedError from None
        finally:
            del self._going_on[task]
            self._revoked.discard(task)

    def admit(self, path: str, scope: AccessScope, context: Context) -> CallAdmission:
        """Who calls, and whether it may."""
        host = host_of(context.peer())
        caller, may_write = caller_of(context.peer()), from_here(host)
        if self._tokens is not None:
            token, refused = self._authorized(self._tokens, path, scope, context, host)
            if token is None:
                return CallAdmission(caller, False, refused)
            caller, may_write = token.name, token.scope is AccessScope.WRITE
        wait_s = 0.0 if from_here(host) else self._rate.take(caller, self._now())
        if not wait_s:
            return CallAdmission(caller, may_write, None)
        self._tell(caller, "calls too often")
        wait_ms = max(1, round(wait_s * 1000))
        refused = too_many_calls(f"calls: rate limit exceeded; try again in {wait_ms} ms", wait_s)
        return CallAdmission(caller, may_write, refused)

    def _authorized(
        self, tokens: Tokens, path: str, scope: AccessScope, context: Context, host: str
    ) -> tuple[Token | None, Status | None]:
        """The caller's token, or why its call is refused."""
        sent = dict(context.invocation_metadata() or ()).get("authorization", "")
        kind, _, secret = (sent if isinstance(sent, str) else "").partition(" ")
        token = tokens.find(secret.strip()) if kind.lower() == "bearer" else None
        if token is None:
            self._tell(host, "has no valid token")
            return None, Status(
                grpc.StatusCode.UNAUTHENTICATED, "authorization: expects `Bearer` and a token of this server"
            )
        if not token.scope.allows(scope):
            self._tell(token.name, f"may not call {path}")
            return None, Status(
                grpc.StatusCode.PERMISSION_DENIED, f"authorization: this token may not call {path[1:]}"
            )
        return token, None

    def _tell(self, caller: str, what: str) -> None:
        suppressed = self._log_throttle.due(caller, self._now())
        if suppressed is not None:
            log.warning("refused a call: %s %s%s", caller, what, suppressed_note(suppressed))


def _number(code: object) -> int:
    if isinstance(code, grpc.StatusCode):
        return int(code.value[0])
    return code if isinstance(code, int) else 0


def caller_of(peer: str) -> str:
    """The name a caller is accounted under: its address, or for a local program its connection."""
    host = host_of(peer)
    return peer if from_here(host) else address_block(host)


def host_of(peer: str) -> str:
    """The IP address in gRPC's name of a caller ("ipv4:192.0.2.1:4000", "ipv6:%5B::1%5D:4000")."""
    kind, _, rest = peer.partition(":")
    if kind not in ("ipv4", "ipv6"):
        return kind
    return rest.rpartition(":")[0].replace("%5B", "").replace("%5D", "").strip("[]")


def from_here(host: str) -> bool:
    """Whether the caller is on this machine, over loopback or a Unix socket."""
    return host == "unix" or host == "::1" or host.startswith(("127.", "::ffff:127."))
