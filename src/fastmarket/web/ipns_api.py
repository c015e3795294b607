"""IPNS over HTTP (Delegated Routing V1, "IPNS API"): records of names are looked up and stored in the DHT."""

from __future__ import annotations

import asyncio
from email.utils import formatdate
from typing import Protocol

from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response

from fastmarket.config import WebConfig
from fastmarket.errors import QuorumFailed
from fastmarket.formats.identity import PeerId
from fastmarket.kad.records.signed_values import MAX_IPNS_BYTES, ipns_lifetime
from fastmarket.native.sha256 import sha256
from fastmarket.net.public_routing import Superseded
from fastmarket.web.media_types import IPNS_RECORD, accepts, media_type_of
from fastmarket.web.refused import Refused, cache_control, parsed
from fastmarket.web.write_access import WriteAccess

DEFAULT_TTL_S = 60  # of a record that does not say; the specification's
LAST_DATE_S = 253_402_300_799  # the last second of 9999: HTTP has four digits for a year
MAX_STALE_S = 48 * 3600  # however long it is valid: no longer than nodes hold it


class IpnsSource(Protocol):
    """What the API asks for; `net.public_routing.PublicRouting` has it."""

    def now(self) -> float:
        """Unix seconds."""

    async def get_ipns(self, name: PeerId, *, deadline_s: float) -> bytes | None:
        """The latest valid record of a name. Raises Busy."""

    async def put_ipns(self, name: PeerId, record: bytes, *, deadline_s: float) -> None:
        """Stores it; a majority has acknowledged. Raises Busy, CallerFault, Superseded, QuorumFailed."""


class IpnsApi:
    """The two pages of a name."""

    def __init__(self, source: IpnsSource, config: WebConfig, writers: WriteAccess) -> None:
        self._source = source
        self._config = config
        self._writers = writers

    async def get(self, request: Request) -> Response:
        """The record; 200 and another content type where none is found, as the specification wants it."""
        if not accepts(request.headers.getlist("accept"), IPNS_RECORD):
            raise Refused(406, f"a record is all there is; retry with `Accept: {IPNS_RECORD}`")
        name = parsed(PeerId.from_text, request.path_params["name"])
        record = await self._source.get_ipns(name, deadline_s=self._config.lookup_budget_s)
        if record is None:
            return PlainTextResponse("no record found\n", headers=self._headers_without())
        headers = self._headers(name, record)
        if _is_held(headers["Etag"], request.headers.get("if-none-match", "")):
            return Response(status_code=304, headers=headers)
        return Response(record, media_type=IPNS_RECORD, headers=headers)

    async def put(self, request: Request) -> Response:
        """Answers 200 when a majority of the closest nodes has acknowledged the record."""
        refusal = self._writers.refusal(request)
        if refusal is not None:
            challenge = {"WWW-Authenticate": "Bearer"} if refusal.status == 401 else None
            raise Refused(refusal.status, refusal.reason, challenge)
        if media_type_of(request.headers.get("content-type", "")) != IPNS_RECORD:
            raise Refused(406, f"only records are taken; retry with `Content-Type: {IPNS_RECORD}`")
        name = parsed(PeerId.from_text, request.path_params["name"])
        record = await self._body(request)
        try:
            await self._source.put_ipns(name, record, deadline_s=self._config.lookup_budget_s)
        except Superseded as fault:
            raise Refused(409, f"{fault.reason}; publish with a higher sequence number") from None
        except QuorumFailed as fault:
            raise Refused(503, f"not published: {fault.reason}; try again later") from None
        return Response(status_code=200)

    async def _body(self, request: Request) -> bytes:
        body = b""
        try:
            async with asyncio.timeout(self._config.write_timeout_s):
                async for part in request.stream():
                    body += part
                    if len(body) > MAX_IPNS_BYTES:
                        raise Refused(413, f"a record has at most {MAX_IPNS_BYTES} bytes")
        except TimeoutError:
            raise Refused(408, "the record did not come in time") from None
        except ClientDisconnect:
            raise Refused(400, "the record did not come whole") from None
        return body

    def _headers(self, name: PeerId, record: bytes) -> dict[str, str]:
        now, lifetime = self._source.now(), ipns_lifetime(record)
        # Nobody may use a record beyond its end, so no cache may show it then.
        left_s = max(int(lifetime.end - now), 0)
        max_age_s = min(int(lifetime.ttl_s or DEFAULT_TTL_S), left_s)
        stale_s = min(left_s - max_age_s, MAX_STALE_S)
        return {
            "Cache-Control": cache_control(max_age_s, stale_s) if left_s else "no-store",
            "Expires": formatdate(min(lifetime.end, LAST_DATE_S), usegmt=True),
            "Last-Modified": formatdate(now, usegmt=True),
            "Etag": f'"{sha256(record)[:16].hex()}"',
            "Vary": "Accept",
            "Content-Disposition": f'attachment; filename="{name}.ipns-record"',
        }

    def _headers_without(self) -> dict[str, str]:
        config = self._config
        return {
            "Cache-Control": cache_control(config.empty_max_age_s, config.empty_stale_s),
            "Vary": "Accept",
        }


def _is_held(tag: str, none_match: str) -> bool:
    """A weak tag counts (RFC 9110, 13.1.2): a proxy that compresses makes ours one."""
    held = {one.strip().removeprefix("W/") for one in none_match.split(",")}
    return not held.isdisjoint((tag, "*"))
