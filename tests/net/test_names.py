"""How contents are named, over gRPC and between real nodes: the forms of a CID, what is kept of it, and who
has a content without a price."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc
import pytest

from fastmarket.config import MarketConfig
from fastmarket.errors import CallerFault
from fastmarket.formats.cid import Cid, Codec, new_cidv0
from fastmarket.market.client_values import HolderSearch, Listing
from fastmarket.market.grpc_client import Found, MarketClient
from fastmarket.market.grpc_server import MarketServer
from fastmarket.market.service import MarketService
from fastmarket.net.dht_node import DhtNode
from fastmarket.offers.model.metadata import FileMetadata
from fastmarket.pb import market_pb2
from fastmarket.pb.fastmarket.v1 import market_pb2 as v1
from tests.conftest import Run
from tests.net.loopback import DEADLINE_S, nodes, seed, until
from tests.net.test_grpc import served

CONFIG = MarketConfig(port=0)
MULTIHASH = new_cidv0(b"a small file").multihash
RAW = str(Cid(1, Codec.RAW, MULTIHASH))
V0 = str(Cid(0, Codec.DAG_PB, MULTIHASH))
CBOR = str(Cid(1, 0x71, MULTIHASH))
HEX = MULTIHASH[2:].hex()
TERMS = FileMetadata("192.0.2.1", 80, 5)
COPIED = ["ipfs://{}", "/ipfs/{}", "https://ipfs.io/ipfs/{}", "{}.ipfs.dweb.link", "{}/", " {}\n"]


@asynccontextmanager
async def network(count: int) -> AsyncIterator[tuple[list[DhtNode], list[MarketClient]]]:
    """Joined nodes, each with a server, and a client of each."""
    async with nodes(count) as made, AsyncExitStack() as stack:
        clients = []
        for node in made:
            if node is not made[0]:
                await node.bootstrap([seed(made[0])], DEADLINE_S)
            server = MarketServer(MarketService(node, CONFIG, now=node.now), CONFIG)
            port = await server.start()
            stack.push_async_callback(server.stop)
            clients.append(await stack.enter_async_context(MarketClient(f"127.0.0.1:{port}")))
        await until(lambda: all(node.engine.table_size == count - 1 for node in made))
        yield made, clients


async def one(items: Any) -> Any:
    """The first of them."""
    return await anext(aiter(items))


async def several(item: Any) -> AsyncIterator[Any]:
    yield item


Call = Callable[[MarketClient, str], Awaitable[Any]]
CALLS: dict[str, Call] = {
    "RegisterFile": lambda client, text: client.register(text, TERMS, user_id=b"u"),
    "RegisterFiles": lambda client, text: one(client.register_many(several([Listing(text, TERMS, b"u")]))),
    "FindHolders": lambda client, text: client.search_holders(text),
    "FindHoldersBatch": lambda client, text: one(client.find_many(several(HolderSearch(text)))),
    "WatchHolders": lambda client, text: one(client.watch_holders(text)),
    "ClosestPeers": lambda client, text: client.closest_peers(text),
    "CheckHolders": lambda client, text: client.check(text),
    "WithdrawFile": lambda client, text: client.withdraw(text, user_id=b"u"),
}


def test_every_method_that_takes_a_content_is_tried() -> None:
    taking = set()
    for service in (
        v1.DESCRIPTOR.services_by_name["Market"],
        market_pb2.DESCRIPTOR.services_by_name["Market"],
    ):
        for method in service.methods:
            fields = {field.name for field in method.input_type.fields}
            if fields & {"content", "fileHash", "files", "search"}:
                taking.add(method.name)
    # These two take paths as well: tests/net/fetching, tests/e2e/test_selling.py.
    assert taking - {"Fetch", "Unsell"} == set(CALLS)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_each_method_reads_each_form_alike(run: Run[None], call: Call) -> None:
    async def main() -> None:
        async with served() as (market, client, _):
            for form in COPIED:
                text = form.format(RAW)
                await client.register(HEX, TERMS, user_id=b"u")
                answer = await call(client, text)
                answer = answer[0] if isinstance(answer, list) and answer else answer
                assert getattr(answer, "named_by", "CID") == "CID"
            assert {offer.content for offer in market.dht.own_offers()} <= {MULTIHASH}
            for bad, why in ((f"/ipfs/{RAW}/a", "path after the CID"), (RAW[:-8], "cut short")):
                try:
                    answer = await call(client, bad)
                except CallerFault as fault:
                    told = str(fault)
                else:
                    told = (answer[0] if isinstance(answer, list) else answer).message
                assert told.startswith(("content: ", "fileHash: "))
                assert why in told

    run(main())


def test_every_answer_tells_how_the_content_was_named(run: Run[None]) -> None:
    async def main() -> None:
        async with served() as (market, client, _):
            channel = grpc.aio.insecure_channel(market.target)
            async with channel:
                for text, by in (
                    (RAW, v1.CID),
                    (HEX, v1.SHA256),
                    ("a name", v1.TEXT_HASH),
                ):
                    search = v1.FindHoldersRequest(content=text)
                    request = v1.FindHoldersBatchRequest(id=1, searches=[search])
                    assert (await client.register(text, TERMS)).named_by == v1.NamedBy.Name(by)
                    assert (await client.search_holders(text)).named_by == v1.NamedBy.Name(by)
                    batch = channel.stream_stream(
                        "/fastmarket.v1.Market/FindHoldersBatch",
                        request_serializer=v1.FindHoldersBatchRequest.SerializeToString,
                        response_deserializer=v1.FindHoldersBatchResponse.FromString,
                    )
                    answer = await one(batch(several(request)))
                    assert [found.named_by for found in answer.found] == [by]
                    closest = channel.unary_unary(
                        "/fastmarket.v1.Market/ClosestPeers",
                        request_serializer=v1.ClosestPeersRequest.SerializeToString,
                        response_deserializer=v1.ListPeersResponse.FromString,
                    )
                    assert (await closest(v1.ClosestPeersRequest(content=text))).named_by == by
                    watch = channel.unary_stream(
                        "/fastmarket.v1.Market/WatchHolders",
                        request_serializer=v1.WatchHoldersRequest.SerializeToString,
                        response_deserializer=v1.WatchHoldersResponse.FromString,
                    )
                    assert (await one(watch(v1.WatchHoldersRequest(content=text)))).named_by == by
                    assert (await client.withdraw(text)).named_by == v1.NamedBy.Name(by)

    run(main())


def test_the_cid_that_was_given_is_shown_everywhere(run: Run[None]) -> None:
    async def main() -> None:
        async with network(3) as (made, (holder, other, asked)):
            assert (await holder.register(f"ipfs://{RAW}", TERMS, user_id=b"raw")).cid == RAW
            assert (await other.register(V0, TERMS, user_id=b"v0")).cid == V0
            (many,) = [got async for got in other.register_many(several([Listing(CBOR, TERMS, b"cbor")]))]
            assert [outcome.cid for outcome in many] == [CBOR]
            assert (await other.register(HEX, TERMS, user_id=b"hex")).cid == RAW
            for text, cid in ((HEX, RAW), (RAW, RAW), (V0, V0)):
                found = await asked.search_holders(text)
                assert found.cid == cid
                told = {holder.id: holder.cid for holder in found.holders}
                assert told == {b"raw": RAW, b"v0": V0, b"cbor": CBOR, b"hex": ""}
            listed = {offer.holder.id: offer.content async for offer in other.list_offers()}
            assert listed == {b"v0": V0, b"cbor": CBOR, b"hex": RAW}
            # Another codec is no other offer; and whoever takes it back is told which it was.
            assert (await other.register(CBOR, TERMS, user_id=b"v0")).cid == CBOR
            assert len(made[1].offers.own) == 3
            assert (await other.withdraw(HEX, user_id=b"v0")).cid == CBOR
            assert {holder.cid for holder in await asked.find_holders(V0)} == {RAW, CBOR, ""}

    run(main())


def test_who_has_a_content_without_a_price_is_counted(run: Run[None]) -> None:
    async def main() -> None:
        async with network(5) as (made, (asked, seller, *_)):
            for provider in made[2:]:
                await provider.provide(MULTIHASH, deadline_s=DEADLINE_S)
            found = await asked.search_holders(RAW)
            assert found == Found((), False, RAW, "CID", 3)
            await made[4].close()  # its record stays where it was put
            assert (await asked.search_holders(RAW)).providers_without_price == 3
            await made[0].provide(MULTIHASH, deadline_s=DEADLINE_S)
            assert (await asked.search_holders(RAW)).providers_without_price == 3, (
                "ourselves, who make no offer"
            )
            assert (await seller.search_holders(RAW)).providers_without_price == 4
            await seller.register(RAW, TERMS)
            found = await asked.search_holders(RAW)
            assert (len(found.holders), found.providers_without_price) == (1, 0)
            found = await asked.search_holders(RAW, max_price=0)
            assert (len(found.holders), found.providers_without_price) == (0, 0), (
                "there is a price, a higher one"
            )
            await seller.withdraw(RAW)
            assert (await asked.search_holders(RAW)).providers_without_price == 3
            assert (await asked.search_holders("ab" * 32)).providers_without_price == 0
            # Who provides it and took its offer back has neither for us, whatever other nodes keep of it.
            assert (await asked.search_holders(RAW)).providers_without_price == 3
            await made[1].provide(MULTIHASH, deadline_s=DEADLINE_S)
            assert (await asked.search_holders(RAW)).providers_without_price == 3

    run(main())


def test_a_node_alone_knows_whom_it_was_told(run: Run[None]) -> None:
    async def main() -> None:
        async with network(2) as (made, (asked, _)):
            await made[1].provide(MULTIHASH, deadline_s=DEADLINE_S)
            await made[1].close()
            assert (await asked.search_holders(RAW)).providers_without_price == 1

    run(main())
