"""`fastmarket.v1.Market`: its messages to and from the service."""

from __future__ import annotations

import math
import time
from bisect import bisect_right
from collections.abc import AsyncGenerator
from contextlib import aclosing
from heapq import nsmallest

from google.protobuf.message import Message

from fastmarket.config import MarketConfig
from fastmarket.errors import CallerFault
from fastmarket.formats.cid import Named, cid_text
from fastmarket.market import replies
from fastmarket.market.calls import Method, each, streaming, unary
from fastmarket.market.requests import v1_named, v1_terms, v1_user_id
from fastmarket.market.searches import Searches
from fastmarket.market.service import MarketService
from fastmarket.market.watching import Watching
from fastmarket.offers.model import Offer, OfferTerms
from fastmarket.offers.offer_set import OfferSet
from fastmarket.pb.fastmarket.v1 import market_pb2 as v1

DEFAULT_PAGE = 100
LISTING_S = (
    30.0  # the order of one listing is used so long: what is withdrawn meanwhile is listed so long, too
)


class V1Methods:
    """The methods, over one service."""

    def __init__(self, service: MarketService, config: MarketConfig) -> None:
        self._service = service
        self._config = config
        self._searches = Searches(service, config)
        self._listed: list[Offer] = []
        self._listed_at = 0.0

    def handlers(self) -> dict[str, Method]:
        """By name."""
        return {
            "GetNode": unary(v1.GetNodeRequest, self._get_node),
            "ListPeers": unary(v1.ListPeersRequest, self._list_peers),
            "ClosestPeers": unary(v1.ClosestPeersRequest, self._closest_peers),
            "FindHolders": streaming(v1.FindHoldersRequest, self._find_holders),
            "FindHoldersBatch": each(
                v1.FindHoldersBatchRequest,
                self._searches.batch,
                self._config.searches_at_once,
                in_order=False,
            ),
            "WatchHolders": streaming(v1.WatchHoldersRequest, self._watch_holders),
            "RegisterFile": unary(v1.RegisterFileRequest, self._register_file),
            "RegisterFiles": each(
                v1.RegisterFilesRequest, self._register_files, self._config.batches_at_once
            ),
            "WithdrawFile": unary(v1.WithdrawFileRequest, self._withdraw_file),
            "ListOffers": unary(v1.ListOffersRequest, self._list_offers),
            "PutRecord": unary(v1.PutRecordRequest, self._put_record),
            "GetRecord": unary(v1.GetRecordRequest, self._get_record),
        }

    async def _get_node(self, _: v1.GetNodeRequest, deadline_s: float | None) -> Message:
        return replies.node_of(self._service.peer_id, self._service.node_info())

    async def _list_peers(self, _: v1.ListPeersRequest, deadline_s: float | None) -> Message:
        return replies.peers_of(self._service.peers())

    async def _closest_peers(self, request: v1.ClosestPeersRequest, deadline_s: float | None) -> Message:
        content = v1_named(request.content)
        peers = replies.peers_of(await self._service.closest_peers(content.multihash, deadline_s))
        peers.named_by = content.by  # type: ignore[assignment]  # the numbers are the same
        return peers

    async def _find_holders(
        self, request: v1.FindHoldersRequest, deadline_s: float | None
    ) -> AsyncGenerator[Message, None]:
        content = v1_named(request.content)
        answer = v1.FindHoldersResponse(cid=content.cid, named_by=content.by)  # type: ignore[arg-type]
        most = request.max_price if request.HasField("max_price") else None
        found = OfferSet()
        begun = time.monotonic()
        async with aclosing(self._service.find_each(content.multihash, deadline_s)) as offers:
            async for offer in offers:
                new = found.add(offer)
                if new and not offer.withdrawn and (most is None or offer.price_per_mb <= most):
                    holder = replies.holder_of(offer)
                    provisional = v1.FindHoldersResponse(holders=[holder], provisional=True)
                    provisional.MergeFrom(answer)
                    yield provisional
        live = found.cheapest(self._service.now())
        if not live:
            spent_s = time.monotonic() - begun
            unpriced = await self._service.unpriced(content.multihash, found, spent_s, deadline_s)
            answer.providers_without_price = len(unpriced)
        answer.holders.extend(self._searches.holders(request, live))
        yield answer

    async def _watch_holders(
        self, request: v1.WatchHoldersRequest, deadline_s: float | None
    ) -> AsyncGenerator[Message, None]:
        if not 0 <= request.interval_s < math.inf:
            raise CallerFault("interval_s", f"{request.interval_s} is no number of seconds")
        content = v1_named(request.content)
        watching = Watching(content.multihash, request.max_price if request.HasField("max_price") else None)
        async with aclosing(self._service.watch(watching, request.interval_s)) as changes:
            async for seen in changes:
                present, gone = (map(replies.holder_of, offers) for offers in (seen.present, seen.gone))
                half = self._config.max_response_bytes // 2
                yield v1.WatchHoldersResponse(
                    present=replies.fitting(present, half),
                    gone=replies.fitting(gone, half),
                    cid=content.cid,
                    named_by=content.by,  # type: ignore[arg-type]  # the numbers are the same
                )

    async def _put_record(self, request: v1.PutRecordRequest, deadline_s: float | None) -> Message:
        done = await self._service.put_record(request.key, request.value, request.quorum, deadline_s)
        return v1.PutRecordResponse(acknowledged=done.acknowledged, asked=done.asked, wanted=done.wanted)

    async def _get_record(self, request: v1.GetRecordRequest, deadline_s: float | None) -> Message:
        value = await self._service.get_record(request.key, request.quorum, deadline_s)
        return v1.GetRecordResponse(value=value)

    async def _register_file(self, request: v1.RegisterFileRequest, deadline_s: float | None) -> Message:
        content = v1_named(request.content)
        terms = v1_terms(request, self._service.peer_id, content)
        return replies.registered_of(content, await self._service.register(terms, deadline_s))

    async def _register_files(self, request: v1.RegisterFilesRequest, deadline_s: float | None) -> bytes:
        if not 0 < len(request.files) <= self._config.max_files:
            raise CallerFault("files", f"1 to {self._config.max_files}, got {len(request.files)}")
        wanted: list[tuple[OfferTerms, Named]] = []
        node = self._service.peer_id
        faults: dict[int, CallerFault] = {}
        for place, file in enumerate(request.files):
            try:
                content = v1_named(file.content)
                wanted.append((v1_terms(file, node, content), content))
            except CallerFault as fault:
                faults[place] = fault
        terms = [one for one, _ in wanted]
        outcomes = await self._service.register_many(terms, deadline_s) if terms else []
        told = [
            replies.registered_file(content, outcome)
            for (_, content), outcome in zip(wanted, outcomes, strict=True)
        ]
        for place, wrong in faults.items():  # in ascending order: each goes where it belongs
            told.insert(place, replies.refused_file(wrong))
        return b"".join(told)

    async def _withdraw_file(self, request: v1.WithdrawFileRequest, deadline_s: float | None) -> Message:
        content = v1_named(request.content)
        user_id = v1_user_id(request, self._service.peer_id)
        form = self._service.registered_form(content.multihash, user_id) or content.form
        outcome = await self._service.withdraw(content.multihash, user_id, deadline_s)
        return v1.WithdrawFileResponse(
            cid=cid_text(content.multihash, form),
            named_by=content.by,  # type: ignore[arg-type]  # the numbers are the same
            acknowledged=outcome.acknowledged,
            asked=outcome.asked,
            wanted=outcome.wanted,
        )

    async def _list_offers(self, request: v1.ListOffersRequest, deadline_s: float | None) -> Message:
        size = min(request.page_size or DEFAULT_PAGE, self._config.max_page)
        try:
            after = bytes.fromhex(request.page_token)
        except ValueError:
            raise CallerFault("page_token", "is none that an answer held") from None
        page = self._page(after, size + 1)
        token = _place(page[size - 1]).hex() if len(page) > size else ""
        if not token:
            self._listed = []
        return v1.ListOffersResponse(offers=map(replies.own_of, page[:size]), next_page_token=token)

    def _page(self, after: bytes, size: int) -> list[Offer]:
        """Own offers behind that place. All pages from the second on share one order, made once: to look for
        each among all offers grows with the square of their number."""
        now = self._service.now()
        if not after:
            self._listed = []
            return nsmallest(size, self._service.own_offers(), key=_place)
        if not self._listed or not 0 <= now - self._listed_at <= LISTING_S:
            self._listed, self._listed_at = sorted(self._service.own_offers(), key=_place), now
        start = bisect_right(self._listed, after, key=_place)
        return self._listed[start : start + size]


def _place(offer: Offer) -> bytes:
    """The order of pages; a content is a multihash, which says how long it is."""
    return offer.content + offer.user_id
