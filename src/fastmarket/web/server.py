"""A node's HTTP server: uvicorn on the node's own event loop, over a socket bound here."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.routing import BaseRoute

from fastmarket.config import WebConfig
from fastmarket.deferred_accept import BACKLOG, defer_accept
from fastmarket.errors import CallerFault
from fastmarket.libp2p.scopes import MemoryScope
from fastmarket.web.door import Bounded, Door, Guest
from fastmarket.wording import why_unbound

MAX_PORT = 65535


class WebServer:
    """Serves routes from `start` to `stop`; faults of the port are reported as `field`. Paths in `always` are
    answered regardless of the load."""

    def __init__(
        self,
        routes: Sequence[BaseRoute],
        config: WebConfig,
        host: str,
        port: int,
        field: str = "http-port",
        always: frozenset[str] = frozenset(),
        memory: MemoryScope | None = None,
    ) -> None:
        """`memory` counts what clients make the node hold; None: an operator's port, without such a limit."""
        self._host = host
        self._port = port
        self._field = field
        self.door = Door(config)
        self._memory = memory
        guest: Any = partial(Guest, door=self.door, times=config)
        self._server = _Server(
            uvicorn.Config(
                Bounded(Starlette(routes=routes), config, always, memory),
                http=guest,
                ws="none",
                loop="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                backlog=BACKLOG,
                server_header=False,
                date_header=True,
                timeout_keep_alive=config.keep_alive_s,
                timeout_graceful_shutdown=max(1, round(config.stop_grace_s)),
            )
        )
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> int:
        """Starts listening; returns the port. Raises CallerFault."""
        host, port = self._host, self._port
        if not 0 <= port <= MAX_PORT:
            raise CallerFault(self._field, f"{port} is not between 0 and {MAX_PORT}")
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            listening = socket.create_server((host, port), family=family, backlog=BACKLOG)
        except OSError as error:
            raise CallerFault(self._field, f"{host} port {port} {why_unbound(error)}") from None
        defer_accept(listening)
        if self._memory is not None:
            self._memory.watch(lambda: self.door.held_bytes)
        self._serving = asyncio.create_task(self._server.serve([listening]))
        return int(listening.getsockname()[1])

    async def stop(self) -> None:
        """Lets answers in progress finish first. Safe to call twice."""
        self._server.should_exit = True
        if self._serving is not None:
            await asyncio.wait([self._serving])


class _Server(uvicorn.Server):
    """Leaves signal handling to the daemon."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
