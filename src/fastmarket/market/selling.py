"""`Sell`, `Unsell` and `ListGoods` of `fastmarket.v1.Market`."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING

from google.protobuf.message import Message

from fastmarket.config import MarketConfig
from fastmarket.content.goods import Good
from fastmarket.content.sale import Sale, SaleEvent, SaleProgress
from fastmarket.errors import CallerFault, FastmarketError, NodeFault, Unmet
from fastmarket.formats.unixfs.profile import UNIXFS_V0_2015, CidProfile
from fastmarket.market.access import AccessScope
from fastmarket.market.calls import Calls, Method
from fastmarket.market.grpc_errors import status_of
from fastmarket.market.sharing import FROM_HERE, MAY_WRITE
from fastmarket.offers.model.offer import MAX_PRICE_PER_MB
from fastmarket.pb.fastmarket.v1 import market_pb2 as v1

if TYPE_CHECKING:
    from fastmarket.content.shop import Shop

MAX_PATHS = 100  # of one call
DEFAULT_PAGE = 100


class SellingMethods:
    """The methods, over the node's shop; without one they say what is missing."""

    def __init__(self, shop: Shop | None, config: MarketConfig) -> None:
        self._shop = shop
        self._config = config

    def handlers(self, calls: Calls) -> dict[str, Method]:
        """By name."""
        return {
            "Sell": Method(AccessScope.WRITE, calls.streaming(v1.SellRequest, self._sell)),
            "Unsell": Method(AccessScope.WRITE, calls.unary(v1.UnsellRequest, self._unsell)),
            "ListGoods": Method(AccessScope.READ, calls.unary(v1.ListGoodsRequest, self._list_goods)),
        }

    @property
    def _open_shop(self) -> Shop:
        if self._shop is None:
            reason = "this node sells nothing; start it with --content-port PORT"
            raise Unmet("content-port", reason, "NO_CONTENT_PORT")
        return self._shop

    async def _sell(self, request: v1.SellRequest, deadline_s: float | None) -> AsyncGenerator[Message, None]:
        shop = self._open_shop
        if not 0 < len(request.paths) <= MAX_PATHS:
            raise CallerFault("paths", f"expects 1 to {MAX_PATHS}, got {len(request.paths)}")
        if request.price > MAX_PRICE_PER_MB:
            raise CallerFault("price", f"is more than {MAX_PRICE_PER_MB}")
        orders = shop.orders(
            list(request.paths),
            price_per_mb=request.price,
            user_id=request.user_id,
            user_name=request.user_name,
            profile=_profile(request.profile),
            each_file=request.each_file,
            watched=request.watch,
            from_here=FROM_HERE.get(),
        )
        async with aclosing(shop.sell(orders, deadline_s)) as events:
            async for event in events:
                yield _event(event)

    async def _unsell(self, request: v1.UnsellRequest, deadline_s: float | None) -> Message:
        return v1.UnsellResponse(cids=await self._open_shop.unsell(request.content, deadline_s))

    async def _list_goods(self, request: v1.ListGoodsRequest, deadline_s: float | None) -> Message:
        size = min(request.page_size or DEFAULT_PAGE, self._config.max_page)
        shop = self._open_shop
        may_write = MAY_WRITE.get()  # where files lie is for those that may say what is sold
        page = shop.goods(request.page_token, size + 1, with_paths=may_write)
        token = shop.page_token(page[size - 1], with_paths=may_write) if len(page) > size else ""
        goods = [_good(good, shop.sent_bytes(good), may_write) for good in page[:size]]
        return v1.ListGoodsResponse(goods=goods, next_page_token=token)


def _profile(asked: v1.CidProfile) -> CidProfile:
    """Raises CallerFault ("profile", ...)."""
    profile = CidProfile.of(asked.name) if asked.name else UNIXFS_V0_2015
    given = {
        "cid_version": asked.cid_version if asked.HasField("cid_version") else None,
        "raw_leaves": asked.raw_leaves if asked.HasField("raw_leaves") else None,
        "chunk_bytes": asked.chunk_bytes if asked.HasField("chunk_bytes") else None,
        "links_per_node": asked.max_links if asked.HasField("max_links") else None,
    }
    return profile.with_(**given)  # type: ignore[arg-type]  # each of its own type


def _event(event: SaleEvent) -> v1.SellResponse:
    if isinstance(event, SaleProgress):
        progress = v1.SellProgress(done=event.done, total=event.total, path=event.path)
        return v1.SellResponse(progress=progress)
    return v1.SellResponse(sold=_sold(event))


def _sold(sale: Sale) -> v1.SoldContent:
    sold = v1.SoldContent(path=sale.path, cid=sale.cid, size=sale.size)
    if sale.outcome is not None:
        sold.acknowledged = sale.outcome.acknowledged
        sold.asked = sale.outcome.asked
        sold.wanted = sale.outcome.wanted
    if sale.fault is not None:
        sold.code, sold.message = _status(sale.fault)
    return sold


def _status(fault: FastmarketError) -> tuple[int, str]:
    status = status_of(fault)
    if isinstance(fault, NodeFault):  # of that file alone: it cannot be read, or changes
        return 9, str(fault)  # FAILED_PRECONDITION
    return int(status.code.value[0]), status.details


def _good(good: Good, sent_bytes: int, with_path: bool) -> v1.Good:
    return v1.Good(
        cid="" if good.cid is None else str(good.cid),
        path=good.path.encode("utf-8", "replace").decode() if with_path else "",
        size=good.size,
        price=good.price_per_mb,
        user_id=good.user_id,
        user_name=good.user_name,
        state=int(good.state),  # type: ignore[arg-type]  # the numbers are the same
        sent_bytes=sent_bytes,
        watched=good.watched,
    )
