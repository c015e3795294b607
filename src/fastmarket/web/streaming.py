"""Answers written while they come into being, by a coroutine that ends with its reader."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from fastmarket.errors import FastmarketError, Unmet
from fastmarket.web.door import ABORT
from fastmarket.web.media_types import NDJSON
from fastmarket.web.refused import plain_of, refusal_of

Json = dict[str, object]


class Written(Response):
    """An answer whose body `write` sends. When the reader leaves, `write` is cancelled; when an answer does
    not come to its end, its connection is cut, so that no reader takes it for whole."""

    def __init__(self, media_type: str) -> None:
        super().__init__(media_type=media_type)
        del self.headers["content-length"]  # of no body at all
        self._is_begun = False

    async def write(self, send: Send) -> bool:
        """Begins the answer, sends its body and completes it; False if it cannot be completed.

        It may instead raise FastmarketError before it begins."""
        raise NotImplementedError

    async def given_up(self) -> None:
        """Returns when the answer is not wanted any more; never by itself."""
        await asyncio.Event().wait()

    def refusal(self, fault: FastmarketError | None) -> Response:
        """The answer if there is no other: for a fault, or because it was given up."""
        return refusal_of(fault or Unmet("answer", "it was given up")).response()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See `starlette.responses.Response`."""
        work = asyncio.ensure_future(self.write(send))
        gone = asyncio.ensure_future(_gone(receive))
        given_up = asyncio.ensure_future(self.given_up())
        with suppress(asyncio.CancelledError):  # the server stops; it would log that as a fault of ours
            await asyncio.wait((work, gone, given_up), return_when=asyncio.FIRST_COMPLETED)
        for task in (work, given_up):
            task.cancel()
        await asyncio.wait((work, given_up))
        try:
            if not gone.done():
                await self._end(work, gone, scope, send)
        finally:
            gone.cancel()

    async def _end(
        self, work: asyncio.Future[bool], gone: asyncio.Future[None], scope: Scope, send: Send
    ) -> None:
        fault = None if work.cancelled() else work.exception()
        if fault is not None and not isinstance(fault, FastmarketError):
            raise fault
        if self._is_begun:
            if fault is None and not work.cancelled() and work.result():
                return
            abort = scope.get("state", {}).get(ABORT)
            if abort is not None:
                abort()
                await asyncio.wait((gone,))
        else:
            refusal = self.refusal(fault)
            refusal.headers.update({**self.headers, **refusal.headers})
            for message in _messages(refusal):
                await send(message)

    async def begin(self, send: Send) -> None:
        """Sends status and headers."""
        self._is_begun = True
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})


class JsonLines(Written):
    """A line of JSON for each item, and a last one that says how it ended: its `end` is "complete" or
    "failed". The last item may say more of a complete one."""

    def __init__(self, lines: AsyncGenerator[Json, None]) -> None:
        super().__init__(NDJSON)
        self._lines = lines

    async def write(self, send: Send) -> bool:
        """See `Written`."""
        end: Json = {"end": "complete"}
        async with aclosing(self._lines) as lines:
            await self.begin(send)
            try:
                async for line in lines:
                    if "end" in line:
                        end = line
                    else:
                        await _send_line(send, line, more=True)
            except FastmarketError as fault:
                end = {"end": "failed", "error": str(fault)}
                end |= {"plain": plain} if (plain := plain_of(fault)) else {}
        await _send_line(send, end, more=False)
        return True


def _messages(response: Response) -> tuple[Message, Message]:
    start = {"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers}
    return start, {"type": "http.response.body", "body": response.body}


async def _send_line(send: Send, item: Json, *, more: bool) -> None:
    line = json.dumps(item, separators=(",", ":")).encode() + b"\n"
    await send({"type": "http.response.body", "body": line, "more_body": more})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
