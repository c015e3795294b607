"""Both gRPC services, a real server and a real channel on loopback, over whole nodes in virtual time."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.empty_pb2 import Empty

from fastmarket.config import MarketConfig
from fastmarket.errors import Busy, CallerFault, NodeFault, QuorumFailed, RequestTimeout
from fastmarket.formats.cid import content_multihash
from fastmarket.market.grpc_client import Holder, MarketClient, ServerUnavailable
from fastmarket.market.grpc_server import MarketServer
from fastmarket.market.service import MarketService
from fastmarket.offers.model.metadata import FileMetadata
from fastmarket.offers.model.offer import OfferTerms, sign_offer
from fastmarket.offers.model.results import PeerView
from fastmarket.pb import market_pb2, market_pb2_grpc
from tests.virtual import State, VirtualNetwork, identity
from tests.virtual.dht import VirtualDht

CONFIG = MarketConfig(port=0, find_budget_s=0.1, register_budget_s=0.1, reply_margin_s=0.05)
HASH = "ab" * 32
CONTENT = content_multihash(HASH)
USER = market_pb2.User(id=b"me", name="Ann", ip="localhost2", port=4000, price=3)


class Market:
    """Nodes in virtual time, the first with a server, and channels to it."""

    def __init__(self, config: MarketConfig = CONFIG, nodes: int = 3) -> None:
        self.net = VirtualNetwork.immediate()
        self.nodes = self.net.mesh(nodes)
        self.dht = VirtualDht(self.nodes[0])
        service = MarketService(self.dht, config, now=lambda: self.net.now)
        self.server = MarketServer(service, config)
        self.port = 0

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"


@asynccontextmanager
async def served(
    config: MarketConfig = CONFIG, nodes: int = 3
) -> AsyncIterator[tuple[Market, MarketClient, Any]]:
    market = Market(config, nodes)
    market.port = await market.server.start()
    try:
        async with MarketClient(market.target) as client, grpc.aio.insecure_channel(market.target) as channel:
            yield market, client, market_pb2_grpc.MarketStub(channel)  # type: ignore[no-untyped-call]
    finally:
        await market.server.stop()


def fails_with(code: grpc.StatusCode, details: str) -> Callable[[Awaitable[Any]], Awaitable[None]]:
    async def check(call: Awaitable[Any]) -> None:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert (caught.value.code(), caught.value.details()) == (code, caught.value.details())
        assert str(caught.value.details()).startswith(details)

    return check


def test_an_orcanet_client_registers_and_checks(run: Any) -> None:
    async def main() -> None:
        async with served() as (market, _, stub):
            assert (
                await stub.RegisterFile(market_pb2.RegisterFileRequest(user=USER, fileHash=HASH)) == Empty()
            )
            raw_id = market_pb2.User(id=b"\xff\x00", name="Bob", ip="::1", port=1, price=2**63 - 1)
            await stub.RegisterFile(market_pb2.RegisterFileRequest(user=raw_id, fileHash=HASH))
            await stub.RegisterFile(market_pb2.RegisterFileRequest(user=raw_id, fileHash=HASH))
            reply = await stub.CheckHolders(market_pb2.CheckHoldersRequest(fileHash=HASH))
            assert list(reply.holders) == [USER, raw_id]
            assert len(market.dht.offers.own) == 2
            reply = await stub.CheckHolders(market_pb2.CheckHoldersRequest(fileHash="never heard of"))
            assert list(reply.holders) == []

    run(main())


def test_the_holder_is_who_registered_not_who_stores(run: Any) -> None:
    async def main() -> None:
        async with served() as (market, client, stub):
            metadata = FileMetadata("192.0.2.9", 99, 1, 7, "f.bin")
            offer = sign_offer(identity(50), OfferTerms(CONTENT, b"x", "X", metadata), market.net.now)
            market.nodes[1].offers.store.add(offer, market.net.now)
            reply = await stub.CheckHolders(market_pb2.CheckHoldersRequest(fileHash=HASH))
            assert list(reply.holders) == [
                market_pb2.User(id=b"x", name="X", ip="192.0.2.9", port=99, price=1)
            ]
            assert await client.find_holders(HASH) == [
                Holder(b"x", "X", "192.0.2.9", 99, 1, str(identity(50).peer_id), 7, "f.bin", offer.not_after)
            ]

    run(main())


BAD_REGISTRATIONS = [
    ({"fileHash": ""}, "fileHash: "),
    ({"fileHash": "x" * 1025}, "fileHash: "),
    ({"user": None}, "user: "),
    ({"user": {"ip": ""}}, "user.ip: "),
    ({"user": {"ip": "no host"}}, "user.ip: "),
    ({"user": {"port": 416320}}, "user.port: 416320 "),
    ({"user": {"port": 0}}, "user.port: "),
    ({"user": {"port": -5}}, "user.port: "),
    ({"user": {"price": -1}}, "user.price: "),
    ({"user": {"name": "n" * 257}}, "user.name: "),
    ({"user": {"id": bytes(1025)}}, "user.id: "),
]


def test_a_bad_request_is_the_callers_fault_and_names_the_field(run: Any) -> None:
    def request(changes: dict[str, Any]) -> market_pb2.RegisterFileRequest:
        user = market_pb2.User()
        user.CopyFrom(USER)
        for field, value in (changes.get("user") or {}).items():
            setattr(user, field, value)
        file_hash = changes.get("fileHash", HASH)
        if changes.get("user", {}) is None:
            return market_pb2.RegisterFileRequest(fileHash=file_hash)
        return market_pb2.RegisterFileRequest(user=user, fileHash=file_hash)

    async def main() -> None:
        async with served() as (market, _, stub):
            for changes, details in BAD_REGISTRATIONS:
                refused = fails_with(grpc.StatusCode.INVALID_ARGUMENT, details)
                await refused(stub.RegisterFile(request(changes)))
            refused = fails_with(grpc.StatusCode.INVALID_ARGUMENT, "fileHash: ")
            await refused(stub.CheckHolders(market_pb2.CheckHoldersRequest()))
            assert len(market.dht.offers.own) == 0

    run(main())


def test_bytes_that_are_no_request_are_the_callers_fault_too(run: Any) -> None:
    async def main() -> None:
        async with served() as (market, _, _), grpc.aio.insecure_channel(market.target) as channel:
            call = channel.unary_unary("/market.Market/RegisterFile")
            for raw in (b"\xff\xff", b"\x12\x01\xff", b"\x0a\x05\x12\x03a\xffb\x12\x01a"):
                await fails_with(grpc.StatusCode.INVALID_ARGUMENT, "request: ")(call(raw))
            await fails_with(grpc.StatusCode.RESOURCE_EXHAUSTED, "")(
                call(bytes(CONFIG.max_request_bytes + 1))
            )
            await fails_with(grpc.StatusCode.UNIMPLEMENTED, "")(channel.unary_unary("/market.Market/No")(b""))

    run(main())


def test_the_typed_client(run: Any) -> None:
    async def main() -> None:
        async with served() as (market, client, _):
            me = market.nodes[0]
            node = await client.get_node()
            assert node.peer_id == str(me.peer_id)
            assert node.listen == (f"{me.info.addrs[0]}/p2p/{me.peer_id}",)
            assert (node.peers, node.mode, node.own_offers) == (2, "server", 0)
            peers = await client.list_peers()
            assert {peer.peer_id for peer in peers} == {str(other.peer_id) for other in market.nodes[1:]}
            closest = await client.closest_peers(HASH)
            assert {peer.peer_id for peer in closest} == {peer.peer_id for peer in peers}
            assert closest[0].connected
            metadata = FileMetadata("localhost", 80, 5, 12, "name")
            registered = await client.register(HASH, metadata, user_id=b"me", user_name="Ann")
            assert (registered.acknowledged, registered.asked, registered.wanted) == (2, 2, 2)
            assert content_multihash(registered.cid) == CONTENT
            assert await client.check(registered.cid) == [Holder(b"me", "Ann", "localhost", 80, 5)]
            (holder,) = await client.find_holders(HASH)
            assert (holder.provider, holder.size, holder.file_name) == (str(me.peer_id), 12, "name")
            assert (await client.get_node()).own_offers == 1

    run(main())


def test_the_typed_clients_errors(run: Any) -> None:
    async def main() -> None:
        async with served() as (market, client, _):
            with pytest.raises(CallerFault) as caught:
                await client.find_holders("")
            assert caught.value.field == "content"
            for node in market.nodes[1:]:
                node.state = State.SILENT
            with pytest.raises(QuorumFailed) as missed:
                await client.register(HASH, FileMetadata("localhost", 80, 5))
            assert (missed.value.acknowledged, missed.value.asked, missed.value.wanted) == (0, 0, 1)
            (mine,) = await client.check(HASH)
            assert mine.price == 5
        with pytest.raises(ServerUnavailable):
            async with MarketClient(market.target) as late:
                await late.get_node()

    run(main())


def test_a_server_that_does_not_answer(run: Any) -> None:
    async def main() -> None:
        with socket.socket() as mute:
            mute.bind(("127.0.0.1", 0))
            mute.listen()
            async with MarketClient(f"127.0.0.1:{mute.getsockname()[1]}", timeout_s=0.1) as client:
                with pytest.raises(RequestTimeout):
                    await client.get_node()

    run(main())


def test_a_server_that_comes_back_is_found_by_the_same_client(run: Any) -> None:
    async def main() -> None:
        async with served() as (market, client, _):
            await client.get_node()
            await market.server.stop()
            with pytest.raises(ServerUnavailable):
                await client.get_node()
            assert await market.server.start(port=market.port) == market.port
            while True:  # within the deadline of every test
                try:
                    await client.get_node()
                    break
                except ServerUnavailable:
                    continue

    run(main())


def test_both_calls_answer_within_the_second_a_go_client_gives_them(run: Any) -> None:
    async def main() -> None:
        config = MarketConfig(port=0)
        async with served(config) as (market, _, stub):
            for node in market.nodes[1:]:
                node.state = State.SILENT
            short = fails_with(
                grpc.StatusCode.UNAVAILABLE, "acknowledged 0 of 0 asked, 1 wanted: no peer answers"
            )
            request = market_pb2.RegisterFileRequest(user=USER, fileHash=HASH)
            await short(stub.RegisterFile(request, timeout=1.0))
            reply = await stub.CheckHolders(market_pb2.CheckHoldersRequest(fileHash=HASH), timeout=1.0)
            assert list(reply.holders) == [USER]

    run(main())


def test_a_bug_is_internal_told_in_the_log_and_not_to_strangers(
    run: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with served() as (market, client, stub):

            async def broken(*arguments: object) -> Any:
                raise ZeroDivisionError("secret")

            market.dht.register_offer = broken  # type: ignore[method-assign]
            internal = fails_with(grpc.StatusCode.INTERNAL, "internal error; ")
            await internal(stub.RegisterFile(market_pb2.RegisterFileRequest(user=USER, fileHash=HASH)))
            with pytest.raises(NodeFault):
                await client.register(HASH, FileMetadata("localhost", 80, 5))
            await client.get_node()

    with caplog.at_level(logging.ERROR):
        run(main())
    assert "ZeroDivisionError: secret" in caplog.text


def test_more_calls_at_once_than_the_bound_are_told_that_the_node_is_busy(run: Any) -> None:
    async def main() -> None:
        async with served(MarketConfig(port=0, max_concurrent_rpcs=2)) as (market, client, _):
            arrived, release = asyncio.Semaphore(0), asyncio.Event()

            async def slow(*arguments: object) -> list[PeerView]:
                arrived.release()
                await release.wait()
                return []

            market.dht.closest_peers = slow  # type: ignore[method-assign]
            held = [asyncio.create_task(client.closest_peers(HASH)) for _ in range(2)]
            for _ in held:
                await arrived.acquire()
            with pytest.raises(Busy):
                await client.get_node()
            release.set()
            assert await asyncio.gather(*held) == [[], []]
            assert await client.get_node()

    run(main())


def test_a_long_list_is_cut_to_what_a_client_takes(run: Any) -> None:
    async def main() -> None:
        config = MarketConfig(port=0, max_response_bytes=20_000)
        async with served(config) as (market, client, _):
            for n in range(60):
                metadata = FileMetadata("localhost", 80, n)
                offer = sign_offer(
                    identity(100 + n), OfferTerms(CONTENT, bytes(900), "", metadata), market.net.now
                )
                market.dht.offers.store.add(offer, market.net.now)
            holders = await client.check(HASH)
            assert [holder.price for holder in holders] == list(range(len(holders)))
            assert 15 < len(holders) < 25

    run(main())


def test_a_port_in_use_is_said_clearly(run: Any) -> None:
    async def main() -> None:
        async with served() as (market, _, _):
            second = Market()
            with pytest.raises(CallerFault, match=r"^port: 127.0.0.1 port \d+ is in use$"):
                await second.server.start(port=market.port)
            await second.server.stop()
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            with pytest.raises(CallerFault, match="is in use"):
                await Market().server.start(port=taken.getsockname()[1])

    run(main())


@pytest.mark.parametrize(
    ("host", "port", "field"),
    [("127.0.0.1", 70000, "port"), ("no.such.host.invalid", 0, "host"), ("192.0.2.1", 0, "host")],
)
def test_an_address_that_cannot_be_had(run: Any, host: str, port: int, field: str) -> None:
    with pytest.raises(CallerFault) as caught:
        run(Market().server.start(host, port))
    assert caught.value.field == field


def test_a_start_may_be_cancelled_at_any_step(run: Any, caplog: pytest.LogCaptureFixture) -> None:
    """As SIGTERM does while the node starts."""

    async def main() -> None:
        broken: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: broken.append(context))
        for steps in range(10):
            server = Market().server
            starting = asyncio.ensure_future(server.start())
            for _ in range(steps):
                await asyncio.sleep(0)
            starting.cancel()
            await asyncio.wait([starting])
            await server.stop()
            del server, starting
            gc.collect()
            await asyncio.sleep(0)
        assert not broken

    run(main())
    assert not [record for record in caplog.records if record.name.startswith("grpc")]
