"""Limits the connections to an HTTP port, and the time a request and its answer may take.

uvicorn has no timeout for a request's head, and none for a client that stops reading; its limit on requests
counts connections that have sent nothing, and would refuse a probe because of them.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from typing import Any

import h11
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from fastmarket.config import WebConfig
from fastmarket.formats.address_block import address_block
from fastmarket.libp2p.scopes import MemoryScope, Priority

RESERVED = "fastmarket.reserved"  # in a scope's state: the connection is beyond the limit
ABORT = "fastmarket.abort"  # likewise: a function that cuts the connection
RETRY_AFTER_S = 1
# A connection: its objects, and a request's head or body in part, of which h11 takes no more at once.
GUEST_BYTES = 24 * 1024
# Our own bugs are logged; clients that speak no HTTP or want another protocol are not: that is a line for
# each.
log = logging.getLogger("fastmarket.web.http")
log.setLevel(logging.ERROR)


class Door:
    """The connections of one port. When it is full, a connection without a request in progress is closed for
    a new one: of the address with the most connections, preferably one that has not completed a request, and
    of those the oldest.

    If all have requests in progress, a few more are accepted, for the paths that are always answered.
    """

    def __init__(self, config: WebConfig) -> None:
        self._config = config
        self._inside: dict[Guest, None] = {}  # in order of arrival
        self._reserved: dict[Guest, None] = {}
        self._hosts: Counter[str] = Counter()  # connections inside, by host
        self.refused = 0

    def __len__(self) -> int:
        return len(self._inside) + len(self._reserved)

    @property
    def held_bytes(self) -> int:
        """Bytes held for all connections: what they take by themselves, and answers not read yet."""
        inside = (*self._inside, *self._reserved)
        return sum(GUEST_BYTES + guest.transport.get_write_buffer_size() for guest in inside)

    def enter(self, guest: Guest) -> bool:
        """False if the connection must be closed."""
        config = self._config
        full = len(self._inside) >= config.max_connections
        crowded = self._hosts[guest.host] >= config.max_connections_per_ip
        if not (full or crowded) or self._make_room(self._inside, None if full else guest.host):
            self._inside[guest] = None
            self._hosts[guest.host] += 1
            return True
        if len(self._reserved) >= config.reserved_connections and not self._make_room(self._reserved, None):
            self.refused += 1
            return False
        self._reserved[guest] = None
        guest.reserved = True
        return True

    def leave(self, guest: Guest) -> None:
        """Removes a connection; harmless if it has left."""
        if self._reserved.pop(guest, self) is self and self._inside.pop(guest, self) is None:
            self._hosts[guest.host] -= 1
        if not self._hosts[guest.host]:
            del self._hosts[guest.host]

    def _make_room(self, guests: dict[Guest, None], host: str | None) -> bool:
        """Closes one connection, of that host or any; False if all have requests in progress."""
        waiting = [guest for guest in guests if not guest.busy and host in (None, guest.host)]
        if not waiting:
            return False
        guest = min(waiting, key=lambda one: (-self._hosts[one.host], one.answered))
        self.refused += 1
        self.leave(guest)
        guest.transport.abort()
        return True


class Guest(H11Protocol):
    """An HTTP connection with its timeouts."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        door: Door,
        times: WebConfig,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.logger = log
        self.host = ""
        self.reserved = False
        self.answered = False
        self._door = door
        self._times = times
        self._request_timer: asyncio.TimerHandle | None = None
        self._unread_timer: asyncio.TimerHandle | None = None

    @property
    def busy(self) -> bool:
        """Whether a request has arrived and its answer is not complete."""
        return self.cycle is not None and not self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Starts the timeout of the first request."""
        super().connection_made(transport)
        self.host = address_block(self.client[0]) if self.client else ""
        if not self._door.enter(self):
            transport.abort()
            return
        self.app_state = {**self.app_state, ABORT: transport.abort}
        if self.reserved:
            self.app_state[RESERVED] = True
        self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancels the timers."""
        self._door.leave(self)
        self._request_came()
        self._take_unread(None)
        super().connection_lost(exc)
        self._unset_keepalive_if_required()

    def data_received(self, data: bytes) -> None:
        """Part of a request may arrive on its own; the rest has to follow in time."""
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        """The next request may have begun while this one was being answered."""
        self.answered = True
        super().on_response_complete()
        self._look()

    def pause_writing(self) -> None:
        """The client reads slowly, or not at all: starts the timeout."""
        super().pause_writing()
        self._take_unread(self.loop.call_later(self._times.unread_timeout_s, self.transport.abort))

    def resume_writing(self) -> None:
        """The client has read: cancels the timeout."""
        self._take_unread(None)
        super().resume_writing()

    def _look(self) -> None:
        if self.transport.is_closing():  # unread output would keep it open
            self._take_unread(self.loop.call_later(self._times.unread_timeout_s, self.transport.abort))
        whole = self.busy and not self.cycle.more_body
        between = not self.busy and self.conn.their_state is h11.IDLE and not self.conn.trailing_data[0]
        if whole or (between and self.answered):
            self._request_came()  # between requests uvicorn's keep-alive timeout applies
        elif self._request_timer is None:
            self._unset_keepalive_if_required()
            self._await_request()

    def _await_request(self) -> None:
        self._request_timer = self.loop.call_later(self._times.request_timeout_s, self.transport.abort)

    def _request_came(self) -> None:
        if self._request_timer is not None:
            self._request_timer.cancel()
            self._request_timer = None

    def _take_unread(self, timer: asyncio.TimerHandle | None) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
        self._unread_timer = timer


class Bounded:
    """An ASGI application limited to `max_requests` at once, with bodies up to `max_body_bytes`.

    `always` are the paths that are answered regardless.
    """

    def __init__(
        self, app: ASGIApp, config: WebConfig, always: frozenset[str], memory: MemoryScope | None = None
    ) -> None:
        self._app = app
        self._memory = memory
        self._config = config
        self._always = always
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers 503 if there are too many requests."""
        if scope["type"] != "http" or scope["path"] in self._always:
            await self._app(scope, receive, send)
            return
        memory = self._memory
        has_room = memory is None or memory.admits(self._config.max_body_bytes, Priority.CALLER)
        if not has_room or self._running >= self._config.max_requests or RESERVED in scope.get("state", {}):
            headers = {"Retry-After": str(RETRY_AFTER_S), "Connection": "close"}
            await PlainTextResponse("too many requests in progress\n", 503, headers)(scope, receive, send)
            return
        self._running += 1
        try:
            await self._app(scope, self._limited(receive), send)
        finally:
            self._running -= 1

    def _limited(self, receive: Receive) -> Receive:
        """Ends a longer body as if the client had disconnected."""
        left = self._config.max_body_bytes

        async def limited() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            return message if left >= 0 else {"type": "http.disconnect"}

        return limited
