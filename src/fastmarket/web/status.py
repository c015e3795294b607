"""The page for people on this machine: its files, and what it tells of the node, its peers and offers.

The market in it is `web.market_api`, the search `web.search`. No other site can read or embed any of it.
"""

from __future__ import annotations

import time
from importlib.resources import files
from itertools import islice

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fastmarket._version import __version__
from fastmarket.config import WebConfig
from fastmarket.net.dht_node import DhtNode
from fastmarket.offers.model.results import PeerView
from fastmarket.web.page_guard import Page, PageGuard
from fastmarket.web.search import offer_json

Json = dict[str, object]
LOOKED_AT_A_SHOWN = 16  # offers in the store for each that may be shown: 3 ms with 1,000
MODULES = ("page", "api", "buckets", "charts", "dom", "gets", "money", "search", "selling")
FILES = {
    "/": ("index.html", "text/html"),
    "/style.css": ("style.css", "text/css"),
    **{f"/{name}.js": (f"{name}.js", "text/javascript") for name in MODULES},
}


class StatusPage:
    """The routes of the page."""

    def __init__(self, dht: DhtNode, config: WebConfig) -> None:
        """`dht` is the node that the page is about."""
        self._dht = dht
        self._config = config
        self._guard = PageGuard(config)
        self._started = time.monotonic()

    def routes(self) -> list[Route]:
        """To be mounted at the root."""
        guard = self._guard
        static = [guard.route(path, _file(*what)) for path, what in FILES.items()]
        return [
            *static,
            guard.route("/status.json", self._status),
        ]

    async def _status(self, request: Request) -> Response:
        dht = self._dht
        node = dht.node_info()
        now = dht.now()
        most = self._config.max_shown
        own = list(islice(dht.offers.own, most))
        # In one turn: a store may hold a hundred thousand, all of them ours.
        looked_at = islice(dht.offers.store, most * LOOKED_AT_A_SHOWN)
        stored = (o for o in looked_at if o.provider != dht.peer_id and o.is_live(now))
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
                    *(offer_json(offer, own=True) for offer in own),
                    *(offer_json(offer) for offer in islice(stored, max(most - len(own), 0))),
                ],
            }
        )


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
