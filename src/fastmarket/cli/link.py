"""The client's connection to one gRPC server: made when first needed, and again after it was lost."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from fastmarket.errors import NetworkFault, RequestTimeout

if TYPE_CHECKING:
    import asyncio

    from fastmarket.market.client_values import ClientTls
    from fastmarket.market.grpc_client import MarketClient

T = TypeVar("T")
CONNECT_TIMEOUT_S = 5.0


class MarketLink:
    """Runs one call at a time on its own event loop; nothing runs between calls."""

    def __init__(self, target: str, tls: ClientTls | None = None, token: str | None = None) -> None:
        """`target` is `host:port`; does not connect yet."""
        self.target = target
        self._tls = tls
        self._token = token
        self.took_ms = 0.0
        self._runner: asyncio.Runner | None = None
        self._client: MarketClient | None = None

    def __enter__(self) -> MarketLink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner is not None:
            try:
                self._runner.run(self._drop())
            finally:
                self._runner.close()

    def call(self, action: Callable[[MarketClient], Awaitable[T]]) -> T:
        """Returns the result of `action`; `took_ms` is then its duration, without connecting.

        Raises what MarketClient raises. KeyboardInterrupt (Ctrl-C) ends the call, not the link.
        """
        if self._runner is None:
            import asyncio  # the `cid` command does not need it

            self._runner = asyncio.Runner()
        return self._runner.run(self._call(action))

    async def _call(self, action: Callable[[MarketClient], Awaitable[T]]) -> T:
        from fastmarket.market.grpc_client import ServerUnavailable

        kept = self._client
        client = kept or await self._connect()
        try:
            return await self._timed(client, action)
        except ServerUnavailable:
            await self._drop()
            if kept is None:
                raise
        # The connection was an old one: the server may have been restarted. All our calls are safe to repeat.
        return await self._timed(await self._connect(), action)

    async def _timed(self, client: MarketClient, action: Callable[[MarketClient], Awaitable[T]]) -> T:
        started = time.perf_counter()
        answer = await action(client)
        self.took_ms = round((time.perf_counter() - started) * 1000, 3)
        return answer

    async def _connect(self) -> MarketClient:
        from fastmarket.market.grpc_client import MarketClient, ServerUnavailable

        client = MarketClient(self.target, tls=self._tls, token=self._token)
        try:
            await client.get_node(timeout_s=CONNECT_TIMEOUT_S)
        except (ServerUnavailable, RequestTimeout):
            await client.close()
            from fastmarket.cli import unreachable

            raise NetworkFault(await unreachable.why(self.target, self._tls)) from None
        except BaseException:
            await client.close()
            raise
        self._client = client
        return client

    async def _drop(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()
