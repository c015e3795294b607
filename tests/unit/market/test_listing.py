"""Pages of own offers, while others begin theirs."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from fastmarket.config import MarketConfig
from fastmarket.market.calls import Work
from fastmarket.market.service import MarketService
from fastmarket.market.v1_methods import V1Methods
from fastmarket.offers.model.offer import Offer, sign_offer
from fastmarket.pb.fastmarket.v1 import market_pb2 as v1
from tests.virtual import identity, terms

SIZE = 2


class Offering:
    """A service that offers so much."""

    def __init__(self, contents: list[bytes]) -> None:
        self.offers = [offer_of(content) for content in contents]

    def own_offers(self) -> list[Offer]:
        return list(self.offers)

    def now(self) -> float:
        return 1000.0


def offer_of(content: bytes) -> Any:
    return sign_offer(identity(7), terms(content=content), 1000.0)


@pytest.mark.parametrize("turns", range(10))
def test_an_order_begun_before_a_listing_is_not_its_order(run: Any, turns: int) -> None:
    """Else it lacks what came between the two, though that was there before the listing began."""
    contents = [b"\x12\x20" + bytes([number]) * 32 for number in range(6)]
    service = Offering(contents[:-1])
    config = MarketConfig()
    methods = V1Methods(cast("MarketService", service), config, Work(config))

    async def page(token: str) -> Any:
        request = v1.ListOffersRequest(page_size=SIZE, page_token=token)
        return await methods._list_offers(request, None)

    async def main() -> None:
        first = await page("")
        other = asyncio.ensure_future(page(first.next_page_token))
        for _ in range(turns):
            await asyncio.sleep(0)
        service.offers.append(offer_of(contents[-1]))
        ours, token = 0, ""
        while True:
            told = await page(token)
            ours, token = ours + len(told.offers), told.next_page_token
            if not token:
                break
        assert ours == len(contents)
        await other

    run(main())
