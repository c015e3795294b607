"""Nodes that leave a small network, over real sockets: those that stay notice, and go on taking
registrations."""

from __future__ import annotations

import asyncio

import httpx

from fastmarket.config import KadConfig, WebConfig
from fastmarket.formats.choice import Choice, FailureKind
from fastmarket.formats.cid import new_cidv0
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.lookup.queries import FindNode, GetProviders
from fastmarket.libp2p.requests import Failed, Reply
from fastmarket.net.dht_node import DhtNode
from fastmarket.offers.model.metadata import FileMetadata
from fastmarket.web.routing_api import RoutingApi
from fastmarket.web.server import WebServer
from tests.conftest import Run
from tests.net.loopback import DEADLINE_S, LOOPBACK, ask, identity, nodes, seed, until

METADATA = FileMetadata("192.0.2.7", 9000, 5)
KEY = new_cidv0(b"a key").multihash


async def kill(node: DhtNode) -> None:
    """As the system ends a process: no good-bye, and the port refuses."""
    node.host.transports.stop_listening()
    for link in node.host.links.all():
        link.abort()


async def joined(made: list[DhtNode]) -> None:
    await asyncio.gather(*(node.bootstrap([seed(made[0])], DEADLINE_S) for node in made[1:]))
    everybody = len(made) - 1
    await until(lambda: all(node.engine.table_size == everybody for node in made))


async def register(node: DhtNode, number: int, deadline_s: float = 2.0) -> None:
    content = new_cidv0(b"file %d" % number).multihash
    outcome = await node.register_offer(content, b"u", "bob", METADATA, deadline_s)
    assert outcome.is_reached, (number, outcome)


def test_who_stops_in_order_is_dropped_by_all_at_once(run: Run[None]) -> None:
    async def scenario() -> None:
        async with nodes(3) as made:
            await joined(made)
            leaving = made[2]
            await leaving.close()
            await until(lambda: all(node.engine.table_size == 1 for node in made[:2]))
            # It is neither asked again nor named to others.
            assert not any(
                leaving.peer_id == peer.peer_id
                for peer in made[1].engine.routing.unresponsive.by_key.values()
            )
            await register(made[1], 1)

    run(scenario())


def test_whoever_stays_goes_on_registering(run: Run[None]) -> None:
    async def scenario() -> None:
        for size in range(2, 7):
            for leave in (DhtNode.close, kill):
                async with nodes(size) as made:
                    await joined(made)
                    for number in range(3):
                        await register(made[0], number)
                    for node in made[size - max((size - 1) // 2, 1) :]:
                        await leave(node)
                    for number in range(3, 9):
                        await register(made[0], number)
                    await asyncio.gather(*(register(made[0], number) for number in range(10, 40)))

    run(scenario())


def test_an_address_that_refuses_or_has_another_peer_says_that_nobody_is_there(run: Run[None]) -> None:
    async def scenario() -> None:
        async with nodes(2) as (node, other):
            choice = FindNode(KadConfig(), node.peer_id.raw).choices(PeerInfo(node.peer_id))[0]
            stranger = PeerInfo(identity(77).peer_id, other.host.listen_addrs)
            outcome = await ask(node, stranger, choice)
            assert isinstance(outcome, Failed)
            assert outcome.kind is FailureKind.GONE
            was = seed(other)
            await kill(other)
            for _ in range(2):  # the second time the address is not even tried
                outcome = await ask(node, was, choice)
                assert isinstance(outcome, Failed)
                assert outcome.kind is FailureKind.GONE

    run(scenario())


def test_one_that_comes_and_goes_costs_no_registration(run: Run[None]) -> None:
    async def scenario() -> None:
        async with nodes(4) as made:
            await joined(made)
            going = True

            async def others() -> None:
                number = 0
                while going:
                    number += 1
                    guest = DhtNode(identity(100 + number % 2), made[0]._config)
                    await guest.listen(LOOPBACK)
                    await guest.bootstrap([seed(made[0])], DEADLINE_S)
                    await (DhtNode.close if number % 2 else kill)(guest)
                    await guest.close()

            guests = asyncio.ensure_future(others())
            for number in range(150):
                await register(made[1], number, 1.0)
            going = False
            await guests

    run(scenario())


def test_a_withdrawal_hides_the_holders_bare_record_in_every_answer(run: Run[None]) -> None:
    async def scenario() -> None:
        async with nodes(3) as made:
            await joined(made)
            holder, storer, asked = made
            for provider in (holder, asked):  # as nodes that know no offers are told
                for node in made:
                    node.engine.handlers.providers.add(KEY, seed(provider), node.now())
            await holder.register_offer(KEY, b"u", "bob", METADATA, DEADLINE_S)

            async def told() -> list[set[str]]:
                choice: Choice = GetProviders(KadConfig(), KEY).choices(seed(storer))[0]
                reply = await ask(asked, seed(storer), choice)
                assert isinstance(reply, Reply)
                answers = [
                    {str(peer.peer_id) for peer in await node.find_providers(KEY, deadline_s=DEADLINE_S)}
                    for node in made
                ]
                read = GetProviders(KadConfig(), KEY).read(seed(storer), reply.protocol, reply.payload, 0.0)
                answers.append({str(one.peer_id) for one in read.items if isinstance(one, PeerInfo)})
                config = WebConfig(port=0, stop_grace_s=0.01)
                for node in made:
                    routes = RoutingApi(node.public, config, KadConfig()).routes()
                    server = WebServer(routes, config, "127.0.0.1", 0)
                    url = (
                        f"http://127.0.0.1:{await server.start()}/routing/v1/providers/{new_cidv0(b'a key')}"
                    )
                    url += "?filter-protocols=fastmarket-offer,unknown"  # holders of offers, too
                    async with httpx.AsyncClient(timeout=DEADLINE_S) as http:
                        found = (await http.get(url)).json()["Providers"]
                    answers.append({one["ID"] for one in found})
                    await server.stop()
                return answers

            both = {str(holder.peer_id), str(asked.peer_id)}
            assert all(answer == both for answer in await told())
            assert (await holder.withdraw_offer(KEY, b"u", DEADLINE_S)).is_reached
            assert all(answer == {str(asked.peer_id)} for answer in await told())
            await holder.register_offer(KEY, b"u", "bob", METADATA, DEADLINE_S)
            assert all(answer == both for answer in await told())

    run(scenario())
