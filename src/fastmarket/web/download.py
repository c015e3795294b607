"""The answer that is a file: its bytes as they are verified, saved by the browser as they come."""

from __future__ import annotations

import unicodedata
from contextlib import aclosing
from urllib.parse import quote

from starlette.responses import Response
from starlette.types import Send

from fastmarket.errors import FastmarketError
from fastmarket.exchange.fetching.order import FetchPlan
from fastmarket.web.gets import Get, Gets
from fastmarket.web.refused import Refused, refusal_of
from fastmarket.web.streaming import Written

# Kinds of characters that no name to save has: control characters, and those that turn the direction of text
# so that it seems to end in another way; surrogates cannot be sent.
_UNFIT = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
# What separates directories or streams of a file, on any system, or stands for something in a shell.
_RESERVED = frozenset('/\\:*?"<>|')

_SHORT = 5  # characters of an ending such as "jpeg", at most four bytes each


class Download(Written):
    """A get's file. It has the length that its root promises; if it cannot be completed, the connection is
    cut, so that the browser knows."""

    def __init__(self, get: Get, gets: Gets, piece_bytes: int) -> None:
        """`piece_bytes` are sent at a time."""
        super().__init__("application/octet-stream")
        self._get = get
        self._gets = gets
        self._piece_bytes = piece_bytes

    async def given_up(self) -> None:
        """See `Written`."""
        await self._get.stopped()

    def refusal(self, fault: FastmarketError | None) -> Response:
        """See `Written`."""
        return (refusal_of(fault) if fault is not None else Refused(410, "it was stopped")).response()

    async def write(self, send: Send) -> bool:
        """See `Written`."""
        async with aclosing(self._gets.file(self._get)) as parts:
            try:
                async for part in parts:
                    if isinstance(part, bytes):
                        await self._send(part, send)
                    elif not self._is_begun:
                        await self._begin_file(part, send)
            except FastmarketError:
                if self._is_begun:
                    return False  # whoever looks at the get is told
                raise
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        return True

    async def _begin_file(self, plan: FetchPlan, send: Send) -> None:
        self.headers["Content-Length"] = str(plan.wanted)
        self.headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(self._get.name, safe='')}"
        self.headers["Accept-Ranges"] = "none"
        await self.begin(send)

    async def _send(self, part: bytes, send: Send) -> None:
        view = memoryview(part)
        for at in range(0, len(part), self._piece_bytes):
            piece = bytes(view[at : at + self._piece_bytes])
            await send({"type": "http.response.body", "body": piece, "more_body": True})


def file_name(text: str, otherwise: str, most_bytes: int) -> str:
    """A name under which a browser may save a file, made of a stranger's text: one part of a path, not
    hidden, of at most so many bytes; `otherwise` if nothing is left."""
    kept = "".join(
        "_" if char in _RESERVED else char for char in text if unicodedata.category(char) not in _UNFIT
    )
    name = kept.strip().lstrip(". ").rstrip(". ")
    if len(name.encode()) > most_bytes:
        stem, dot, ending = name.rpartition(".")
        # The ending says what it is, and stays if it is short.
        ending = dot + ending if stem and len(ending) < _SHORT else ""
        left = most_bytes - len(ending.encode())
        name = name.removesuffix(ending).encode()[:left].decode("utf-8", "ignore") + ending
    return name if name.strip("_ ") else otherwise
