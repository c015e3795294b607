"""The client's half of selling: Sell, Unsell, ListGoods."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TypeAlias

from fastmarket.content.sale import SaleProgress
from fastmarket.market.client_calls import ClientCalls, RpcMethod, sendable
from fastmarket.pb.fastmarket.v1 import market_pb2 as v1

_SELL = RpcMethod("/fastmarket.v1.Market/Sell", v1.SellResponse)
_UNSELL = RpcMethod("/fastmarket.v1.Market/Unsell", v1.UnsellResponse)
_LIST_GOODS = RpcMethod("/fastmarket.v1.Market/ListGoods", v1.ListGoodsResponse)

PAGE = 1000  # goods requested at a time
MAX_PATHS = 100  # sold by one call: the server's limit


@dataclass(frozen=True, slots=True)
class CidForming:
    """How the CIDs of what is sold are made. None: as the profile says."""

    profile: str = ""  # empty: unixfs-v0-2015
    chunk_bytes: int | None = None
    max_links: int | None = None
    raw_leaves: bool | None = None
    cid_version: int | None = None


@dataclass(frozen=True, slots=True)
class SoldItem:
    """The outcome for one content. `cid` is empty if it is not sold; `message` then says why. With a `cid`
    and a `message`, it is served, and its offer will be announced again."""

    path: str
    cid: str
    size: int
    message: str = ""
    acknowledged: int = 0
    asked: int = 0
    wanted: int = 0


@dataclass(frozen=True, slots=True)
class GoodEntry:
    """What the node sells. `state`: "IMPORTING", "SELLING", "CHANGED" or "GONE"; `sent_bytes` since it
    started."""

    cid: str
    path: str
    size: int
    price: int
    user_id: bytes = field(repr=False)
    user_name: str
    state: str
    sent_bytes: int
    watched: bool


SaleEvent: TypeAlias = SaleProgress | SoldItem


class GoodsCalls(ClientCalls):
    """Methods of `MarketClient`."""

    async def sell(
        self,
        paths: Sequence[str],
        price: int,
        *,
        user_id: bytes = b"",
        user_name: str = "",
        forming: CidForming | None = None,
        each_file: bool = False,
        watch: bool = False,
        timeout_s: float | None = None,
    ) -> AsyncGenerator[SaleEvent, None]:
        """Sells files and directories of the node's machine, by absolute path; events until all are sold.

        `price` is per MB. `each_file` sells the files below a directory one by one. By default there is no
        timeout: an import takes as long as reading does. Closing the generator stops it, and a later call
        continues it.
        """
        for at in range(0, max(len(paths), 1), MAX_PATHS):
            with sendable():
                request = v1.SellRequest(
                    paths=paths[at : at + MAX_PATHS],
                    price=price,
                    user_id=user_id,
                    user_name=user_name,
                    profile=_profile(forming or CidForming()),
                    each_file=each_file,
                    watch=watch,
                )
            async with aclosing(self._stream(_SELL, request, timeout_s)) as replies:
                async for reply in replies:
                    yield _event(reply)

    async def unsell(self, content: str, *, timeout_s: float | None = None) -> list[str]:
        """Stops selling a content, or what is sold from an absolute path; the CIDs that it was."""
        with sendable():
            request = v1.UnsellRequest(content=content)
        reply = await self._call(_UNSELL, request, timeout_s)
        return list(reply.cids)

    async def list_goods(self, *, timeout_s: float | None = None) -> AsyncGenerator[GoodEntry, None]:
        """What the node sells, ordered by path."""
        token = ""
        while True:
            request = v1.ListGoodsRequest(page_size=PAGE, page_token=token)
            reply = await self._call(_LIST_GOODS, request, timeout_s)
            for good in reply.goods:
                yield _good(good)
            token = reply.next_page_token
            if not token:
                return


def _profile(forming: CidForming) -> v1.CidProfile:
    made = v1.CidProfile(
        name=forming.profile,
        chunk_bytes=forming.chunk_bytes,
        max_links=forming.max_links,
        cid_version=forming.cid_version,
    )
    if forming.raw_leaves is not None:
        made.raw_leaves = forming.raw_leaves
    return made


def _event(reply: v1.SellResponse) -> SaleEvent:
    if reply.HasField("progress"):
        return SaleProgress(reply.progress.done, reply.progress.total, reply.progress.path)
    sold = reply.sold
    counts = (sold.acknowledged, sold.asked, sold.wanted)
    return SoldItem(sold.path, sold.cid, sold.size, sold.message, *counts)


def _good(good: v1.Good) -> GoodEntry:
    state = v1.GoodState.Name(good.state).removeprefix("GOOD_STATE_")
    place = (good.cid, good.path, good.size, good.price, good.user_id, good.user_name)
    return GoodEntry(*place, state, good.sent_bytes, good.watched)
