"""The page's search: holders as they are found, and for its owner whether each is there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fastmarket.config import WebConfig
from fastmarket.errors import CallerFault, FastmarketError
from fastmarket.formats.cid import Named, NamedBy, cid_text, named
from fastmarket.formats.cid_path import cid_and_path
from fastmarket.formats.identity import PeerId
from fastmarket.market.dht import Dht
from fastmarket.net.gateways import gateway_url
from fastmarket.offers.model.metadata import Way
from fastmarket.offers.model.offer import Offer
from fastmarket.web.page_guard import PageGuard
from fastmarket.web.streaming import Json, JsonLines
from fastmarket.web.write_access import WriteAccess

if TYPE_CHECKING:
    from fastmarket.net.fetching.probing import Prober


class PageSearch:
    """One route, `/find`, that streams a line of JSON for each offer."""

    def __init__(
        self, market: Dht, config: WebConfig, writers: WriteAccess, prober: Prober | None = None
    ) -> None:
        """`prober` asks holders whether they are there, for callers that may write: it sends requests of this
        node to places that strangers named."""
        self._market = market
        self._config = config
        self._writers = writers
        self._prober = prober
        self._guard = PageGuard(config)

    def routes(self) -> list[Route]:
        """To be mounted at the root."""
        return [self._guard.route("/find", self._find)]

    async def _find(self, request: Request) -> Response:
        content, path = _asked(request.query_params.get("content", ""))
        prober = self._prober if self._writers.refusal(request) is None else None
        return JsonLines(_Running(self._market, content, path, self._config, prober).lines())


class _Running:
    """One search. Offers and answers to probes go into one queue, which holds no more than a lookup finds."""

    def __init__(
        self, market: Dht, content: Named, path: tuple[str, ...], config: WebConfig, prober: Prober | None
    ) -> None:
        self._market = market
        self._content = content
        self._path = path
        self._budget_s = config.lookup_budget_s
        self._prober = prober
        self._most = config.max_probed
        self._probed: set[str] = set()
        self._met: set[PeerId] = set()
        self._lines: asyncio.Queue[Json | None] = asyncio.Queue()
        self._fault: FastmarketError | None = None

    async def lines(self) -> AsyncGenerator[Json, None]:
        """An offer each as it is found, an answer to a probe each as it comes; last what there is to say
        of the whole: if the text was taken as a bare name, or if there are providers without a price."""
        search = asyncio.ensure_future(self._search())
        try:
            while (line := await self._lines.get()) is not None:
                yield line
            await search
            if self._fault is not None:
                raise self._fault
            yield await self._remark()
        finally:
            search.cancel()
            await asyncio.wait((search,))

    async def _search(self) -> None:
        found = self._market.find_offers(self._content.multihash, self._budget_s)
        try:
            async with asyncio.TaskGroup() as probes, aclosing(found) as offers:
                try:
                    async for offer in offers:
                        self._on_offer(offer, probes)
                except FastmarketError as fault:
                    self._fault = fault
        finally:
            self._lines.put_nowait(None)

    def _on_offer(self, offer: Offer, probes: asyncio.TaskGroup) -> None:
        self._met.add(offer.provider)
        self._lines.put_nowait(offer_json(offer, own=offer.provider == self._market.peer_id))
        url = gateway_url(offer)
        if self._prober is not None and url and url not in self._probed and len(self._probed) < self._most:
            self._probed.add(url)
            probes.create_task(self._probe(self._prober, offer))

    async def _probe(self, prober: Prober, offer: Offer) -> None:
        for url, probe in (await prober.probe([offer], self._budget_s)).items():
            self._lines.put_nowait(
                {"probed": url, "liveness": probe.liveness.name.lower(), "ms": probe.took_ms}
            )

    async def _remark(self) -> Json:
        remark: Json = {"end": "complete"}
        if self._path:
            remark["path"] = "/".join(self._path)
        if self._content.by is NamedBy.TEXT_HASH:
            remark["named_by"] = self._content.by.name
        if not self._met:
            providers = await self._market.content_providers(self._content.multihash, self._budget_s)
            unpriced = len({*providers} - {self._market.peer_id})
            remark |= {"providers_without_price": unpriced} if unpriced else {}
        return remark


def _asked(text: str) -> tuple[Named, tuple[str, ...]]:
    """The content, and a path behind its CID. Raises CallerFault."""
    with suppress(CallerFault):
        cid, path = cid_and_path(text)
        if path:
            return named(str(cid)), path
    try:
        return named(text), ()
    except CallerFault as fault:
        raise CallerFault("content", fault.reason) from None


def offer_json(offer: Offer, *, own: bool = False) -> Json:
    """Prices and sizes as text: they may exceed what a JavaScript number holds exactly."""
    metadata = offer.metadata
    return {
        "cid": cid_text(offer.content, offer.form),
        "file": metadata.name,
        "holder": offer.user_name or offer.user_id[:16].decode("utf-8", "replace"),
        "provider": str(offer.provider),
        "user_id": offer.user_id.hex(),
        "at": f"[{metadata.ip}]:{metadata.port}" if ":" in metadata.ip else f"{metadata.ip}:{metadata.port}",
        "url": gateway_url(offer),
        "ways": [way.name.lower() for way in Way if way & metadata.ways and way.name],
        "price_per_mb": str(metadata.price_per_mb),
        "size": None if metadata.size is None else str(metadata.size),
        "not_after": offer.not_after,
        "seq": str(offer.seq),
        "withdrawn": offer.withdrawn,
        "own": own,
    }
