"""Registrations by many callers at once share the work, and nothing else."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from fastmarket.config import NodeConfig
from fastmarket.errors import Busy, ConnectionLost
from fastmarket.formats.cid import new_cidv0
from fastmarket.net.dht_node import DhtNode
from fastmarket.offers.metadata import FileMetadata
from fastmarket.offers.views import StoreOutcome
from tests.conftest import Run
from tests.net.loopback import DEADLINE_S, nodes, seed

CALLERS = 200


def content(number: int) -> bytes:
    return new_cidv0(b"file %d" % number).multihash


def register(node: DhtNode, number: int, price: int = 1) -> asyncio.Task[StoreOutcome]:
    metadata = FileMetadata("192.0.2.7", 9000, price)
    return asyncio.ensure_future(node.register_offer(content(number), b"u", "ann", metadata, DEADLINE_S))


async def found(node: DhtNode, number: int) -> list[int]:
    return [offer.price_per_mb async for offer in node.find_offers(content(number), DEADLINE_S)]


def test_many_callers_at_once_need_few_messages_and_all_get_their_quorum(run: Run[None]) -> None:
    async def scenario() -> None:
        async with nodes(4) as made:
            await asyncio.gather(*(node.bootstrap([seed(made[0])], DEADLINE_S) for node in made[1:]))
            jobs: list[str] = []
            made[1].job_observers.append(lambda kind, result, took: jobs.append(kind))
            outcomes = await asyncio.gather(*(register(made[1], number) for number in range(CALLERS)))
            assert all(outcome.reached and outcome.asked == 3 for outcome in outcomes)
            assert len(jobs) < CALLERS / 4
            for number in (0, 1, CALLERS // 2, CALLERS - 1):
                assert await found(made[2], number) == [1]
            # One that comes alone afterwards is registered alone.
            await register(made[1], CALLERS)
            assert (await register(made[1], CALLERS + 1)).reached

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
            assert sum(isinstance(end, StoreOutcome) and end.reached for end in ended) == 10
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
            assert all(outcome.reached for outcome in outcomes)

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
