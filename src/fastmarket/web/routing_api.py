"""Delegated Routing V1 (specs.ipfs.tech/routing/http-routing-v1): others ask this node over HTTP who provides
a content and where a peer is. JSON at once, or NDJSON with each record flushed as it is found."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from email.utils import formatdate
from functools import partial
from typing import Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from fastmarket.config import KadConfig, WebConfig
from fastmarket.errors import Busy, CallerFault, NetworkFault
from fastmarket.formats.cid import Cid
from fastmarket.formats.identity import PeerId
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.web.filters import Filters

PREFIX = "/routing/v1"
JSON = "application/json"
NDJSON = "application/x-ndjson"
# Any page may ask: the specification wants it so, and nothing here is anybody's secret.
CORS = {"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Methods": "GET, OPTIONS"}
RETRY_AFTER_S = 1
NO_PEERS = JSONResponse({"Peers": []}).body
# All of them reach us: one that is not supported is to be answered 501, where a router says 405.
METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")

Found = AsyncGenerator[PeerInfo, None]
Record = dict[str, object]
Page = Callable[[Request], Awaitable[Response]]


class RoutingSource(Protocol):
    """The lookups the API asks for; `net.dht_node.DhtNode` has them all.

    Each begins with the call, which raises Busy; closing what it returns ends it.
    """

    def now(self) -> float:
        """Unix seconds."""

    def stream_providers(self, key: bytes, *, deadline_s: float) -> Found:
        """Providers as they are found; one found without addresses may come again with them."""

    def stream_peer(self, peer_id: PeerId, *, deadline_s: float) -> Found:
        """The peer, once, if it is found."""

    def stream_closest(self, key: bytes, *, deadline_s: float) -> Found:
        """The closest peers, closest first, when the lookup has ended."""


class RoutingApi:
    """The routes; `now` comes from the source."""

    def __init__(self, source: RoutingSource, config: WebConfig, kad: KadConfig) -> None:
        self._source = source
        self._config = config
        self._max_ttl_s = int(kad.provider_ttl_s)
        self._k = kad.k

    def routes(self) -> list[Route]:
        """To be mounted at the root, before anything that catches all."""
        pages = (
            ("/providers/{cid}", self._providers),
            ("/peers/{peer_id}", self._peers),
            ("/dht/closest/peers/{key}", self._closest),
            ("/ipns/{name}", self._ipns),
            ("/{rest:path}", self._unknown),
        )
        return [Route(PREFIX + path, _guarded(page), methods=METHODS) for path, page in pages]

    async def _providers(self, request: Request) -> Response:
        key = _content(request.path_params["cid"])
        begin = partial(self._source.stream_providers, key, deadline_s=self._config.lookup_budget_s)
        return await self._answer(request, "Providers", begin, self._config.max_records)

    async def _peers(self, request: Request) -> Response:
        peer_id = PeerId.from_text(request.path_params["peer_id"])
        begin = partial(self._source.stream_peer, peer_id, deadline_s=self._config.lookup_budget_s)
        return await self._answer(request, "Peers", begin, self._config.max_records)

    async def _closest(self, request: Request) -> Response:
        text = request.path_params["key"]
        try:
            key = PeerId.from_text(text).raw
        except CallerFault:
            key = _content(text)
        begin = partial(self._source.stream_closest, key, deadline_s=self._config.lookup_budget_s)
        answer = await self._answer(request, "Peers", begin, self._k)
        if isinstance(answer, JSONResponse) and answer.body == NO_PEERS:
            return _error(404, "no peer is known")  # here, and here alone, the specification wants it so
        return answer

    async def _ipns(self, request: Request) -> Response:
        return _error(501, "this server resolves no names")

    async def _unknown(self, request: Request) -> Response:
        return _error(400, "unknown path")

    async def _answer(self, request: Request, name: str, begin: Callable[[], Found], limit: int) -> Response:
        filters = Filters.parse(
            request.query_params.get("filter-addrs", ""),
            request.query_params.get("filter-protocols", ""),
            self._config.max_filter_chars,
        )
        # We know no transfer protocols: offers are fetched as their holders say.
        found = begin() if filters.lets_unknown_protocols() else _nothing()
        if NDJSON in request.headers.get("accept", ""):
            # How many there will be is not known yet: nobody is to keep an answer without records for long.
            headers = self._headers(self._config.empty_max_age_s)
            return StreamingResponse(self._lines(found, filters), media_type=NDJSON, headers=headers)
        records: dict[object, Record] = {}
        async with aclosing(_records(found, filters)) as stream:
            async for record in stream:
                records[record["ID"]] = record
                if len(records) >= limit:
                    break
        max_age_s = self._config.found_max_age_s if records else self._config.empty_max_age_s
        return JSONResponse({name: list(records.values())}, headers=self._headers(max_age_s))

    async def _lines(self, found: Found, filters: Filters) -> AsyncIterator[bytes]:
        count = 0
        async with aclosing(_records(found, filters)) as stream:
            async for record in stream:
                yield json.dumps(record, separators=(",", ":")).encode() + b"\n"
                count += 1
                if count >= self._config.max_streamed_records:
                    break

    def _headers(self, max_age_s: int) -> dict[str, str]:
        stale = f"stale-while-revalidate={self._max_ttl_s}, stale-if-error={self._max_ttl_s}"
        return {
            "Cache-Control": f"public, max-age={max_age_s}, {stale}",
            "Last-Modified": formatdate(self._source.now(), usegmt=True),
            "Vary": "Accept",
        }


async def _records(found: Found, filters: Filters) -> AsyncGenerator[Record, None]:
    """In the peer schema."""
    async with aclosing(found) as stream:
        async for peer in stream:
            addrs = filters.addrs(peer.addrs)
            if addrs is not None:
                texts = [str(addr) for addr in addrs]
                yield {"Schema": "peer", "ID": str(peer.peer_id), "Addrs": texts, "Protocols": []}


async def _nothing() -> Found:
    return
    yield


def _content(text: str) -> bytes:
    return Cid.from_text(text).multihash


def _guarded(page: Page) -> Page:
    """CORS, methods, and faults as status codes."""

    async def answer(request: Request) -> Response:
        response = await _respond(page, request)
        response.headers.update(CORS)
        return response

    return answer


async def _respond(page: Page, request: Request) -> Response:
    if request.method == "OPTIONS":
        return Response(status_code=204)
    if request.method not in ("GET", "HEAD"):
        return _error(501, f"{request.method} is not supported")
    try:
        return await page(request)
    except Busy as fault:
        response = _error(429, str(fault))
        response.headers["Retry-After"] = str(RETRY_AFTER_S)
        return response
    except CallerFault as fault:
        return _error(422, str(fault))
    except NetworkFault as fault:
        return _error(503, str(fault))


def _error(status: int, reason: str) -> Response:
    return JSONResponse({"error": reason}, status_code=status)
