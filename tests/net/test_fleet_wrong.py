"""Whoever can write to the shared store puts what they like under its keys: it costs those keys alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from fastmarket.config import FleetConfig
from fastmarket.errors import StorageFault
from fastmarket.fleet.dht import FleetDht
from fastmarket.fleet.fields import offer_row
from fastmarket.formats.cid import content_multihash
from fastmarket.offers.model.metadata import FileMetadata
from fastmarket.offers.model.offer import OfferTerms, Signing, sign_offers
from fastmarket.storage.shared import SharedStore
from fastmarket.storage.store_url import StoreUrl
from tests.conftest import Run
from tests.net.loopback import DEADLINE_S, identity
from tests.net.test_fleet import comes_true, server
from tests.net.test_store_reasons import engine as single_engine
from tests.redis_cluster import PROGRAM, EngineCluster, EngineNode, engine_cluster, free_ports

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no redis-server or valkey-server here")

CONTENT = content_multihash("a file")
LONG = b"x" * 300_000
PLENTY_BYTES = 100_000  # far below LONG


@pytest.fixture(scope="module")
def shared_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineCluster]:
    with engine_cluster(tmp_path_factory.mktemp("engine"), primaries=1) as engine:
        yield engine


@pytest.fixture
def engine(shared_engine: EngineCluster) -> EngineCluster:
    for node in shared_engine.nodes:
        node.ask("FLUSHALL")
    return shared_engine


def sent_bytes(node: EngineNode) -> int:
    """What the engine has sent to anybody."""
    stats = node.ask("INFO", "stats")
    assert isinstance(stats, dict)
    return int(stats["total_net_output_bytes"])


def nobody_waits(dht: FleetDht) -> bool:
    """No call was turned away because another one failed."""
    return not any(outcome == "paused" for _, outcome in dht.store.operations)


async def holders(dht: FleetDht, content: bytes) -> list[str]:
    return [offer.metadata.ip async for offer in dht.find_offers(content, DEADLINE_S)]


async def register(dht: FleetDht, content: bytes) -> None:
    await dht.register_offer(content, b"ann", "Ann", FileMetadata("192.0.2.1", 4000, 3), DEADLINE_S)


def offers_key(dht: FleetDht, content: bytes = CONTENT) -> bytes:
    store: SharedStore = dht.store
    return store._key(content)


def test_an_offer_under_another_content_s_key_is_not_shown(run: Run[None], engine: EngineCluster) -> None:
    async def main() -> None:
        async with server(40, engine.url) as only:
            other = content_multihash("another file")
            terms = OfferTerms(other, b"u", "stranger", FileMetadata("203.0.113.9", 1234, 1))
            (offer,) = sign_offers(identity(41), [Signing(terms)], only.node.dht.now())
            row = offer_row(offer, only.node.dht.now())
            for content in (CONTENT, other):
                engine.nodes[0].ask("HSET", offers_key(only.dht, content), row.field, row.value)
            assert await holders(only.dht, CONTENT) == []
            assert await holders(only.dht, other) == ["203.0.113.9"], "there it is at its place"

    run(main())


POISON = {
    "a string": [("SET", LONG)],
    "a list": [("RPUSH", LONG)],
    "a long value": [("HSET", "o" + "1" * 16, LONG)],
    "a long name": [("HSET", LONG, "1")],
    "many fields": [("HSET", *(word for at in range(20_000) for word in (f"o{at:016}", b"x" * 20)))],
    "many bytes": [("HSET", f"o{at:016}", b"x" * 4096) for at in range(2000)],
}


@pytest.mark.parametrize("what", POISON)
def test_a_poisoned_content_costs_that_content_alone(
    run: Run[None], engine: EngineCluster, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with server(42, engine.url) as only:
            dht, node = only.dht, engine.nodes[0]
            dht.store._config = replace(dht.store._config, read_timeout_s=DEADLINE_S)  # however busy we are
            for command, *words in POISON[what]:
                node.ask(command, offers_key(dht), *words)
            await register(dht, content_multihash("another file"))
            before = sent_bytes(node)
            for _ in range(3):
                dht.offers.views.forget(CONTENT)
                assert await holders(dht, CONTENT) == [], "of the network there is none"
            most = 3 * FleetConfig().max_content_bytes * 1.1 if what.startswith("many") else PLENTY_BYTES
            assert sent_bytes(node) - before < most
            await register(dht, content_multihash("a third file"))
            assert (await dht.store.get(content_multihash("a third file"))).left_out == 0
            assert nobody_waits(dht)

    run(main())
    assert "shared store, content" in caplog.text


def test_registering_what_somebody_has_poisoned_says_why(
    run: Run[None], engine: EngineCluster, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with server(43, engine.url) as only:
            engine.nodes[0].ask("SET", offers_key(only.dht), "1")
            with pytest.raises(StorageFault, match=r"the value under fastmarket:.*WRONGTYPE"):
                await register(only.dht, CONTENT)
            for number in range(20):
                await register(only.dht, content_multihash(f"{number}"))
            engine.nodes[0].ask("DEL", offers_key(only.dht))

            async def written() -> bool:
                return len(only.dht.writer) == 0

            await comes_true(written)
            await register(only.dht, CONTENT)

    run(main())
    assert caplog.text.count("to the shared store (the value under") == 1


@pytest.mark.parametrize(
    "command", [("SET", LONG), ("RPUSH", LONG), ("HSET", "a", LONG)], ids=["value", "list", "hash"]
)
def test_a_value_is_bounded_as_everywhere_and_gives_way(
    run: Run[None], engine: EngineCluster, command: tuple[str, ...]
) -> None:
    async def main() -> None:
        async with server(44, engine.url) as only:
            dht, node = only.dht, engine.nodes[0]
            await dht.put_record(b"key", b"one", deadline_s=DEADLINE_S)
            key = dht.store._record(b"key")
            node.ask("DEL", key)
            node.ask(command[0], key, *command[1:])
            before = sent_bytes(node)
            assert await dht.get_record(b"key", deadline_s=DEADLINE_S) == b"one", "the network's"
            await dht.put_record(b"key", b"two", deadline_s=DEADLINE_S)
            assert sent_bytes(node) - before < PLENTY_BYTES
            assert await dht.store.get_value(b"key", 10) == b"two"
            node.ask("SET", key, b"x" * 10_240)
            assert await dht.store.get_value(b"key", 10_240) == b"x" * 10_240
            node.ask("SET", key, b"x" * 10_241)
            with pytest.raises(StorageFault, match="10241 bytes, where the maximum is 10240"):
                await dht.store.get_value(b"key", 10_240)
            assert nobody_waits(dht)

    run(main())


@pytest.mark.parametrize(
    "command", [("SET", LONG), ("RPUSH", LONG), ("HSET", "a", LONG)], ids=["value", "list", "hash"]
)
def test_poisoned_messages_cost_nobody_theirs(
    run: Run[None], engine: EngineCluster, command: tuple[str, ...]
) -> None:
    async def main() -> None:
        async with server(45, engine.url) as first, server(46, engine.url) as second:
            node = engine.nodes[0]
            await register(first.dht, CONTENT)
            before = sent_bytes(node)
            node.ask(command[0], first.dht.store._messages(first.dht.peer_id.raw), *command[1:])

            async def read() -> bool:
                return not node.ask("EXISTS", first.dht.store._messages(first.dht.peer_id.raw))

            await comes_true(read)
            assert first.dht.upkeep.reachable
            assert sent_bytes(node) - before < PLENTY_BYTES
            await second.dht.withdraw_offer(CONTENT, b"ann", DEADLINE_S)

            async def withdrawn() -> bool:
                own = first.dht.own_offer(CONTENT, b"ann")
                return own is None or own.withdrawn

            await comes_true(withdrawn)
            assert nobody_waits(first.dht)
            assert first.dht.upkeep.trouble == ""

    run(main())


def test_verifying_many_offers_lets_others_have_their_turn(run: Run[None], engine: EngineCluster) -> None:
    """Each has a signature of its own: a full content takes a third of a second to verify."""

    async def main() -> None:
        async with server(47, engine.url) as only:
            dht, node = only.dht, only.node.dht
            for number in range(300):
                terms = OfferTerms(CONTENT, b"%d" % number, "bob", FileMetadata("203.0.113.9", 1234, 1))
                (offer,) = sign_offers(identity(48), [Signing(terms)], node.now())
                row = offer_row(offer, node.now())
                engine.nodes[0].ask("HSET", offers_key(dht), row.field, row.value)
            turns = 0
            reading = asyncio.ensure_future(dht.offers.read(CONTENT, DEADLINE_S))
            while not reading.done():
                opened = node.offers.verifier.verified_count
                await asyncio.sleep(0)
                assert node.offers.verifier.verified_count - opened <= 64
                turns += 1
            assert len((await reading).offers) == 300

    run(main())


@asynccontextmanager
async def held_up(port: int, marker: bytes) -> AsyncIterator[int]:
    """A way to the engine on which whatever names `marker` gets no answer."""

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, on = await asyncio.open_connection("127.0.0.1", port)
        writers.extend((writer, on))
        stuck = False

        async def answers() -> None:
            while data := await back.read(65536):
                if not stuck:
                    writer.write(data)

        answering = asyncio.ensure_future(answers())
        while data := await reader.read(65536):
            stuck = stuck or marker in data
            on.write(data)
        on.close()
        await asyncio.gather(answering, return_exceptions=True)
        writer.close()

    writers: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(accepted, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
        for one in writers:
            one.close()


def test_a_key_that_holds_the_engine_up_is_left_alone_and_not_its_node(
    run: Run[None], tmp_path: Path
) -> None:
    """As a name of hundreds of megabytes does, each time its hash is read."""

    async def main() -> None:
        slow, other = CONTENT, content_multihash("another file")
        (port,) = free_ports(1)
        async with held_up(port, slow.hex().encode()) as outside:
            loop = asyncio.get_running_loop()
            stack = ExitStack()
            options = ("--cluster-announce-port", str(outside))
            await loop.run_in_executor(None, stack.enter_context, single_engine(tmp_path, *options, at=port))
            config = FleetConfig(read_timeout_s=0.2, pause_s=0.2)
            store = SharedStore(StoreUrl.parse(f"redis://127.0.0.1:{port}"), config, "fastmarket:test")
            try:
                assert (await store.get(other, DEADLINE_S)).fields == {}
                with pytest.raises(StorageFault, match="does not answer"):
                    await store.get(slow)
                await asyncio.gather(*store._probes.values())
                assert (await store.get(other, DEADLINE_S)).fields == {}, "at once"
                with pytest.raises(StorageFault, match="takes the engine too long"):
                    await store.get(slow)
                assert [key for key in store.operations if key[1] == "paused"] == [("get", "paused")]
                assert store.operations["get", "paused"] == 1
            finally:
                await store.close()
                await loop.run_in_executor(None, stack.close)

    run(main())
