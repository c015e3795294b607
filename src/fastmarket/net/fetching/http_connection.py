"""One HTTP/1.1 connection to a holder: a request at a time, its block received in place."""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

from fastmarket.errors import PeerFault
from fastmarket.net.fetching.http_response import HttpResponse, HttpResponses


class ConnectionOwner(Protocol):
    """Whose connection it is."""

    def on_response(self, connection: HttpConnection, response: HttpResponse) -> None:
        """The request is answered. The connection is closed already if it cannot be kept."""

    def on_lost(self, connection: HttpConnection, fault: PeerFault | None) -> None:
        """It has ended, with a request under way or without; `fault`: what the other side did wrong."""


class HttpConnection(asyncio.BufferedProtocol):
    """Made by a factory of asyncio's; usable once `connection_made` was called."""

    def __init__(self, owner: ConnectionOwner) -> None:
        self.served = 0
        """Requests answered; the other side may close a kept connection at any time, which is no failure."""
        self.is_closed = False
        self._owner = owner
        self._responses = HttpResponses()
        self._transport: asyncio.Transport | None = None

    def send(self, request: bytes, most_bytes: int, *, is_head: bool = False) -> None:
        """Sends a request; the connection must be idle."""
        assert self._transport is not None
        self._responses.expect(most_bytes, is_head=is_head)
        self._transport.write(request)

    def close(self) -> None:
        """Ends it at once; the owner hears nothing more of it."""
        self.is_closed = True
        self._responses.close()
        if self._transport is not None:
            self._transport.abort()

    # -- asyncio.BufferedProtocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are no subclasses
        if self.is_closed:
            self._transport.abort()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._responses.buffer()

    def buffer_updated(self, nbytes: int) -> None:
        if self.is_closed:
            return
        try:
            response = self._responses.handle_received(nbytes)
        except PeerFault as fault:
            self._lose(fault)
            return
        if response is None:
            return
        self.served += 1
        if not response.is_kept:
            self.close()
        self._owner.on_response(self, response)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self._lose(None)

    def _lose(self, fault: PeerFault | None) -> None:
        if not self.is_closed:
            self.close()
            self._owner.on_lost(self, fault)
