"""Shares of credit in a real engine: what is granted to all servers never exceeds the credit."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest

from fastmarket.config import FleetConfig
from fastmarket.errors import StorageFault
from fastmarket.storage.shared import SharedStore
from fastmarket.storage.shared_credit import SharedCredit
from fastmarket.storage.store_url import StoreUrl
from tests.redis_cluster import PROGRAM, EngineCluster, engine_cluster

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no redis-server or valkey-server")
MIB = 1 << 20


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineCluster]:
    with engine_cluster(tmp_path_factory.mktemp("engine"), primaries=1) as engine:
        yield engine


def shared(engine: EngineCluster) -> SharedStore:
    return SharedStore(StoreUrl.parse(engine.url), FleetConfig(), "fastmarket:/test")


def test_together_they_grant_one_credit(run: Any, engine: EngineCluster) -> None:
    async def main() -> None:
        store = shared(engine)
        first, second, other = (
            SharedCredit(store, name, currency)
            for name, currency in ((b"1", "unit"), (b"2", "unit"), (b"1", "shells"))
        )
        assert await first.grant(b"ann", 3 * MIB, 0, 4 * MIB) == 3 * MIB
        assert await second.grant(b"ann", 3 * MIB, 0, 4 * MIB) == MIB
        assert await other.grant(b"ann", 3 * MIB, 0, 4 * MIB) == 3 * MIB  # another tab
        assert await second.grant(b"bob", 3 * MIB, 0, 4 * MIB) == 3 * MIB
        assert await first.grant(b"ann", 9 * MIB, 3 * MIB, 8 * MIB) == 7 * MIB  # it has paid there
        assert await first.grant(b"ann", 0, 0, 8 * MIB) == 0
        assert await second.grant(b"ann", 9 * MIB, MIB, 4 * MIB) == 4 * MIB
        assert await first.grant(b"ann", 2 * MIB, 2 * MIB, 2 * MIB) == 2 * MIB  # is owed already
        await store.close()

    run(main())


def test_whatever_is_asked_the_sum_is_bounded(run: Any, engine: EngineCluster) -> None:
    async def main() -> None:
        store, choice = shared(engine), random.Random(1)
        servers = [SharedCredit(store, b"%d" % number, "unit") for number in range(4)]
        granted = [0] * len(servers)
        for _ in range(300):
            which = choice.randrange(len(servers))
            count, held = choice.randrange(5 * MIB), choice.choice([0, granted[which]])
            granted[which] = await servers[which].grant(b"eve", count, held, 4 * MIB)
            assert held <= granted[which] <= max(count, held)
            assert sum(granted) <= 4 * MIB
        await store.close()

    run(main())


def test_what_others_put_there_is_no_number_of_ours(run: Any, engine: EngineCluster) -> None:
    async def main() -> None:
        store = shared(engine)
        credit = SharedCredit(store, b"1", "unit")
        await credit.grant(b"ann", MIB, 0, 4 * MIB)
        await SharedCredit(store, b"2", "unit").grant(b"zoe", 0, 0, 4 * MIB)  # leaves no key
        engine.primaries[0].ask("FLUSHALL")
        await credit.grant(b"ann", MIB, 0, 4 * MIB)
        keys = engine.primaries[0].ask("KEYS", "*")
        assert isinstance(keys, list)
        (key,) = keys
        engine.primaries[0].ask("HSET", key, "odd", "not ours")
        assert await credit.grant(b"ann", MIB, 0, 4 * MIB) == MIB
        engine.primaries[0].ask("DEL", key)
        engine.primaries[0].ask("SET", key, "text")
        with pytest.raises(StorageFault):
            await credit.grant(b"ann", MIB, 0, 4 * MIB)
        engine.primaries[0].ask("DEL", key)
        await store.close()

    run(main())
