"""`fastmarket.v1.Market`: converts its messages to calls of the service, and back."""

from __future__ import annotations

import math
import time
from bisect import bisect_right
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from heapq import merge, nsmallest
from itertools import chain, islice

from google.protobuf.message import Message

from fastmarket.config import MarketConfig
from fastmarket.errors import Busy, CallerFault, Forbidden
from fastmarket.formats.cid import Named, cid_text
from fastmarket.formats.identity import PeerId
from fastmarket.market import replies
from fastmarket.market.access import AccessScope
from fastmarket.market.calls import Calls, Method, Work
from fastmarket.market.requests import v1_named, v1_terms, v1_user_id
from fastmarket.market.searches import Searches
from fastmarket.market.service import MarketService
from fastmarket.market.sharing import CALLER, MAY_WRITE, Share
from fastmarket.market.watching import Watching
from fastmarket.net.fetching.probing import HolderLiveness, Probe, Prober
from fastmarket.net.gateways import gateway_url
from fastmarket.offers.model.mixing import in_fronts
from fastmarket.offers.model.offer import Offer, OfferTerms
from fastmarket.offers.model.offer_set import OfferSet
from fastmarket.pb.fastmarket.v1 import market_pb2 as v1

DEFAULT_PAGE = 100
LISTING_S = 30.0  # lifetime of a listing's order; a withdrawn offer may be listed that much longer
SPARE_FIELDS = 1000  # beyond the items of a bulk message, so that slightly too many are reported by count
NOT_PROBED = 2  # the place of such a holder among those that were: as one that answered it has nothing
OFFERS_A_TURN = 4096  # scanned per turn for a page of ListOffers: 2 ms


class V1Methods:
    """The methods, over one service."""

    def __init__(
        self, service: MarketService, config: MarketConfig, work: Work, prober: Prober | None = None
    ) -> None:
        """`prober` is asked whether holders are there, for searches that want to know."""
        self._prober = prober
        self._service = service
        self._config = config
        self._listed: list[Offer] = []
        self._listed_at = 0.0
        self._listings = 0  # listings begun
        self._work = work
        self._calls = Calls(work, config)
        self._searches = Searches(service, config, work)
        self._watches = Share(config.max_watches)

    def handlers(self) -> dict[str, Method]:
        """By name. A method that changes what others see requires a token of `AccessScope.WRITE`."""
        config, calls = self._config, self._calls
        unary, streaming = calls.unary, calls.streaming
        return {
            "GetNode": Method(AccessScope.READ, unary(v1.GetNodeRequest, self._get_node)),
            "ListPeers": Method(AccessScope.READ, unary(v1.ListPeersRequest, self._list_peers)),
            "ClosestPeers": Method(AccessScope.READ, unary(v1.ClosestPeersRequest, self._closest_peers)),
            "FindHolders": Method(AccessScope.READ, streaming(v1.FindHoldersRequest, self._find_holders)),
            "FindHoldersBatch": Method(
                AccessScope.READ,
                calls.each(
                    v1.FindHoldersBatchRequest,
                    self._searches.batch,
                    config.searches_at_once,
                    config.max_searches_bytes,
                    config.max_searches + SPARE_FIELDS,
                    in_order=False,
                ),
            ),
            "WatchHolders": Method(AccessScope.READ, streaming(v1.WatchHoldersRequest, self._watch_holders)),
            "RegisterFile": Method(AccessScope.WRITE, unary(v1.RegisterFileRequest, self._register_file)),
            "RegisterFiles": Method(
                AccessScope.WRITE,
                calls.each(
                    v1.RegisterFilesRequest,
                    self._register_files,
                    config.batches_at_once,
                    config.max_request_bytes,
                    config.max_files + SPARE_FIELDS,
                    slots=self._work.registrations,
                ),
            ),
            "WithdrawFile": Method(AccessScope.WRITE, unary(v1.WithdrawFileRequest, self._withdraw_file)),
            "ListOffers": Method(AccessScope.READ, unary(v1.ListOffersRequest, self._list_offers)),
            "PutRecord": Method(AccessScope.WRITE, unary(v1.PutRecordRequest, self._put_record)),
            "GetRecord": Method(AccessScope.READ, unary(v1.GetRecordRequest, self._get_record)),
        }

    async def _get_node(self, _: v1.GetNodeRequest, deadline_s: float | None) -> Message:
        return replies.node_of(self._service.peer_id, self._service.node_info())

    async def _list_peers(self, _: v1.ListPeersRequest, deadline_s: float | None) -> Message:
        return v1.ListPeersResponse(peers=await self._work.made(replies.peer_of, self._service.peers()))

    async def _closest_peers(self, request: v1.ClosestPeersRequest, deadline_s: float | None) -> Message:
        content = v1_named(request.content)
        found = await self._service.closest_peers(content.multihash, deadline_s)
        return v1.ListPeersResponse(
            peers=await self._work.made(replies.peer_of, found),
            named_by=content.by,  # type: ignore[arg-type]  # the numbers are the same
        )

    async def _find_holders(
        self, request: v1.FindHoldersRequest, deadline_s: float | None
    ) -> AsyncGenerator[Message, None]:
        if request.live and not MAY_WRITE.get():
            raise Forbidden(
                "live", "probing holders takes a token that may write, or a program on the node's machine"
            )
        content = v1_named(request.content)
        answer = v1.FindHoldersResponse(cid=content.cid, named_by=content.by)  # type: ignore[arg-type]
        most = request.max_price if request.HasField("max_price") else None
        found = OfferSet()
        key = content.multihash
        began = time.monotonic()
        async with self._searches.slot(key, self._config.find_budget_s, deadline_s) as left_s:
            begun = time.monotonic()
            async with aclosing(self._service.find_each(key, left_s, found.ranks)) as offers:
                async for offer in offers:
                    new = found.add(offer)
                    if new and not offer.withdrawn and (most is None or offer.price_per_mb <= most):
                        holder = replies.holder_of(offer)
                        provisional = v1.FindHoldersResponse(holders=[holder], provisional=True)
                        provisional.MergeFrom(answer)
                        yield provisional
            live = self._service.in_order(found)
            if not live:
                unpriced = await self._service.unpriced(key, found, time.monotonic() - begun, left_s)
                answer.providers_without_price = len(unpriced)
        if request.live and live:
            answer.holders.extend(await self._probed(request, live, deadline_s, began))
        else:
            answer.holders.extend(await self._searches.holders(request, live))
        yield answer

    async def _probed(
        self, request: v1.FindHoldersRequest, live: Sequence[Offer], deadline_s: float | None, begun: float
    ) -> list[v1.Holder]:
        """As the search wants them; of equal ones those first that answered, the quickest before others.

        Those that were silent, or lack the content, come last."""
        left_s = math.inf if deadline_s is None else deadline_s - (time.monotonic() - begun)
        probes: Mapping[str, Probe] = {}
        if self._prober is not None and left_s > self._config.reply_margin_s:
            probes = await self._prober.probe(live, left_s - self._config.reply_margin_s)

        def place(offer: Offer) -> tuple[int, int, int]:
            probe = probes.get(gateway_url(offer))
            seen = (NOT_PROBED, 0) if probe is None else (probe.liveness, probe.took_ms)
            return offer.price_per_mb, *seen

        failed = {url for url, probe in probes.items() if probe.liveness is not HolderLiveness.LIVE}
        gone = [offer for offer in live if gateway_url(offer) in failed]
        there = [offer for offer in live if gateway_url(offer) not in failed]
        order = in_fronts(there, place) + sorted(gone, key=place)
        holders = await self._searches.holders(request, order)
        seen = {(offer.provider, offer.user_id): probes.get(gateway_url(offer)) for offer in live}
        for holder in holders:
            probe = seen.get((PeerId.from_text(holder.provider), holder.id))
            if probe is not None:
                holder.liveness = int(probe.liveness)  # type: ignore[assignment]  # the numbers are the same
                holder.probe_ms = probe.took_ms
        return holders

    async def _watch_holders(
        self, request: v1.WatchHoldersRequest, deadline_s: float | None
    ) -> AsyncGenerator[Message, None]:
        if not 0 <= request.interval_s < math.inf:
            raise CallerFault("interval_s", f"{request.interval_s} is not a number of seconds")
        content = v1_named(request.content)
        most = request.max_price if request.HasField("max_price") else None
        watching = Watching(content.multihash, most)
        caller = CALLER.get()
        if not self._watches.take(caller):
            raise Busy("content", f"{self._watches.used} watches are open already")
        try:
            watch = self._service.watch(watching, request.interval_s, self._searches.find)
            async with aclosing(watch) as changes:
                async for seen in changes:
                    present, gone = (map(replies.holder_of, offers) for offers in (seen.present, seen.gone))
                    half = self._config.max_response_bytes // 2
                    yield v1.WatchHoldersResponse(
                        present=replies.fitting(present, half),
                        gone=replies.fitting(gone, half),
                        cid=content.cid,
                        named_by=content.by,  # type: ignore[arg-type]  # the numbers are the same
                    )
        finally:
            self._watches.release(caller)

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
            raise CallerFault("files", f"expects 1 to {self._config.max_files}, got {len(request.files)}")
        wanted: list[tuple[OfferTerms, Named]] = []
        node = self._service.peer_id
        faults: dict[int, CallerFault] = {}
        turn, began = self._config.searches_a_piece, time.monotonic()
        for place, file in enumerate(request.files):
            if not place % turn:
                await self._work.turns.take(CALLER.get(), min(turn, len(request.files) - place))
            try:
                content = v1_named(file.content)
                wanted.append((v1_terms(file, node, content), content))
            except CallerFault as fault:
                faults[place] = fault
        terms = [one for one, _ in wanted]
        left_s = None if deadline_s is None else max(deadline_s - (time.monotonic() - began), 0.0)
        outcomes = await self._service.register_many(terms, left_s) if terms else []
        contents = [content for _, content in wanted]
        pairs = list(zip(contents, outcomes, strict=True))
        told = await self._work.made(lambda pair: replies.registered_file(*pair), pairs)
        for place, wrong in faults.items():  # in ascending order, so that each lands in its place
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
            raise CallerFault("page_token", "not issued by this server") from None
        page = await self._page(after, size + 1)
        token = _place(page[size - 1]).hex() if len(page) > size else ""
        if not token:
            self._listed = []
        offers = await self._work.made(replies.own_of, page[:size])
        return v1.ListOffersResponse(offers=offers, next_page_token=token)

    async def _page(self, after: bytes, size: int) -> list[Offer]:
        """Own offers after that place. Pages from the second on share one sorted list, made once: selecting
        each page among all offers would take time quadratic in their number."""
        now = self._service.now()
        if not after:
            self._listed, self._listings = [], self._listings + 1
            page: list[Offer] = []
            async for offers in self._in_turns(self._every()):
                page = nsmallest(size, chain(page, offers), key=_place)
            return page
        listed = self._listed
        if not listed or not 0 <= now - self._listed_at <= LISTING_S:
            listings = self._listings
            pieces = [sorted(offers, key=_place) async for offers in self._in_turns(self._every())]
            listed = [
                offer async for offers in self._in_turns(merge(*pieces, key=_place)) for offer in offers
            ]
            if listings == self._listings:  # a listing begun since may have to show more
                self._listed, self._listed_at = listed, now
        start = bisect_right(listed, after, key=_place)
        return listed[start : start + size]

    def _every(self) -> tuple[Offer, ...]:
        """A snapshot: offers may be added while others have their turn."""
        return tuple(self._service.own_offers())

    async def _in_turns(self, offers: Iterable[Offer]) -> AsyncGenerator[list[Offer], None]:
        """Yields many at a time, each when it is the caller's turn."""
        left = iter(offers)
        while True:
            await self._work.turns.take(CALLER.get(), self._config.searches_a_turn)
            if not (some := list(islice(left, OFFERS_A_TURN))):
                return
            yield some


def _place(offer: Offer) -> bytes:
    """The sort order of pages; a content is a multihash, which encodes its own length."""
    return offer.content + offer.user_id
