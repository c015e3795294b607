"""Watches that are due at once search in turns."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import Any, cast

from fastmarket.config import MarketConfig
from fastmarket.formats.identity import PeerId
from fastmarket.market.calls import Work
from fastmarket.market.dht import Dht
from fastmarket.market.searches import Searches
from fastmarket.market.service import MarketService
from fastmarket.market.watching import Seen, Watching
from fastmarket.offers.model.offer import Offer
from tests.virtual import CONTENT, identity

WATCHES = 300


@dataclass
class Known:
    """A result that is known without asking anybody."""

    offers: tuple[Offer, ...] = ()


class Lone:
    """A node that has nobody to ask; notes in which turn of the loop it is asked."""

    def __init__(self) -> None:
        self.turn = 0
        self.asked_in = Counter[int]()

    @property
    def peer_id(self) -> PeerId:
        return identity(1).peer_id

    def tick(self) -> None:
        self.turn += 1
        asyncio.get_running_loop().call_soon(self.tick)

    def known_offers(self, content: bytes) -> Known:
        self.asked_in[self.turn] += 1
        return Known()


def test_hundreds_of_watches_that_are_due_at_once_search_a_few_in_a_turn(run: Any) -> None:
    async def main() -> None:
        lone, config = Lone(), MarketConfig()
        service = MarketService(cast("Dht", lone), config)
        searches = Searches(service, config, Work(config))
        lone.tick()
        watches = [service.watch(Watching(CONTENT), 1.0, searches.find) for _ in range(WATCHES)]
        first = await asyncio.gather(*(anext(watch) for watch in watches))
        assert first == [Seen((), ())] * WATCHES
        # A search asks twice: whether it needs a slot, and for the result.
        assert max(lone.asked_in.values()) <= 4 * config.searches_a_turn
        for watch in watches:
            await watch.aclose()

    run(main())


def test_watches_end_with_the_node_and_not_before(run: Any) -> None:
    async def main() -> None:
        service = MarketService(cast("Dht", Lone()))
        watch = service.watch(Watching(CONTENT), 3600.0)
        await anext(watch)
        coming = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0)
        assert not coming.done()
        service.end_watches()
        service.end_watches()
        (ended,) = await asyncio.gather(coming, return_exceptions=True)
        assert "shutting down" in str(ended)

    run(main())
