"""Registrations by many callers at once share the work, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from fastmarket.config import NodeConfig
from fastmarket.errors import Busy, ConnectionLost
from fastmarket.formats.cid import new_cidv0
from fastmarket.kad.outcome import Outcome
from fastmarket.net.dht_node import DhtNode
from fastmarket.offers.model.metadata import FileMetadata
from fastmarket.offers.model.offer import OfferTerms
from tests.conftest import Run
from tests.net.loopback import DEADLINE_S, nodes, seed, until

CALLERS = 200


def content(number: int) -> bytes:
    return new_cidv0(b"file %d" % number).multihash


def register(
    node: DhtNode, number: int, price: int = 1, deadline_s: float = DEADLINE_S
) -> asyncio.Task[Outcome]:
    metadata = FileMetadata("192.0.2.7", 9000, price)
    return asyncio.ensure_future(node.register_offer(content(number), b"u", "ann", metadata, deadline_s))


async def found(node: DhtNode, number: int) -> list[int]:
    return [offer.price_per_mb async for offer in node.find_offers(content(number), DEADLINE_S)]


def test_many_callers_at_once_need_few_messages_and_all_get_their_quorum(run: Run[None]) -> None:
    async def scenario() -> None:
        async with nodes(4) as made:
            await asyncio.gather(*(node.bootstrap([seed(made[0])], DEADLINE_S) for node in made[1:]))
            jobs: list[str] = []
            made[1].job_observers.append(lambda kind, result, took: jobs.append(kind))
            outcomes = await asyncio.gather(*(register(made[1], number) for number in range(CALLERS)))
            assert all(outcome.is_reached and outcome.asked == 3 for outcome in outcomes)
            assert len(jobs) < CALLERS / 4
            for number in (0, 1, CALLERS // 2, CALLERS - 1):
                assert await found(made[2], number) == [1]
            # One that comes alone afterwards is registered alone.
            await register(made[1], CALLERS)
            assert (await register(made[1], CALLERS + 1)).is_reached

    run(scenario())


def test_of_several_prices_for_one_content_the_last_counts(run: Run[None]) -> None:
    async def scenario() -> None:
        async with nodes(2) as (a, b):
            await b.bootstrap([seed(a)], DEADLINE_S)
            await asyncio.gather(*(register(b, 0, price) for price in range(1, 20)))
            assert await found(a, 0) == [19]
            assert await found(b, 0) == [19]

    run(scenario())


def test_who_finds_no_room_takes_nobody_elses(run: Run[None]) -> None:
    config = NodeConfig()
    config = replace(config, offers=replace(config.offers, max_own_offers=10))

    async def scenario() -> None:
        async with nodes(2, config) as (a, b):
            await b.bootstrap([seed(a)], DEADLINE_S)
            ended = await asyncio.gather(*(register(b, n) for n in range(30)), return_exceptions=True)
            assert sum(isinstance(end, Busy) for end in ended) == 20
            assert sum(isinstance(end, Outcome) and end.is_reached for end in ended) == 10
            assert b.node_info().own_offers == 10

    run(scenario())


def test_a_caller_that_gives_up_takes_nothing_away_from_the_others(run: Run[None]) -> None:
    async def scenario() -> None:
        async with nodes(2) as (a, b):
            await b.bootstrap([seed(a)], DEADLINE_S)
            calls = [register(b, number) for number in range(50)]
            await asyncio.sleep(0)
            for call in calls[::2]:
                call.cancel()
            outcomes = await asyncio.gather(*calls[1::2])
            assert all(outcome.is_reached for outcome in outcomes)

    run(scenario())


def test_a_node_that_stops_tells_those_who_wait(run: Run[None]) -> None:
    async def scenario() -> None:
        async with nodes(2) as (a, b):
            await b.bootstrap([seed(a)], DEADLINE_S)
            calls = [register(b, number) for number in range(50)]
            await asyncio.sleep(0)
            await b.close()
            async with asyncio.timeout(DEADLINE_S / 2):
                ended = await asyncio.gather(*calls, return_exceptions=True)
            assert all(isinstance(end, ConnectionLost) for end in ended)

    run(scenario())


def crowd(node: DhtNode, numbers: Iterable[int]) -> list[OfferTerms]:
    metadata = FileMetadata("192.0.2.7", 9000, 1)
    return [OfferTerms(content(number), node.peer_id.raw[:8], "ann", metadata) for number in numbers]


def test_what_storers_refuse_again_and_again_keeps_nobody_waiting(run: Run[None]) -> None:
    """Offers for contents that have as many as they may: one by one, and among many registered at once."""

    async def scenario() -> None:
        config = NodeConfig()
        bounds = replace(config.offers, max_offers_per_content=1, register_slice=8, max_gathering=2)
        bounds = replace(bounds, max_registering=2, retry_s=10 * DEADLINE_S)
        async with nodes(4, replace(config, offers=bounds)) as made:
            await asyncio.gather(*(node.bootstrap([seed(made[0])], DEADLINE_S) for node in made[1:]))
            outcomes = await made[1].register_offers(crowd(made[1], range(64)), DEADLINE_S)
            assert all(outcome.is_reached for outcome in outcomes)
            late: list[asyncio.Future[Any]] = []
            for number in range(8):
                late.append(register(made[0], number, deadline_s=10 * DEADLINE_S))
                await until(lambda: len(made[0].offers.own) > number)  # noqa: B023 - done before the next
            assert (await register(made[0], 1000)).is_reached

            every = crowd(made[0], range(64, 128)) + crowd(made[0], range(8, 16))
            late.append(asyncio.ensure_future(made[0].register_offers(every, 10 * DEADLINE_S)))
            await until(lambda: len(made[0].offers.own) == 8 + 1 + 72)
            assert (await register(made[0], 1001)).is_reached
            for one in late:
                assert not one.done()
                one.cancel()

    run(scenario())


def test_of_many_at_once_none_is_tried_for_as_long_as_all_of_them_may_take(run: Run[None]) -> None:
    async def scenario() -> None:
        config = NodeConfig()
        bounds = replace(config.offers, max_offers_per_content=1, retry_s=0.2)
        async with nodes(4, replace(config, offers=bounds)) as made:
            await asyncio.gather(*(node.bootstrap([seed(made[0])], DEADLINE_S) for node in made[1:]))
            await made[1].register_offers(crowd(made[1], [0]), DEADLINE_S)
            async with asyncio.timeout(DEADLINE_S):
                outcomes = await made[0].register_offers(crowd(made[0], range(3)), 10 * DEADLINE_S)
            assert [outcome.is_reached for outcome in outcomes] == [False, True, True]

    run(scenario())
