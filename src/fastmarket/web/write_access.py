"""Who may write over HTTP: programs on this machine, or callers with a token that may write.

Pages of other sites may not, although the browser that runs them is a program on this machine.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from starlette.requests import Request

from fastmarket.market.access import AccessScope, Tokens, is_loopback
from fastmarket.market.guard import from_here
from fastmarket.web.hosts import asked_host

# Headers a proxy adds to others' requests. A proxy that adds none cannot be told from a local program.
FORWARDED = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip")
# How a browser describes the initiator of a request (Fetch Metadata); programs send nothing.
_OURS = frozenset({None, "none", "same-origin"})


@dataclass(frozen=True, slots=True)
class WriteRefusal:
    """A status code, and what to do about it."""

    status: int
    reason: str


class WriteAccess:
    """With `tokens`, requires one that may write, as gRPC does; without, a program on this machine."""

    def __init__(self, tokens: Tokens | None = None) -> None:
        self.tokens = tokens
        """May be replaced while requests are served."""

    def refusal(self, request: Request) -> WriteRefusal | None:
        """Why a write is refused; None: it is allowed."""
        headers = request.headers
        if headers.get("sec-fetch-site") not in _OURS or not _is_same_origin(headers.get("origin"), request):
            return WriteRefusal(403, "pages of other sites may not write")
        if self.tokens is not None:
            return self._without_token(self.tokens, headers.get("authorization", ""))
        if not is_from_here(request):
            return WriteRefusal(
                403, "only programs on the node's machine may write; to allow others, start it with --tokens"
            )
        if not is_loopback(asked_host(request)):
            # A stranger's name that resolves to us (DNS rebinding).
            return WriteRefusal(421, "unknown host; use a loopback address or localhost")
        return None

    def _without_token(self, tokens: Tokens, authorization: str) -> WriteRefusal | None:
        token = tokens.find(_secret(authorization))
        if token is None:
            return WriteRefusal(401, "writing requires `authorization: Bearer` with a token of this server")
        return None if token.scope is AccessScope.WRITE else WriteRefusal(403, "this token may not write")


def is_from_here(request: Request) -> bool:
    """Whether a program on this machine sends it, as far as its headers tell."""
    return from_here(_host(request)) and not any(name in request.headers for name in FORWARDED)


def _secret(authorization: str) -> str:
    """The token of a bearer, or a password, which is what Kubo sends for http://any:TOKEN@host."""
    kind, _, sent = authorization.partition(" ")
    if kind.lower() == "bearer":
        return sent.strip()
    if kind.lower() != "basic":
        return ""
    try:
        return base64.b64decode(sent.strip(), validate=True).decode().partition(":")[2]
    except (binascii.Error, ValueError):
        return ""


def _is_same_origin(origin: str | None, request: Request) -> bool:
    return origin is None or origin.partition("://")[2] == request.headers.get("host", "")


def _host(request: Request) -> str:
    return "" if request.client is None else request.client.host
