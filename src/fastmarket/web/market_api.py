"""The market of the page, as JSON over HTTP: sells and ends sales, says what a file costs, gets it.

Whatever changes something is a POST with JSON; whatever tells of this machine's files, or has the node ask
others, is for the same callers: programs on this machine, or those with a token that may write.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fastmarket.config import WebConfig
from fastmarket.content.goods import SellOrder
from fastmarket.errors import CallerFault, Unmet
from fastmarket.exchange.fetching.order import FetchOrder
from fastmarket.formats.cid_path import cid_and_path
from fastmarket.formats.unixfs.profile import UNIXFS_V0_2015
from fastmarket.offers.model.metadata import MAX_U64
from fastmarket.offers.model.offer import MAX_PRICE_PER_MB
from fastmarket.web.download import Download, file_name
from fastmarket.web.gets import Get, Gets
from fastmarket.web.json_body import JsonBody, json_body
from fastmarket.web.ledger_json import ledger_json
from fastmarket.web.market_json import AsciiJson, get_json, good_json, plan_json, sale_json
from fastmarket.web.page_guard import Page, PageGuard
from fastmarket.web.path_listing import listing
from fastmarket.web.refused import Refused
from fastmarket.web.streaming import Json, JsonLines
from fastmarket.web.write_access import WriteAccess, is_from_here

if TYPE_CHECKING:
    from fastmarket.content.shop import Shop
    from fastmarket.net.fetching.fetcher import Fetcher
    from fastmarket.storage.tab_ledger import TabLedger

MAX_COST = 10**39  # no fetch costs as much: 1 PiB at the highest price of an offer is 10^28


class MarketApi:
    """The routes, over a node's shop and fetcher; without one they say what is missing."""

    def __init__(
        self,
        shop: Shop | None,
        fetcher: Fetcher | None,
        writers: WriteAccess,
        config: WebConfig,
        now: Callable[[], float],
        ledger: TabLedger | None = None,
    ) -> None:
        """`now`: Unix seconds. `ledger`: of a node with payments."""
        self._shop = shop
        self._ledger = ledger
        self._gets = Gets(fetcher, config, now)
        self._writers = writers
        self._config = config
        self._guard = PageGuard(config)

    def routes(self) -> list[Route]:
        """To be mounted at the root."""
        route = self._route
        return [
            route("/market", self._market),
            route("/market/goods", self._goods),
            route("/market/ledger", self._told_ledger),
            route("/market/paths", self._paths, "POST"),
            route("/market/sell", self._sell, "POST"),
            route("/market/unsell", self._unsell, "POST"),
            route("/market/plan", self._plan, "POST"),
            route("/market/gets", self._list_gets),
            route("/market/get", self._get, "POST"),
            route("/market/get/{key}/stop", self._stop, "POST"),
            route("/market/get/{key}/progress", self._progress),
            # Without a token, which no browser sends for a file to save: the key is a secret of its own.
            self._guard.route("/market/get/{key}", self._file),
        ]

    def _route(self, path: str, page: Page, method: str = "GET") -> Route:
        async def allowed(request: Request) -> Response:
            refusal = self._writers.refusal(request)
            if refusal is not None:
                challenge = {"WWW-Authenticate": "Bearer"} if refusal.status == 401 else None
                raise Refused(refusal.status, refusal.reason, challenge)
            return await page(request)

        return self._guard.route(path, allowed, method)

    async def _market(self, request: Request) -> Response:
        """What can be done here."""
        directories = () if self._shop is None else self._shop.allowed.directories
        return AsciiJson(
            {
                "sells": self._shop is not None,
                "gets": self._gets.can_get,
                "pays": self._ledger is not None,
                "chooses": bool(directories),
                "from_here": is_from_here(request),
            }
        )

    async def _told_ledger(self, request: Request) -> Response:
        if self._ledger is None:
            raise Unmet("payments", "this node takes no payments; start it with --payments", "NO_PAYMENTS")
        return AsciiJson(await ledger_json(self._ledger, self._config.max_shown))

    # --- selling

    @property
    def _open_shop(self) -> Shop:
        if self._shop is None:
            reason = "this node sells nothing; start it with --content-port PORT"
            raise Unmet("content-port", reason, "NO_CONTENT_PORT")
        return self._shop

    async def _goods(self, request: Request) -> Response:
        shop, most = self._open_shop, self._config.max_shown
        page = shop.goods(request.query_params.get("after", ""), most + 1)
        more = shop.page_token(page[most - 1]) if len(page) > most else None
        goods = [good_json(good, shop.sent_bytes(good)) for good in page[:most]]
        return AsciiJson({"goods": goods, "more": more})

    async def _paths(self, request: Request) -> Response:
        shop, body = self._open_shop, await self._body(request)
        return AsciiJson(await asyncio.to_thread(listing, shop.allowed, body.text("in", ""), self._config))

    async def _sell(self, request: Request) -> Response:
        shop, body = self._open_shop, await self._body(request)
        price = body.amount("price", MAX_PRICE_PER_MB)
        if price is None:
            raise CallerFault("price", "is missing")
        orders = shop.orders(
            [body.text("path")],
            price_per_mb=price,
            user_id=b"",
            user_name=body.text("name", ""),
            profile=UNIXFS_V0_2015,
            each_file=body.flag("each_file"),
            watched=body.flag("watch"),
            from_here=is_from_here(request),
        )
        return JsonLines(_sale_lines(shop, orders))

    async def _unsell(self, request: Request) -> Response:
        shop, body = self._open_shop, await self._body(request)
        return AsciiJson({"cids": await shop.unsell(body.text("content"))})

    # --- getting

    async def _plan(self, request: Request) -> Response:
        body = await self._body(request)
        return JsonLines(self._plan_lines(replace(_order(body), plan_only=True)))

    async def _plan_lines(self, order: FetchOrder) -> AsyncGenerator[Json, None]:
        async with aclosing(self._gets.plans(order)) as plans:
            async for plan in plans:
                yield plan_json(plan)

    async def _get(self, request: Request) -> Response:
        body = await self._body(request)
        order = _order(body)
        otherwise = order.path[-1] if order.path else str(order.root)
        name = file_name(
            body.text("name", "") or otherwise, str(order.root), self._config.max_file_name_bytes
        )
        return AsciiJson(get_json(self._gets.start(order, name)))

    async def _list_gets(self, request: Request) -> Response:
        return AsciiJson({"gets": [get_json(get) for get in self._gets.newest_first()]})

    async def _progress(self, request: Request) -> Response:
        return JsonLines(_progress_lines(self._asked(request)))

    async def _stop(self, request: Request) -> Response:
        await self._body(request)
        get = self._asked(request)
        self._gets.stop(get)
        return AsciiJson(get_json(get))

    async def _file(self, request: Request) -> Response:
        get = self._asked(request)
        if request.method != "GET":
            raise Refused(405, "a file is got by GET", {"Allow": "GET"})
        self._gets.take(get)
        return Download(get, self._gets, self._config.get_piece_bytes)

    def _asked(self, request: Request) -> Get:
        return self._gets.find(request.path_params["key"])

    async def _body(self, request: Request) -> JsonBody:
        return await json_body(request, self._config.write_timeout_s)


def _order(body: JsonBody) -> FetchOrder:
    root, path = cid_and_path(body.text("content"))
    return FetchOrder(
        root, path, max_price=body.amount("max_price", MAX_U64), max_cost=body.amount("max_cost", MAX_COST)
    )


async def _sale_lines(shop: Shop, orders: Sequence[SellOrder]) -> AsyncGenerator[Json, None]:
    async with aclosing(shop.sell(orders)) as events:
        async for event in events:
            yield sale_json(event)


async def _progress_lines(get: Get) -> AsyncGenerator[Json, None]:
    async with aclosing(get.changes()) as changes:
        async for _ in changes:
            yield get_json(get)
