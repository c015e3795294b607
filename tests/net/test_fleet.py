"""Servers behind one name, on a real Redis (or Valkey) Cluster of three nodes that the tests start."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from fastmarket.config import FleetConfig, HostConfig, MarketConfig, NodeConfig, WebConfig
from fastmarket.errors import NotFound, StorageFault
from fastmarket.fleet.dht import FleetDht
from fastmarket.formats.cid import new_cidv0
from fastmarket.node import Node
from fastmarket.pb import market_pb2, market_pb2_grpc
from fastmarket.pb.fastmarket.v1 import market_pb2 as v1
from fastmarket.pb.fastmarket.v1 import market_pb2_grpc as v1_grpc
from fastmarket.storage.shared_credit import SharedCredit
from fastmarket.storage.store_url import StoreUrl
from tests.conftest import Run
from tests.net.loopback import DEADLINE_S, identity
from tests.redis_cluster import PROGRAM, EngineCluster, engine_cluster

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no redis-server or valkey-server here")

FLEET = FleetConfig(pause_s=0.1, retry_s=0.1, look_s=0.1, fresh_s=0.3)
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


@pytest.fixture(scope="module")
def shared_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineCluster]:
    with engine_cluster(tmp_path_factory.mktemp("engine")) as engine:
        yield engine


@pytest.fixture
def engine(shared_engine: EngineCluster) -> EngineCluster:
    """Empty, and all of it there."""
    for node in shared_engine.nodes:
        node.ask("FLUSHALL")
    return shared_engine


class Server:
    """One of the fleet, and a caller of it."""

    def __init__(self, node: Node, channel: grpc.aio.Channel) -> None:
        self.node = node
        assert node.fleet is not None
        self.dht: FleetDht = node.fleet
        self.market: Any = market_pb2_grpc.MarketStub(channel)  # type: ignore[no-untyped-call]
        self.v1: Any = v1_grpc.MarketStub(channel)  # type: ignore[no-untyped-call]

    async def register(self, file: str, price: int, user: str = "Ann") -> None:
        """As the earlier programs do."""
        who = market_pb2.User(id=user.encode(), name=user, ip="192.0.2.1", port=4000, price=price)
        request = market_pb2.RegisterFileRequest(user=who, fileHash=file)
        await self.market.RegisterFile(request, timeout=DEADLINE_S)

    async def holders(self, file: str) -> list[tuple[str, int]]:
        """Name and price of each, cheapest first."""
        answer = await self.market.CheckHolders(
            market_pb2.CheckHoldersRequest(fileHash=file), timeout=DEADLINE_S
        )
        return [(user.name, user.price) for user in answer.holders]

    async def withdraw(self, file: str, user: str = "Ann") -> None:
        """By the richer service."""
        await self.v1.WithdrawFile(
            v1.WithdrawFileRequest(content=file, user_id=user.encode()), timeout=DEADLINE_S
        )


@asynccontextmanager
async def server(
    number: int, url: str, *bootstrap: str, data_dir: Path | None = None, **more: Any
) -> AsyncIterator[Server]:
    config = NodeConfig(
        bootstrap=bootstrap,
        host=HostConfig(listen=("/ip4/127.0.0.1/tcp/0",)),
        market=MarketConfig(port=0),
        fleet=replace(FLEET, store=url),
        **more,
    )
    async with (
        Node(config, identity(number), data_dir) as node,
        grpc.aio.insecure_channel(node.grpc_address) as channel,
    ):
        yield Server(node, channel)


async def comes_true(check: Any) -> None:
    """Asks again and again; the test's deadline ends what never comes."""
    while not await check():  # noqa: ASYNC110 - another process makes it true
        await asyncio.sleep(0.01)


async def unavailable(call: Any) -> bool:
    """Whether a call ends so."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        if error.code() is not UNAVAILABLE:
            raise
        return True
    return False


def test_any_server_answers_for_what_another_accepted_though_that_is_gone(
    run: Run[None], engine: EngineCluster
) -> None:
    """The two do not know each other in the network: all they share is the store."""

    async def main() -> None:
        async with server(1, engine.url) as second:
            async with server(2, engine.url) as first:
                await first.register("a file", 7)
                assert await second.holders("a file") == [("Ann", 7)]
                assert await second.holders("nobody has it") == []
            assert await second.holders("a file") == [("Ann", 7)]

    run(main())


def test_the_engine_forgets_a_content_after_its_longest_offer(run: Run[None], engine: EngineCluster) -> None:
    async def main() -> None:
        async with server(3, engine.url) as only:
            await only.register("a file", 7)
        (ttl,) = [
            int(str(node.ask("TTL", key)))
            for node in engine.nodes
            for key in list_of(node.ask("KEYS", "*:offers:*"))
        ]
        assert 48 * 3600 < ttl <= 48 * 3600 + 601

    run(main())


def list_of(answer: object) -> list[Any]:
    assert isinstance(answer, list)
    return answer


def test_what_was_read_is_fresh_within_seconds(run: Run[None], engine: EngineCluster) -> None:
    async def main() -> None:
        async with server(4, engine.url) as first, server(5, engine.url) as second:
            assert await second.holders("a file") == []
            await first.register("a file", 7)
            assert await first.holders("a file") == [("Ann", 7)], "one's own is fresh at once"
            loop = asyncio.get_running_loop()
            registered = loop.time()
            await comes_true(lambda: sees(second, [("Ann", 7)]))
            assert loop.time() - registered < FLEET.fresh_s + 1.0
            answers = second.dht.offers.views.answers
            before = answers["store"]
            await second.holders("a file")
            await second.holders("a file")
            assert answers["store"] - before <= 1, "served from memory"
            jobs: list[str] = []
            second.node.dht.job_observers.append(lambda kind, *_: jobs.append(kind))
            for _ in range(5):
                await second.holders("a file")
            assert jobs.count("FindOffersJob") <= 2, "and the network is not asked each time"

    run(main())


def test_a_user_who_comes_to_another_server_is_offered_once(run: Run[None], engine: EngineCluster) -> None:
    """Behind one name nobody chooses a server: a new price at another replaces the old one."""

    async def main() -> None:
        async with server(6, engine.url) as first:
            address = str(first.node.listen_addrs[0])
            async with server(7, engine.url, address) as second:
                await first.register("a file", 7)
                await second.register("a file", 5)

                async def settled() -> bool:
                    return all(
                        [await one.holders("a file") == [("Ann", 5)] for one in (first, second)]
                    ) and not list(first.dht.own_offers())

                await comes_true(settled)
                await first.register("a file", 9)
                assert await first.holders("a file") == [("Ann", 9)]
                await comes_true(lambda: sees(second, [("Ann", 9)]))

    run(main())


async def sees(one: Server, holders: list[tuple[str, int]]) -> bool:
    return await one.holders("a file") == holders


def test_an_offer_is_withdrawn_at_any_server(run: Run[None], engine: EngineCluster) -> None:
    async def main() -> None:
        async with server(8, engine.url) as first, server(9, engine.url) as second:
            await first.register("a file", 7)
            await first.register("a file", 8, "Bob")
            await second.withdraw("a file")
            assert await second.holders("a file") == [("Bob", 8)]
            await comes_true(lambda: sees(first, [("Bob", 8)]))
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await second.withdraw("nobody's")
            assert caught.value.code() is grpc.StatusCode.NOT_FOUND
            await second.register("a file", 6)
            assert await second.holders("a file") == [("Ann", 6), ("Bob", 8)]

    run(main())


def test_many_files_at_once(run: Run[None], engine: EngineCluster) -> None:
    async def main() -> None:
        async with server(10, engine.url) as first, server(11, engine.url) as second:
            files = [
                v1.RegisterFileRequest(
                    content=f"file {number}",
                    user_id=b"Ann",
                    user_name="Ann",
                    ip="192.0.2.1",
                    port=1,
                    price=number,
                )
                for number in range(300)
            ]
            stream = first.v1.RegisterFiles(iter([v1.RegisterFilesRequest(files=files)]), timeout=DEADLINE_S)
            (answer,) = [answer async for answer in stream]
            assert [file.code for file in answer.files] == [0] * 300
            for number in (0, 100, 299):
                assert await second.holders(f"file {number}") == [("Ann", number)]

    run(main())


def test_while_the_engine_is_away_lookups_go_on_and_nothing_acknowledged_is_lost(
    run: Run[None], tmp_path: Path
) -> None:
    """All of it killed, all that it held lost with it; the servers are not restarted."""

    async def main(engine: EngineCluster) -> None:
        async with server(12, engine.url) as first:
            address = str(first.node.listen_addrs[0])
            async with server(13, engine.url, address) as second, server(14, engine.url) as apart:
                await first.register("before", 7)
                await comes_true(lambda: shows(apart, "before", 7))  # a look into the store has but 0.2 s
                await asyncio.to_thread(engine.stop)
                assert await unavailable(first.register("while", 8))
                assert await unavailable(first.register("while", 8)), "and again, without waiting"
                await comes_true(lambda: shows(second, "before", 7))  # from the network
                assert await unavailable(second.withdraw("before"))
                with pytest.raises(StorageFault):
                    await second.dht.put_record(b"key", b"value", deadline_s=DEADLINE_S)
                assert await first.dht.get_record(b"key", deadline_s=DEADLINE_S) == b"value"
                await asyncio.to_thread(engine.restart)

                async def registered() -> bool:
                    return not await unavailable(second.register("after", 9))

                await comes_true(registered)
                await comes_true(lambda: shows(apart, "after", 9))
                await comes_true(lambda: shows(apart, "before", 7))

    async def shows(one: Server, file: str, price: int) -> bool:
        return await one.holders(file) == [("Ann", price)]

    with engine_cluster(tmp_path) as engine:
        run(main(engine))


def test_one_node_of_the_engine_is_killed(run: Run[None], tmp_path: Path) -> None:
    """Each primary has a replica. What the dead one held is served again once that has taken its place."""

    async def main(engine: EngineCluster) -> None:
        async with server(15, engine.url) as first, server(16, engine.url) as apart:
            files = [f"file {number}" for number in range(30)]
            for file in files:
                await first.register(file, 7)
            victim = engine.primaries[0]
            await asyncio.to_thread(victim.kill)
            outcomes = {file: await unavailable(first.register(file, 6)) for file in files}
            assert set(outcomes.values()) == {True, False}, "the other nodes take registrations as before"
            for file, failed in outcomes.items():
                if not failed:
                    await comes_true(lambda file=file: shows(apart, file))
            for file in files:
                await comes_true(lambda file=file: registers(first, file))
                await comes_true(lambda file=file: shows(apart, file))

    async def shows(one: Server, file: str) -> bool:
        return await one.holders(file) == [("Ann", 6)]

    async def registers(one: Server, file: str) -> bool:
        return not await unavailable(one.register(file, 6))

    with engine_cluster(tmp_path, replicas=1) as engine:
        run(main(engine), 60.0)


def test_a_part_of_the_engine_moves_to_another_node(run: Run[None], tmp_path: Path) -> None:
    """Resharding: the old node says where to, and the registration goes there."""

    async def main(engine: EngineCluster) -> None:
        async with server(25, engine.url) as first, server(26, engine.url) as second:
            await first.register("a file", 7)
            ((key, old),) = [
                (key, node) for node in engine.nodes for key in list_of(node.ask("KEYS", "*:offers:*"))
            ]
            slot = old.ask("CLUSTER", "KEYSLOT", key)
            new = next(node for node in engine.nodes if node is not old)
            old.ask("DEL", key)
            for node in engine.nodes:
                node.ask("CLUSTER", "SETSLOT", slot, "NODE", new.ask("CLUSTER", "MYID"))
            await first.register("a file", 8)
            assert list_of(new.ask("KEYS", "*:offers:*")) == [key]
            await comes_true(lambda: sees(second, [("Ann", 8)]))

    with engine_cluster(tmp_path) as engine:
        run(main(engine))


def test_a_node_of_the_engine_that_hangs_costs_a_lookup_little(run: Run[None], tmp_path: Path) -> None:
    async def main(engine: EngineCluster) -> None:
        async with server(17, engine.url) as only:
            await only.register("a file", 7)
            for node in engine.nodes:
                node.freeze()
            try:
                await asyncio.sleep(FLEET.fresh_s)
                for _ in range(5):
                    assert await only.holders("a file") == [("Ann", 7)]
                paused = only.dht.store.operations["get", "paused"]
                assert paused or only.dht.store.operations["get", "failed"]
                assert await unavailable(only.register("a file", 8))
            finally:
                for node in engine.nodes:
                    node.thaw()

            async def registered() -> bool:
                return not await unavailable(only.register("a file", 9))

            await comes_true(registered)

    with engine_cluster(tmp_path) as engine:
        run(main(engine))


def test_a_server_starts_without_the_engine_and_heals(run: Run[None], tmp_path: Path) -> None:
    async def main(engine: EngineCluster) -> None:
        await asyncio.to_thread(engine.stop)
        async with server(18, engine.url) as only:
            assert await only.holders("a file") == []
            assert await unavailable(only.register("a file", 7))
            await asyncio.to_thread(engine.restart)

            async def registered() -> bool:
                return not await unavailable(only.register("a file", 9))

            await comes_true(registered)
            assert only.dht.upkeep.reachable

    with engine_cluster(tmp_path) as engine:
        run(main(engine))


def test_a_value_put_at_one_server_is_had_at_another(run: Run[None], engine: EngineCluster) -> None:
    async def main() -> None:
        async with server(27, engine.url) as second:
            async with server(28, engine.url) as first:
                await first.dht.put_record(b"key", b"one", deadline_s=DEADLINE_S)
                assert await second.dht.get_record(b"key", deadline_s=DEADLINE_S) == b"one"
                await second.dht.put_record(b"key", b"another", deadline_s=DEADLINE_S)
                assert await first.dht.get_record(b"key", deadline_s=DEADLINE_S) == b"another", (
                    "the last counts"
                )
            assert await second.dht.get_record(b"key", deadline_s=DEADLINE_S) == b"another"
            with pytest.raises(NotFound):
                await second.dht.get_record(b"nobody put it", deadline_s=DEADLINE_S)

    run(main())


def test_the_rights_that_the_documentation_asks_for_are_enough(run: Run[None], tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    (words,) = re.findall(r"^ *(ACL SETUSER .*)$", page, re.MULTILINE)

    async def main(url: str) -> None:
        async with server(30, url) as first, server(31, url) as second:
            await first.register("a file", 7)
            await comes_true(lambda: sees(second, [("Ann", 7)]))
            await second.withdraw("a file")
            await comes_true(lambda: sees(first, []))
            await first.dht.put_record(b"key", b"one", deadline_s=DEADLINE_S)
            assert await second.dht.get_record(b"key", deadline_s=DEADLINE_S) == b"one"
            credit = SharedCredit(first.dht.store, b"1", "unit")
            assert await credit.grant(b"ann", 5, 0, 9) == 5
            assert await credit.grant(b"ann", 0, 0, 9) == 0

    with engine_cluster(tmp_path) as engine:
        for node in engine.nodes:
            node.ask(*words.replace("PASSWORD", "geheim").split())
        run(main(engine.url.replace("redis://", "redis://fastmarket:geheim@")))


def test_a_value_that_breaks_its_rule_is_not_believed(run: Run[None], engine: EngineCluster) -> None:
    async def main() -> None:
        async with server(29, engine.url) as only:
            peer = only.dht.peer_id
            public = peer.public_key()
            assert public is not None
            key, value = b"/pk/" + peer.raw, public.encode()
            await only.dht.store.put_value(key, b"a forgery", 60)
            with pytest.raises(NotFound):
                await only.dht.get_record(key, deadline_s=DEADLINE_S)
            await only.dht.put_record(key, value, deadline_s=DEADLINE_S)
            assert await only.dht.store.get_value(key, 10_240) == value

    run(main())


def test_offers_of_an_earlier_life_are_in_the_store_again(
    run: Run[None], engine: EngineCluster, tmp_path: Path
) -> None:
    async def main() -> None:
        async with server(19, engine.url, data_dir=tmp_path) as first:
            await first.register("a file", 7)
        for node in engine.nodes:
            node.ask("FLUSHALL")
        async with server(19, engine.url, data_dir=tmp_path), server(20, engine.url) as other:
            await comes_true(lambda: sees(other, [("Ann", 7)]))

    run(main())


def test_what_is_no_offer_in_the_store_is_left_out(run: Run[None], engine: EngineCluster) -> None:
    """The store is believed as little as a stranger."""

    async def main() -> None:
        async with server(21, engine.url) as first, server(22, engine.url) as second:
            await first.register("a file", 7)
            ((key, node),) = [
                (key, node) for node in engine.nodes for key in list_of(node.ask("KEYS", "*:offers:*"))
            ]
            for field, value in (("o1", "rubbish"), ("m1", "short"), ("?", "")):
                node.ask("HSET", key, field, value)
            messages = f"fastmarket:/fastmarket:letters:{{{second.dht.peer_id.raw.hex()}}}"
            for place in engine.nodes:
                slot = place.ask("CLUSTER", "KEYSLOT", messages)
                if int(str(slot)) * 3 // 16384 == engine.nodes.index(place):
                    place.ask("RPUSH", messages, "rubbish")
            await comes_true(lambda: sees(second, [("Ann", 7)]))

    run(main())


def test_the_status_page_and_routing_know_the_fleet(run: Run[None], engine: EngineCluster) -> None:
    httpx = pytest.importorskip("httpx")

    async def main() -> None:
        async with (
            server(23, engine.url) as first,
            server(24, engine.url, web=WebConfig(port=0)) as second,
            httpx.AsyncClient(base_url=f"http://{second.node.http_address}", timeout=DEADLINE_S) as http,
        ):
            cid = str(new_cidv0(b"some bytes"))
            await first.register(cid, 7)
            found = await http.get("/find", params={"content": cid})
            assert str(first.dht.peer_id) in found.text
            path = f"/routing/v1/providers/{cid}"
            for accept in ("application/json", "application/x-ndjson"):
                headers = {"Accept": accept}
                asking = await http.get(f"{path}?filter-protocols=fastmarket-offer", headers=headers)
                assert str(first.dht.peer_id) in asking.text
                assert str(first.dht.peer_id) not in (await http.get(path, headers=headers)).text

    run(main())


def test_a_name_put_at_one_server_is_found_by_another(run: Run[None], engine: EngineCluster) -> None:
    """All they share is the store, and it is enough where nobody else is there."""
    httpx = pytest.importorskip("httpx")
    from tests.net.test_ipns_http import PUT, signed, url

    async def main() -> None:
        web = WebConfig(port=0)
        async with (
            server(25, engine.url, web=web) as first,
            server(26, engine.url, web=web) as second,
            httpx.AsyncClient(timeout=DEADLINE_S) as http,
        ):
            ends = time.time() + 3600
            for sequence in (1, 2):
                record = signed(sequence, ends)
                put = await http.put(f"http://{first.node.http_address}{url()}", content=record, headers=PUT)
                assert put.status_code == 200, put.text
                found = await http.get(f"http://{second.node.http_address}{url()}")
                assert found.content == record
            old = await http.put(
                f"http://{second.node.http_address}{url()}", content=signed(1, ends), headers=PUT
            )
            assert old.status_code == 409

    run(main())


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("redis://one", "redis://one:6379"),
        ("valkeys://u:p%40ss@one:1,two:2?ca_file=/ca.pem", "rediss://u:***@one:1,two:2"),
        ("redis://[::1]:7000", "redis://[::1]:7000"),
    ],
)
def test_the_url(text: str, shown: str) -> None:
    assert StoreUrl.parse(text).shown == shown


def test_the_password_is_as_it_was_meant() -> None:
    url = StoreUrl.parse("rediss://u:p%40ss@one:1,two:2?ca_file=/ca.pem")
    assert (url.username, url.password, url.tls, url.ca_file) == ("u", "p@ss", True, "/ca.pem")
    assert url.hosts == (("one", 1), ("two", 2))


@pytest.mark.parametrize(
    "text", ["http://one", "redis://", "redis://one:x", "redis://one/0", "redis://one?db=1"]
)
def test_what_is_no_url(text: str) -> None:
    with pytest.raises(ValueError, match="store: "):
        StoreUrl.parse(text)
