"""The status page: the node's identity, peers and offers, and a search, for people on this machine.

Three files and two JSON sources. Other sites can neither read nor embed any of them.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from importlib.resources import files
from itertools import islice

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from fastmarket._version import __version__
from fastmarket.config import WebConfig
from fastmarket.errors import CallerFault, FastmarketError
from fastmarket.formats.cid import Named, NamedBy, cid_text, named
from fastmarket.formats.identity import PeerId
from fastmarket.market.dht import Dht
from fastmarket.net.dht_node import DhtNode
from fastmarket.offers.model.offer import Offer
from fastmarket.offers.model.results import PeerView
from fastmarket.web.hosts import UNKNOWN_HOST, asked_host, is_ours

Json = dict[str, object]
Page = Callable[[Request], Awaitable[Response]]

FILES = {
    "/": ("index.html", "text/html"),
    "/style.css": ("style.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
# How a browser describes the initiator of a request (Fetch Metadata); programs send nothing.
OURS = frozenset({None, "none", "same-origin"})


class StatusPage:
    """The routes of the page."""

    def __init__(self, dht: DhtNode, market: Dht, config: WebConfig) -> None:
        """`market` is searched; `dht` is the node that the page is about."""
        self._dht = dht
        self._market = market
        self._config = config
        self._started = time.monotonic()

    def routes(self) -> list[Route]:
        """To be mounted at the root."""
        static = [Route(path, self._guarded(_file(*what))) for path, what in FILES.items()]
        return [
            *static,
            Route("/status.json", self._guarded(self._status)),
            Route("/find", self._guarded(self._find)),
        ]

    def _guarded(self, page: Page) -> Page:
        """Allows only this page itself and programs; tells browsers to let nothing else in."""

        async def answer(request: Request) -> Response:
            if request.headers.get("sec-fetch-site") not in OURS:
                return PlainTextResponse("requests from other sites are refused\n", 403, HEADERS)
            if not is_ours(asked_host(request), self._config.host, self._config.names):
                return PlainTextResponse(UNKNOWN_HOST, 421, HEADERS)
            try:
                response = await page(request)
            except CallerFault as fault:
                response = JSONResponse({"error": str(fault)}, 422)
            response.headers.update(HEADERS)
            return response

        return answer

    async def _status(self, request: Request) -> Response:
        dht = self._dht
        node = dht.node_info()
        now = dht.now()
        most = self._config.max_shown
        own = [offer for offer in dht.offers.own if not offer.withdrawn]
        ours = {offer.key for offer in own[:most]}
        stored = (
            o for o in dht.offers.store if o.key not in ours and o.is_live(now) and o.provider != dht.peer_id
        )
        return JSONResponse(
            {
                "peer_id": str(dht.peer_id),
                "version": __version__,
                "mode": node.mode,
                "uptime_s": round(time.monotonic() - self._started, 1),
                "listen": [str(addr) for addr in node.listen],
                "announced": [str(addr) for addr in dht.announced_addrs],
                "counts": {
                    "peers": node.peers,
                    "connections": node.connections,
                    "offers": node.offers,
                    "own_offers": node.own_offers,
                    "jobs": len(dht.engine.jobs),
                },
                # Totals since the start, from which the page computes rates.
                "totals": {
                    "received_bytes": dht.host.traffic.received,
                    "sent_bytes": dht.host.traffic.sent,
                    "stores": sum(dht.offers.acks.values()),
                },
                "peers": [_peer(view) for view in islice(dht.peers(), most)],
                "offers": [
                    *(_offer(offer, own=True) for offer in own[:most]),
                    *(_offer(offer) for offer in islice(stored, max(most - len(own), 0))),
                ],
            }
        )

    async def _find(self, request: Request) -> Response:
        try:
            content = named(request.query_params.get("content", ""))
        except CallerFault as fault:
            raise CallerFault("content", fault.reason) from None
        found = self._market.find_offers(content.multihash, self._config.lookup_budget_s)
        return StreamingResponse(self._lines(content, found), media_type="application/x-ndjson")

    async def _lines(self, content: Named, found: AsyncGenerator[Offer, None]) -> AsyncIterator[bytes]:
        """A line for each offer as it is found; the last one says how the search ended, and warns if the text
        was taken as a bare name, or if there are providers without a price."""
        end: Json = {"end": "complete"}
        if content.by is NamedBy.TEXT_HASH:
            end["named_by"] = content.by.name
        met: set[PeerId] = set()
        try:
            async with aclosing(found) as offers:
                async for offer in offers:
                    met.add(offer.provider)
                    yield _line(_offer(offer, own=offer.provider == self._dht.peer_id))
            if not met:
                providers = await self._market.content_providers(
                    content.multihash, self._config.lookup_budget_s
                )
                unpriced = len({*providers} - {self._dht.peer_id})
                end |= {"providers_without_price": unpriced} if unpriced else {}
        except FastmarketError as fault:
            end = {"end": "failed", "error": str(fault)}
        yield _line(end)


def _file(name: str, media_type: str) -> Page:
    content = (files("fastmarket.web") / "static" / name).read_bytes()

    async def page(request: Request) -> Response:
        return Response(content, media_type=media_type)

    return page


def _peer(view: PeerView) -> Json:
    return {
        "id": str(view.peer.peer_id),
        "agent": view.agent_version,
        "connected": view.connected,
        "bucket": view.common_prefix,
        "addrs": [str(addr) for addr in view.peer.addrs],
    }


def _offer(offer: Offer, *, own: bool = False) -> Json:
    """Prices and sizes as text: they may exceed what a JavaScript number holds exactly."""
    metadata = offer.metadata
    return {
        "cid": cid_text(offer.content, offer.form),
        "file": metadata.name,
        "holder": offer.user_name or offer.user_id[:16].decode("utf-8", "replace"),
        "provider": str(offer.provider),
        "user_id": offer.user_id.hex(),
        "at": f"[{metadata.ip}]:{metadata.port}" if ":" in metadata.ip else f"{metadata.ip}:{metadata.port}",
        "price_per_mb": str(metadata.price_per_mb),
        "size": None if metadata.size is None else str(metadata.size),
        "not_after": offer.not_after,
        "seq": str(offer.seq),
        "withdrawn": offer.withdrawn,
        "own": own,
    }


def _line(item: Json) -> bytes:
    return json.dumps(item, separators=(",", ":")).encode() + b"\n"
