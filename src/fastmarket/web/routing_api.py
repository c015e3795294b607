"""Delegated Routing V1 (specs.ipfs.tech/routing/http-routing-v1): clients ask this node over HTTP for the
providers of content, the addresses of a peer, and the record of a name. Answers are JSON, or NDJSON with each
record flushed as it is found."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from email.utils import formatdate
from functools import partial
from typing import Protocol

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from fastmarket.config import KadConfig, WebConfig
from fastmarket.errors import Busy, CallerFault, NetworkFault, StorageFault
from fastmarket.formats.cid import Cid
from fastmarket.formats.identity import PeerId
from fastmarket.net.gateways import TRANSFERS
from fastmarket.net.public_routing import FoundPeers
from fastmarket.web.filters import UNKNOWN, Filters
from fastmarket.web.ipns_api import IpnsApi, IpnsSource
from fastmarket.web.media_types import JSON, NDJSON, accepted
from fastmarket.web.peer_records import Limits, best_first, in_order
from fastmarket.web.refused import Refused, cache_control, parsed
from fastmarket.web.write_access import WriteAccess

__all__ = ["JSON", "NDJSON", "PREFIX", "RoutingApi", "RoutingSource"]

PREFIX = "/routing/v1"
# Any origin may read: the specification requires it, and nothing here is secret.
CORS = {"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Methods": "GET, OPTIONS"}
RETRY_AFTER_S = 1
READING = frozenset({"GET", "HEAD"})
GONE = 499  # never read: the client has disconnected

Lines = AsyncGenerator[bytes, None]
Page = Callable[[Request], Awaitable[Response]]


class RoutingSource(IpnsSource, Protocol):
    """The lookups the API needs; `net.public_routing.PublicRouting` implements them.

    Each starts when called, and then raises Busy (`stream_peer`: at its first item); closing the returned
    iterator ends it.
    """

    def stream_providers(self, key: bytes, *, deadline_s: float) -> FoundPeers:
        """Providers as they are found; one found without addresses may be repeated with them."""

    def stream_peer(self, peer_id: PeerId, *, deadline_s: float) -> FoundPeers:
        """Yields the peer once, if it is found."""

    def stream_closest(self, key: bytes, *, deadline_s: float) -> FoundPeers:
        """The closest peers, closest first, after the lookup has ended."""


class RoutingApi:
    """The routes; the source provides `now`."""

    def __init__(
        self, source: RoutingSource, config: WebConfig, kad: KadConfig, writers: WriteAccess | None = None
    ) -> None:
        """`writers`: who may store records of names; by default, programs on this machine."""
        self._source = source
        self._config = config
        self._k = kad.k
        self._ipns = IpnsApi(source, config, writers or WriteAccess())

    def routes(self) -> list[Route]:
        """To be mounted at the root, before any catch-all route."""
        pages: tuple[tuple[str, dict[str, Page]], ...] = (
            ("/providers/{cid}", {"GET": self._providers}),
            ("/peers/{peer_id}", {"GET": self._peers}),
            ("/dht/closest/peers/{key}", {"GET": self._closest}),
            ("/ipns/{name}", {"GET": self._ipns.get, "PUT": self._ipns.put}),
        )
        routes = [Route(PREFIX + path, _guarded(by_method)) for path, by_method in pages]
        routes += [Route(path, _guarded(None)) for path in (PREFIX, PREFIX + "/{rest:path}")]
        for route in routes:
            route.methods = None  # every method reaches us, so that a 405 lists the allowed ones
        return routes

    async def _providers(self, request: Request) -> Response:
        key = parsed(_content, request.path_params["cid"])
        begin = partial(self._source.stream_providers, key, deadline_s=self._config.lookup_budget_s)
        return await self._answer(request, "Providers", begin)

    async def _peers(self, request: Request) -> Response:
        peer_id = parsed(PeerId.from_text, request.path_params["peer_id"])
        begin = partial(self._source.stream_peer, peer_id, deadline_s=self._config.lookup_budget_s)
        return await self._answer(request, "Peers", begin)

    async def _closest(self, request: Request) -> Response:
        key = parsed(_key, request.path_params["key"])
        begin = partial(self._source.stream_closest, key, deadline_s=self._config.lookup_budget_s)
        return await self._answer(request, "Peers", begin, by_distance=True)

    async def _answer(
        self, request: Request, name: str, begin: Callable[[], FoundPeers], *, by_distance: bool = False
    ) -> Response:
        config = self._config
        filters = Filters.parse(
            request.query_params.get("filter-addrs", ""),
            request.query_params.get("filter-protocols", ""),
            config.max_filter_chars,
        )
        media_type = accepted(request.headers.getlist("accept"))
        if media_type is None:
            raise Refused(406, f"retry with `Accept: {JSON}` or `{NDJSON}`")
        count = config.max_streamed_records if media_type == NDJSON else config.max_records
        limits = Limits(min(count, self._k) if by_distance else count, config.max_answer_bytes)
        # Skip the lookup if no record of ours can pass the filters.
        found = begin() if filters.lets_any({*TRANSFERS, UNKNOWN}) else _nothing()
        lines = (in_order if by_distance else best_first)(found, filters, limits)
        try:
            # The headers say how long to cache, and an answer without records must not be cached for long.
            first = await anext(lines, None)
            if by_distance and first is None:
                raise Refused(404, "no peer is known")  # required by the specification, only for this path
            headers = self._headers(first is not None)
            if media_type == NDJSON:
                return StreamingResponse(_streamed(first, lines), media_type=NDJSON, headers=headers)
            records = [] if first is None else [first, *[line async for line in lines]]
        except BaseException:
            await lines.aclose()
            raise
        body = b'{"%s":[%s]}' % (name.encode(), b",".join(records))
        return Response(body, media_type=JSON, headers=headers)

    def _headers(self, found: bool) -> dict[str, str]:
        config = self._config
        ages = (
            (config.found_max_age_s, config.found_stale_s)
            if found
            else (config.empty_max_age_s, config.empty_stale_s)
        )
        return {
            "Cache-Control": cache_control(*ages),
            "Last-Modified": formatdate(self._source.now(), usegmt=True),
            "Vary": "Accept",
        }


async def _streamed(first: bytes | None, lines: Lines) -> AsyncIterator[bytes]:
    async with aclosing(lines):
        if first is not None:
            yield first + b"\n"
        async for line in lines:
            yield line + b"\n"


async def _nothing() -> FoundPeers:
    return
    yield


def _content(text: str) -> bytes:
    return Cid.from_text(text).multihash


def _key(text: str) -> bytes:
    try:
        return PeerId.from_text(text).raw
    except CallerFault:
        return _content(text)


def _guarded(by_method: Mapping[str, Page] | None) -> Page:
    """Adds CORS, checks methods, and maps faults to status codes; None: there is no such page."""

    async def answer(request: Request) -> Response:
        try:
            if by_method is None:
                raise Refused(404, "unknown path; see specs.ipfs.tech/routing/http-routing-v1")
            response = await _respond(by_method, request)
        except Refused as refused:
            response = refused.response()
        response.headers.update(CORS)
        return response

    return answer


async def _respond(by_method: Mapping[str, Page], request: Request) -> Response:
    if request.method == "OPTIONS":
        return Response(status_code=204)
    page = by_method.get("GET" if request.method in READING else request.method)
    if page is None:
        allowed = ", ".join([*by_method, "HEAD", "OPTIONS"])
        raise Refused(405, f"{request.method} is not allowed here; use {allowed}", {"Allow": allowed})
    try:
        if request.method in READING:
            return await _while_there(request, page)
        return await page(request)  # a write goes on when its client disconnects
    except Busy as fault:
        raise Refused(429, str(fault), {"Retry-After": str(RETRY_AFTER_S)}) from None
    except CallerFault as fault:
        raise Refused(400 if request.method == "PUT" else 422, str(fault)) from None
    except (NetworkFault, StorageFault) as fault:
        raise Refused(503, str(fault)) from None


async def _while_there(request: Request, page: Page) -> Response:
    """Ends the page when its client disconnects."""
    answering = asyncio.ensure_future(page(request))
    leaving = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
        return answering.result() if answering.done() else Response(status_code=GONE)
    finally:
        for task in (answering, leaving):
            task.cancel()
        await asyncio.gather(answering, leaving, return_exceptions=True)


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
