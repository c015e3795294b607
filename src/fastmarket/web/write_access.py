"""Who may change something over HTTP: programs of this machine, or whoever shows a token that may write.

Pages of other sites may not, though the browser that runs them is a program of this machine.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from starlette.requests import Request

from fastmarket.market.access import AccessScope, Tokens, is_loopback
from fastmarket.market.guard import from_here
from fastmarket.web.hosts import asked_host

# What a proxy adds to a request of somebody else. One that adds nothing cannot be told from a local program.
FORWARDED = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip")
# What a browser says of who asks (Fetch Metadata); programs say nothing.
_OURS = frozenset({None, "none", "same-origin"})


@dataclass(frozen=True, slots=True)
class WriteRefusal:
    """A status code, and what to do about it."""

    status: int
    reason: str


class WriteAccess:
    """With `tokens`, it takes one that may write, as for gRPC; without, a program of this machine."""

    def __init__(self, tokens: Tokens | None = None) -> None:
        self.tokens = tokens
        """May be replaced while requests come."""

    def refusal(self, request: Request) -> WriteRefusal | None:
        """Why a write is not made; None: it is."""
        headers = request.headers
        if headers.get("sec-fetch-site") not in _OURS or not _is_same_origin(headers.get("origin"), request):
            return WriteRefusal(403, "pages of other sites may not write")
        if self.tokens is not None:
            return self._without_token(self.tokens, headers.get("authorization", ""))
        if any(name in headers for name in FORWARDED) or not from_here(_host(request)):
            return WriteRefusal(
                403, "only programs on the node's machine may write; for others start it with --tokens"
            )
        if not is_loopback(asked_host(request)):
            # A name of somebody else's that leads here (DNS rebinding).
            return WriteRefusal(421, "unknown host; write to a loopback address, or as localhost")
        return None

    def _without_token(self, tokens: Tokens, authorization: str) -> WriteRefusal | None:
        token = tokens.find(_secret(authorization))
        if token is None:
            return WriteRefusal(401, "writing takes `authorization: Bearer` and a token of this server")
        return None if token.scope is AccessScope.WRITE else WriteRefusal(403, "this token may not write")


def _secret(authorization: str) -> str:
    """A bearer's token; or a password, which is what Kubo makes of http://any:TOKEN@host."""
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
