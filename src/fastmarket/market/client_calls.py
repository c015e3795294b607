"""How the client calls a node: the channel, deadlines, and the errors of its replies."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import grpc.aio
from google.protobuf.message import Message

from fastmarket.errors import CallerFault
from fastmarket.live import Live
from fastmarket.market.channel import open_channel
from fastmarket.market.client_values import ClientTls
from fastmarket.market.grpc_errors import error_of

Reply = TypeVar("Reply", bound=Message)

DEFAULT_TIMEOUT_S = 15.0  # longer than the server waits for a quorum


@dataclass(frozen=True, slots=True)
class RpcMethod(Generic[Reply]):
    """A method: its path and its reply type."""

    path: str
    reply: type[Reply]


@contextmanager
def sendable() -> Iterator[None]:
    """Around the making of a request: raises CallerFault("request", ...) for a value that none can hold."""
    try:
        yield
    except UnicodeError:
        raise CallerFault("request", "a text that is not UTF-8") from None
    except ValueError as error:
        raise CallerFault("request", str(error)) from None


class ClientCalls(Live):
    """A channel to the node at `target`, and calls on it."""

    def __init__(
        self,
        target: str,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        tls: ClientTls | None = None,
        token: str | None = None,
    ) -> None:
        """`timeout_s`: default timeout of each call. `token`: one of the server's tokens, sent with every
        call.

        Raises `CallerFault` for a file of `tls` that cannot be read ("tls"), and for a token that would be
        sent to another machine in plain text ("token").
        """
        self.target = target
        self._timeout_s = timeout_s
        self._metadata = () if token is None else (("authorization", f"Bearer {token}"),)
        self._channel = open_channel(target, tls, secret=token is not None)

    def __repr__(self) -> str:
        return f"MarketClient({self.target!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connection."""
        await self._channel.close()

    async def _call(self, method: RpcMethod[Reply], request: Message, timeout_s: float | None) -> Reply:
        call = self._channel.unary_unary(
            method.path,
            request_serializer=type(request).SerializeToString,
            response_deserializer=method.reply.FromString,
        )
        try:
            return await call(request, timeout=self._within(timeout_s), metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            raise error_of(error, self.target) from None

    def _within(self, timeout_s: float | None) -> float:
        return self._timeout_s if timeout_s is None else timeout_s

    def _stream(
        self, method: RpcMethod[Reply], request: Message, timeout_s: float | None
    ) -> AsyncGenerator[Reply, None]:
        call = self._channel.unary_stream(
            method.path,
            request_serializer=type(request).SerializeToString,
            response_deserializer=method.reply.FromString,
        )
        return self._replies(call(request, timeout=timeout_s, metadata=self._metadata))

    def _exchange(
        self, method: RpcMethod[Reply], requests: AsyncIterator[Message], timeout_s: float | None
    ) -> AsyncGenerator[Reply, None]:
        call = self._channel.stream_stream(
            method.path,
            request_serializer=_serialize,
            response_deserializer=method.reply.FromString,
        )
        return self._replies(call(requests, timeout=timeout_s, metadata=self._metadata))

    async def _replies(self, call: Any) -> AsyncGenerator[Any, None]:
        """Yields replies; leaving early also cancels the call on the node."""
        try:
            async for reply in call:
                yield reply
        except grpc.aio.AioRpcError as error:
            raise error_of(error, self.target) from None
        finally:
            call.cancel()


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()
