"""One request on a connection of its own."""

from __future__ import annotations

import asyncio

from fastmarket.errors import PeerFault
from fastmarket.net.fetching.http_connection import HttpConnection
from fastmarket.net.fetching.http_response import HttpResponse


class HttpCall:
    """The owner of one connection, for one answer."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[HttpResponse] = asyncio.get_running_loop().create_future()

    def on_response(self, connection: HttpConnection, response: HttpResponse) -> None:
        if not self.answer.done():
            self.answer.set_result(response)

    def on_lost(self, connection: HttpConnection, fault: PeerFault | None) -> None:
        if not self.answer.done():
            self.answer.set_exception(fault or PeerFault("the connection ended"))
            self.answer.exception()  # whether or not anybody waits for it
