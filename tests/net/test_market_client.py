"""The typed client on real sockets: batches, watches, records, TLS, tokens, coming back, rich errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2 as details
from grpc_status import rpc_status

from fastmarket.config import AccessConfig, MarketConfig
from fastmarket.errors import CallerFault, NodeFault, NotFound, QuorumFailed, RequestTimeout
from fastmarket.formats.remote_peer import RemotePeer
from fastmarket.libp2p.streams import RpcHandler
from fastmarket.market.client_values import ClientTls, HolderSearch, Listing
from fastmarket.market.grpc_client import MarketClient, ServerUnavailable
from fastmarket.market.grpc_server import MarketServer
from fastmarket.market.service import MarketService
from fastmarket.net.dht_node import DhtNode
from fastmarket.offers.model.metadata import FileMetadata, Way
from fastmarket.pb.fastmarket.v1 import market_pb2 as v1
from tests.certificates import Authority
from tests.net.loopback import DEADLINE_S, nodes, seed, until
from tests.net.test_grpc import CONFIG, CONTENT, HASH, Market, served
from tests.virtual import State

TERMS = FileMetadata("192.0.2.1", 80, 5)
SECRET = "s" * 20


def test_many_searches_on_one_stream(run: Any) -> None:
    async def main() -> None:
        async with served(MarketConfig(port=0, searches_at_once=3)) as (_, client, _):
            contents = [f"{number:064x}" for number in range(20)]
            for price, content in enumerate(contents):
                await client.register(content, FileMetadata("192.0.2.1", 80, price), user_id=b"me")

            async def searches() -> AsyncIterator[HolderSearch]:
                for content in contents:
                    yield HolderSearch(content, max_price=9)
                yield HolderSearch("")

            found = {result.search.content: result async for result in client.find_many(searches())}
            assert len(found) == 21
            assert found[""].message == "content: is empty"
            told = [[holder.price for holder in found[content].holders] for content in contents]
            assert told == [[price] if price <= 9 else [] for price in range(20)]

    run(main())


def test_an_offer_tells_how_it_can_be_fetched(run: Any) -> None:
    async def main() -> None:
        async with served(MarketConfig(port=0), 3) as (_, client, _):
            terms = FileMetadata(
                "192.0.2.1", 80, 5, ways=Way.HTTPS | Way.BITSWAP | 64, url="https://a.example/b"
            )
            await client.register(HASH, terms)
            await client.register(HASH, FileMetadata("192.0.2.1", 80, 7), user_id=b"says nothing")
            told = [(holder.ways, holder.url) for holder in await client.find_holders(HASH)]
            assert told == [(Way.HTTPS | Way.BITSWAP, "https://a.example/b"), (0, "")]

    run(main())


@pytest.mark.parametrize("nodes", [1, 3], ids=["alone", "searched"])
def test_many_searches_in_a_message(run: Any, nodes: int) -> None:
    """What is known here and what is looked for are told alike, in order."""

    async def main() -> None:
        async with served(MarketConfig(port=0, searches_at_once=3), nodes) as (_, client, _):
            contents = [f"{number:064x}" for number in range(20)]
            for price, content in enumerate(contents):
                await client.register(content, FileMetadata("192.0.2.1", 80, price), user_id=b"me")

            async def batches() -> AsyncIterator[list[HolderSearch]]:
                yield [HolderSearch(content, max_price=9) for content in contents] + [HolderSearch("")]
                yield [HolderSearch("nobody has it")]

            found = [batch async for batch in client.find_batches(batches())]
            many, (nobody,) = sorted(found, key=len, reverse=True)
            told = [[holder.price for holder in result.holders] for result in many]
            assert told == [[price] if price <= 9 else [] for price in range(20)] + [[]]
            assert {result.message for result in many[:-1]} == {""}
            assert many[-1].message == "content: is empty"
            assert (nobody.holders, nobody.message) == ((), "")

    run(main())


def test_searches_in_a_message_that_find_no_turn_are_told_so(run: Any) -> None:
    config = MarketConfig(port=0, find_budget_s=5.0, reply_margin_s=0.2, searches_at_once=1)

    async def main() -> None:
        async with served(config) as (market, client, _):
            for node in market.nodes[1:]:
                node.state = State.SILENT

            async def batches() -> AsyncIterator[list[HolderSearch]]:
                yield [HolderSearch(f"{number}") for number in range(20)]

            async for first, *_, last in client.find_batches(batches(), timeout_s=1.0):
                assert first.message == ""
                assert "turn" in last.message

    run(main())


def test_messages_of_too_many_searches_are_refused(run: Any) -> None:
    async def main() -> None:
        async with served(MarketConfig(port=0, max_searches=2)) as (_, client, _):

            async def batches() -> AsyncIterator[list[HolderSearch]]:
                yield [HolderSearch("a")] * 3
                yield [HolderSearch("b")] * 2

            found = [batch async for batch in client.find_batches(batches())]
            refused, answered = sorted(found, key=len, reverse=True)
            assert {result.message for result in refused} == {"searches: expects 1 to 2, got 3"}
            assert {result.message for result in answered} == {""}

    run(main())


def test_a_caller_may_wait_for_each_answer_of_a_stream(run: Any) -> None:
    """The next request comes only after the answer to the one before: nothing may wait for company."""

    async def main() -> None:
        async with served() as (_, client, _):
            answered = asyncio.Event()
            answered.set()

            async def one_by_one(made: Any) -> AsyncIterator[Any]:
                for number in range(3):
                    await answered.wait()
                    answered.clear()
                    yield made(f"{number:064x}")

            listings = one_by_one(lambda content: [Listing(content, TERMS, b"me")])
            async for (outcome,) in client.register_many(listings):
                assert not outcome.message
                answered.set()
            answered.set()
            async for result in client.find_many(one_by_one(HolderSearch)):
                assert len(result.holders) == 1
                answered.set()

    run(main())


def test_a_watch_tells_what_comes_changes_and_goes(run: Any) -> None:
    async def main() -> None:
        async with served(MarketConfig(port=0, min_watch_interval_s=0.01)) as (_, client, _):
            await client.register(HASH, TERMS, user_id=b"a")
            async with aclosing(client.watch_holders(HASH, max_price=8, interval_s=0.02)) as changes:

                async def seen() -> tuple[list[tuple[bytes, int]], list[bytes]]:
                    change = await anext(changes)
                    return [(h.id, h.price) for h in change.present], [h.id for h in change.gone]

                assert await seen() == ([(b"a", 5)], [])
                await client.register(HASH, FileMetadata("192.0.2.1", 80, 7), user_id=b"b")
                assert await seen() == ([(b"b", 7)], [])
                await client.register(HASH, FileMetadata("192.0.2.1", 80, 6), user_id=b"b")
                assert await seen() == ([(b"b", 6)], [])
                await client.register(HASH, FileMetadata("192.0.2.1", 80, 9), user_id=b"b")
                assert await seen() == ([], [b"b"])
                await client.withdraw(HASH, user_id=b"a")
                assert await seen() == ([], [b"a"])
            async with aclosing(client.watch_holders("nobody", timeout_s=0.2)) as changes:
                assert (await anext(changes)).present == ()
                with pytest.raises(RequestTimeout):
                    await anext(changes)

    run(main())


def test_watches_are_bounded_and_end_with_the_server(run: Any) -> None:
    async def main() -> None:
        async with (
            served(MarketConfig(port=0, max_watches=1)) as (market, client, _),
            aclosing(client.watch_holders(HASH, resume_s=0.0)) as changes,
        ):
            await anext(changes)
            with pytest.raises(CallerFault, match="1 watches are open already"):
                await anext(client.watch_holders(HASH))
            stopping = asyncio.ensure_future(market.server.stop(DEADLINE_S))
            with pytest.raises(ServerUnavailable, match="the node is shutting down"):
                await anext(changes)
            await stopping

    run(main())


def test_a_watch_goes_on_over_restarts_of_its_node(run: Any) -> None:
    """The gap is told; who is not found by the node as it comes back is gone after a second look."""

    async def main() -> None:
        config = MarketConfig(port=0, min_watch_interval_s=0.01)
        market = Market(config)
        market.port = await market.server.start()
        async with MarketClient(market.target) as client:
            for name in (b"a", b"b"):
                await client.register(HASH, TERMS, user_id=name)
            async with aclosing(client.watch_holders(HASH, interval_s=0.02)) as changes:

                async def seen() -> tuple[list[bytes], list[bytes], bool]:
                    change = await anext(changes)
                    return [h.id for h in change.present], [h.id for h in change.gone], change.gap

                assert await seen() == ([b"a", b"b"], [], False)
                await market.server.stop()
                again = Market(config)  # it has lost one of the two
                await again.dht.register_offer(CONTENT, b"b", "", TERMS, 1.0)
                await again.server.start(port=market.port)
                try:
                    assert await seen() == ([], [], True)
                    assert await seen() == ([], [b"a"], False)
                    await client.register(HASH, TERMS, user_id=b"c")
                    assert await seen() == ([b"c"], [], False)
                finally:
                    await again.server.stop()

    run(main())


def test_a_watch_of_a_node_that_stays_away_ends(run: Any) -> None:
    async def main() -> None:
        market = Market(MarketConfig(port=0))
        market.port = await market.server.start()
        async with MarketClient(market.target) as client:
            changes = client.watch_holders(HASH, resume_s=0.2)
            assert (await anext(changes)).present == ()
            late = client.watch_holders(HASH, timeout_s=2.0)
            assert (await anext(late)).present == ()
            await market.server.stop()
            with pytest.raises(ServerUnavailable):
                await anext(changes)
            with pytest.raises(RequestTimeout):
                await anext(late)
            with pytest.raises(ServerUnavailable):  # one that has never begun
                await anext(client.watch_holders(HASH))

    run(main())


def test_records(run: Any) -> None:
    async def main() -> None:
        async with served() as (_, client, _):
            put = await client.put_record(b"name", b"value")
            assert (put.acknowledged, put.asked, put.wanted) == (2, 2, 2)
            assert await client.get_record(b"name") == b"value"
            with pytest.raises(NotFound):
                await client.get_record(b"other")
            with pytest.raises(QuorumFailed):
                await client.put_record(b"name", b"value", quorum=9)
            for call in (client.put_record(b"", b"v"), client.put_record(b"k", bytes(20_000))):
                with pytest.raises(CallerFault):
                    await call

    run(main())


def test_a_server_that_comes_late_is_waited_for(run: Any) -> None:
    async def main() -> None:
        market = Market(CONFIG)
        port = await market.server.start(port=0)
        await market.server.stop()
        async with MarketClient(f"127.0.0.1:{port}") as client:
            calling = asyncio.ensure_future(client.get_node())
            await asyncio.sleep(0)
            assert await market.server.start(port=port) == port
            try:
                assert (await calling).peer_id
            finally:
                await market.server.stop()

    run(main())


def test_tls_and_a_token(run: Any, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    server, ours = authority.issue("server"), authority.issue("client")
    tokens = tmp_path / "tokens"
    tokens.write_text(f"read {SECRET}\n")
    tokens.chmod(0o600)
    access = AccessConfig(
        tls_cert=str(server.cert),
        tls_key=str(server.key),
        tls_client_ca=str(authority.ca),
        tokens=str(tokens),
    )
    tls = ClientTls(authority.ca, ours.cert, ours.key)

    async def main() -> None:
        market = Market(CONFIG)
        secured = MarketServer(MarketService(market.dht, CONFIG), CONFIG, access)
        target = f"127.0.0.1:{await secured.start()}"
        try:
            async with MarketClient(target, tls=tls, token=SECRET) as client:
                assert (await client.get_node()).peer_id
                assert await client.find_holders(HASH) == []
                with pytest.raises(NodeFault, match="PERMISSION_DENIED"):
                    await client.register(HASH, TERMS)
            async with MarketClient(target, tls=tls) as client:
                with pytest.raises(NodeFault, match="UNAUTHENTICATED"):
                    await client.get_node()
            async with MarketClient(target, tls=ClientTls(authority.ca), token=SECRET) as client:
                with pytest.raises(ServerUnavailable):
                    await client.get_node()
        finally:
            await secured.stop()

    run(main())


def test_what_the_client_refuses_by_itself(tmp_path: Path) -> None:
    with pytest.raises(CallerFault, match=r"^token: would be sent to .* in plain text"):
        MarketClient("192.0.2.1:8080", token=SECRET)
    with pytest.raises(CallerFault, match=r"^tls: cannot read .*nothing"):
        MarketClient("192.0.2.1:8080", tls=ClientTls(tmp_path / "nothing"), token=SECRET)
    with pytest.raises(CallerFault, match=r"^tls: "):
        MarketClient("192.0.2.1:8080", tls=ClientTls(cert=tmp_path))


def test_other_programs_read_our_errors_with_their_own_libraries(run: Any) -> None:
    async def fault(channel: grpc.aio.Channel, method: str, request: Message) -> dict[str, Any]:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(f"/fastmarket.v1.Market/{method}")(request.SerializeToString())
        status = rpc_status.from_call(caught.value)
        assert (status.code, status.message) == (caught.value.code().value[0], caught.value.details())
        found: dict[str, Any] = {}
        for detail in status.details:
            for kind in (details.ErrorInfo, details.BadRequest, details.RetryInfo):
                if detail.Is(kind.DESCRIPTOR):
                    found[kind.__name__] = kind.FromString(detail.value)
        return found

    async def main() -> None:
        async with served() as (market, _, _), grpc.aio.insecure_channel(market.target) as channel:
            wrong = await fault(channel, "RegisterFile", v1.RegisterFileRequest(content=HASH, ip="::1"))
            assert (wrong["ErrorInfo"].reason, wrong["ErrorInfo"].domain) == ("WRONG_FIELD", "fastmarket")
            (violation,) = wrong["BadRequest"].field_violations
            assert violation.field == "port"
            gone = await fault(channel, "WithdrawFile", v1.WithdrawFileRequest(content=HASH))
            assert gone["ErrorInfo"].reason == "NO_SUCH_OFFER"
            for node in market.nodes[1:]:
                node.state = State.SILENT
            request = v1.RegisterFileRequest(content=HASH, ip="::1", port=80)
            missed = (await fault(channel, "RegisterFile", request))["ErrorInfo"]
            assert missed.reason == "QUORUM_MISSED"
            why = "no peer answers; 2 known peers may still be up"
            assert dict(missed.metadata) == {"acknowledged": "0", "asked": "0", "wanted": "1", "why": why}

    run(main())


@asynccontextmanager
async def beside_a_mute_peer() -> AsyncIterator[tuple[DhtNode, MarketClient, list[bytes]]]:
    """A served node whose only peer takes requests and never answers; and those requests."""
    config = MarketConfig(port=0, find_budget_s=60.0, closest_budget_s=60.0, bulk_budget_s=60.0)
    heard: list[bytes] = []
    mute = False

    async with nodes(2) as (node, peer):
        kad, offers = peer._config.kad, peer._config.offers

        def quieted(handle: RpcHandler) -> RpcHandler:
            def answer(sender: RemotePeer, body: bytes, now: float) -> bytes | None:
                if not mute:
                    return handle(sender, body, now)
                heard.append(body)
                return None

            return answer

        peer.host.serve(kad.protocol, quieted(peer._driver.responder(kad.protocol)), kad.max_request_bytes)
        peer.host.serve(
            offers.protocol, quieted(peer._driver.responder(offers.protocol)), offers.max_message_bytes
        )
        await node.bootstrap([seed(peer)], DEADLINE_S)
        mute = True
        server = MarketServer(MarketService(node, config, now=node.now), config)
        async with MarketClient(f"127.0.0.1:{await server.start()}", timeout_s=60.0) as client:
            try:
                yield node, client, heard
            finally:
                await server.stop()


async def searching(client: MarketClient) -> None:
    async for _ in client.stream_holders(HASH):
        pass


async def searching_many(client: MarketClient) -> None:
    async def searches() -> AsyncIterator[HolderSearch]:
        yield HolderSearch(HASH)

    async for _ in client.find_many(searches()):
        pass


CALLS: dict[str, Callable[[MarketClient], Coroutine[Any, Any, object]]] = {
    "CheckHolders": lambda client: client.check(HASH),
    "FindHolders": searching,
    "FindHoldersBatch": searching_many,
    "WatchHolders": lambda client: anext(client.watch_holders(HASH)),
    "ClosestPeers": lambda client: client.closest_peers(HASH),
    "PutRecord": lambda client: client.put_record(b"key", b"value"),
    "GetRecord": lambda client: client.get_record(b"key"),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_call_that_is_cancelled_ends_its_lookup(
    run: Any, call: Callable[[MarketClient], Coroutine[Any, Any, object]]
) -> None:
    async def main() -> None:
        async with beside_a_mute_peer() as (node, client, heard):
            before = len(node.engine.jobs)
            calling = asyncio.ensure_future(call(client))
            await until(lambda: len(heard) > 0)
            assert len(node.engine.jobs) > before
            calling.cancel()
            await asyncio.gather(calling, return_exceptions=True)
            await until(lambda: len(node.engine.jobs) <= before)

    run(main())


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_deadline_ends_the_lookup_too(
    run: Any, call: Callable[[MarketClient], Coroutine[Any, Any, object]]
) -> None:
    async def main() -> None:
        async with beside_a_mute_peer() as (node, client, heard):
            before = len(node.engine.jobs)
            client._timeout_s = 0.4
            calling = asyncio.ensure_future(call(client))
            await until(lambda: len(heard) > 0)
            await until(lambda: len(node.engine.jobs) <= before)
            calling.cancel()
            await asyncio.gather(calling, return_exceptions=True)

    run(main())
