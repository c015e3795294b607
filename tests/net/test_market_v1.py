"""`fastmarket.v1.Market`: streams, withdrawals, many at once; a real server over engines in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any

import grpc.aio
import pytest

from fastmarket.config import MarketConfig
from fastmarket.errors import CallerFault, NotFound
from fastmarket.formats.cid import content_multihash
from fastmarket.market.grpc_client import Found, Holder, Listing
from fastmarket.offers.model.metadata import FileMetadata
from fastmarket.offers.model.offer import OfferTerms, sign_offer
from tests.net.test_grpc import CONFIG, CONTENT, HASH, Market, served
from tests.virtual import identity

TERMS = FileMetadata("192.0.2.1", 80, 5, 12, "a.txt")


def stored(market: Market, number: int, price: int) -> None:
    """An offer by somebody else, at a node that is asked."""
    terms = OfferTerms(CONTENT, b"x", f"holder {number}", FileMetadata("192.0.2.9", 99, price))
    offer = sign_offer(identity(number), terms, market.net.now)
    node = market.nodes[1].offers
    assert node is not None
    node.store.add(offer, market.net.now)


async def collect(found: Any) -> list[Found]:
    async with aclosing(found) as stream:
        return [one async for one in stream]


def prices(holders: Sequence[Holder]) -> list[int]:
    return [holder.price for holder in holders]


def test_holders_come_one_by_one_and_then_in_order(run: Any) -> None:
    async def main() -> None:
        async with served() as (market, client, _):
            for number, price in ((50, 9), (51, 3), (52, 6)):
                stored(market, number, price)
            *early, last = await collect(client.stream_holders(HASH))
            assert [one.provisional for one in early] == [True] * 3
            assert sorted(price for one in early for price in prices(one.holders)) == [3, 6, 9]
            assert (last.provisional, prices(last.holders)) == (False, [3, 6, 9])
            assert prices(await client.find_holders(HASH, max_price=6)) == [3, 6]
            assert prices(await client.find_holders(HASH, limit=1)) == [3]
            assert [one.provisional for one in await collect(client.stream_holders("nobody"))] == [False]

    run(main())


def test_a_caller_that_leaves_ends_the_search(run: Any) -> None:
    async def main() -> None:
        async with served(MarketConfig(port=0, find_budget_s=20.0)) as (market, client, _):
            stored(market, 50, 9)
            closed = asyncio.Event()
            offers = market.dht.find_offers

            async def hanging(content: bytes, deadline_s: float, ranks: object = None) -> AsyncIterator[Any]:
                try:
                    async for offer in offers(content, deadline_s):
                        yield offer
                    await asyncio.Event().wait()
                finally:
                    closed.set()

            market.dht.find_offers = hanging  # type: ignore[method-assign, assignment]
            async with aclosing(client.stream_holders(HASH)) as found:
                async for one in found:
                    assert prices(one.holders) == [9], "the first holder comes while the search goes on"
                    break
            await closed.wait()

    run(main())


def test_many_files_are_answered_one_by_one(run: Any) -> None:
    async def main() -> None:
        async with served() as (market, client, _):
            good = [Listing(f"{number:064x}", TERMS, b"me", "Ann") for number in range(5)]
            bad = Listing("", TERMS, b"me", "Ann")

            async def batches() -> AsyncIterator[list[Listing]]:
                yield [good[0], bad, good[1]]
                yield good[2:]

            first, second = [outcomes async for outcomes in client.register_many(batches())]
            assert [outcome.message for outcome in first] == ["", "content: is empty", ""]
            assert all(outcome.acknowledged >= outcome.wanted > 0 for outcome in (first[0], *second))
            assert [outcome.named_by for outcome in first] == ["SHA256", "", "SHA256"]
            assert content_multihash(first[0].cid) == content_multihash(good[0].content)
            assert len(market.dht.offers.own) == 5

            async def empty() -> AsyncIterator[list[Listing]]:
                yield []

            with pytest.raises(CallerFault, match="files: expects 1 to 2000, got 0"):
                _ = [outcomes async for outcomes in client.register_many(empty())]

    run(main())


def test_own_offers_are_listed_by_pages_and_withdrawn(run: Any) -> None:
    async def main() -> None:
        async with served(MarketConfig(port=0, max_page=2)) as (_, client, _):
            contents = [f"{number:064x}" for number in range(5)]
            for content in contents:
                await client.register(content, TERMS, user_id=b"me", user_name="Ann")
            listed = [offer async for offer in client.list_offers()]
            assert [content_multihash(offer.content) for offer in listed] == [
                content_multihash(content) for content in contents
            ]
            assert {offer.holder.name for offer in listed} == {"Ann"}
            done = await client.withdraw(contents[2], user_id=b"me")
            assert (done.cid, done.acknowledged) == (listed[2].content, 2)
            assert await client.find_holders(contents[2]) == []
            assert len([offer async for offer in client.list_offers()]) == 4
            for content, user_id in ((contents[3], b"you"), ("ff" * 32, b"me")):
                with pytest.raises(NotFound, match="no such offer"):
                    await client.withdraw(content, user_id=user_id)

    run(main())


def test_what_changes_between_two_pages_is_listed_once_at_most(run: Any) -> None:
    async def main() -> None:
        async with served(MarketConfig(port=0, max_page=2)) as (_, client, _):

            async def register(number: int) -> None:
                await client.register(f"{number:064x}", TERMS, user_id=b"me")

            for number in range(0, 20, 2):
                await register(number)
            seen: list[str] = []
            async for offer in client.list_offers():
                seen.append(offer.content)
                if len(seen) == 5:
                    for number in range(1, 20, 2):
                        await register(number)
                    await client.withdraw(f"{18:064x}", user_id=b"me")
                    # Another listing begins, and is complete.
                    assert len([other async for other in client.list_offers()]) == 19
            assert len(set(seen)) == len(seen)
            assert {content_multihash(f"{number:064x}") for number in range(0, 18, 2)} <= set(
                map(content_multihash, seen)
            )
            assert seen == sorted(seen, key=content_multihash)

    run(main())


def test_a_page_token_of_ones_own_is_refused(run: Any) -> None:
    async def main() -> None:
        async with served(CONFIG) as (market, _, _), grpc.aio.insecure_channel(market.target) as channel:
            from fastmarket.pb.fastmarket.v1 import market_pb2 as v1

            call = channel.unary_unary("/fastmarket.v1.Market/ListOffers")
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(v1.ListOffersRequest(page_token="none").SerializeToString())
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert str(caught.value.details()).startswith("page_token: ")

    run(main())
