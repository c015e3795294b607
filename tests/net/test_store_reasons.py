"""Each usual mistake with --store has its own words: real engines, set up wrong."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.exceptions import BusyLoadingError, ReadOnlyError
from redis.retry import Retry

from fastmarket.config import FleetConfig, HostConfig, MarketConfig, NodeConfig, WebConfig
from fastmarket.formats.cid import content_multihash
from fastmarket.market.grpc_client import MarketClient
from fastmarket.node import Node
from fastmarket.offers.model.metadata import FileMetadata
from fastmarket.storage.shared import SharedRow, SharedStore
from fastmarket.storage.store_trouble import EngineFault, Trouble, trouble_of
from fastmarket.storage.store_url import StoreUrl
from tests.certificates import Authority
from tests.conftest import Run
from tests.net.loopback import identity
from tests.net.test_fleet import comes_true
from tests.net.test_join_reasons import greet, hang_up, listener, say_nothing
from tests.redis_cluster import PROGRAM, eventually, free_ports

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no redis-server or valkey-server here")

FLEET = FleetConfig(pause_s=0.05, retry_s=0.1, look_s=0.1)
CONTENT = content_multihash("a file")
ALL_SLOTS = (0, 16383)


@contextmanager
def engine(
    folder: Path, *options: str, slots: tuple[int, int] | None = ALL_SLOTS, tls: bool = False, at: int = 0
) -> Iterator[int]:
    """One process; its port."""
    assert PROGRAM is not None
    port, bus, clear = free_ports(3)
    port = at or port
    words = [PROGRAM, "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    words += ["--port", str(clear if tls else port), *(("--tls-port", str(port)) if tls else ())]
    if slots is not None:
        words += [
            "--cluster-enabled",
            "yes",
            "--cluster-port",
            str(bus),
            "--cluster-announce-ip",
            "127.0.0.1",
        ]
        if tls:
            words += ["--cluster-announce-tls-port", str(port)]
    process = subprocess.Popen([*words, *options], stdout=subprocess.DEVNULL)
    client = redis.Redis(port=clear if tls else port, socket_timeout=10, retry=Retry(NoBackoff(), 0))
    try:
        eventually(lambda: answers(client, "PING"))
        if slots:
            password = options[options.index("--requirepass") + 1] if "--requirepass" in options else None
            ruler = redis.Redis(port=clear if tls else port, password=password, socket_timeout=10)
            ruler.execute_command("CLUSTER", "ADDSLOTSRANGE", *slots)
            if slots == ALL_SLOTS:
                eventually(
                    lambda: b"cluster_state:ok" in ruler.execute_command("CLUSTER", "INFO", NEVER_DECODE=True)
                )
            for option in ("on >geheim ~* +@all -cluster", "on >geheim ~* +@all -eval"):
                name = "without" + option.rpartition("-")[2]
                ruler.execute_command("ACL", "SETUSER", name, *option.split())
        yield port
    finally:
        process.kill()
        process.wait()


def answers(client: redis.Redis, *words: str) -> bool:
    try:
        client.execute_command(*words)
    except redis.AuthenticationError:
        return True
    except redis.RedisError:
        return False
    return True


CLUSTER: dict[str, tuple[str, Trouble]] = {
    "wrong user": ("redis://nobody:geheim@127.0.0.1:{}", Trouble.PASSWORD),
    "no right to the map": ("redis://withoutcluster:geheim@127.0.0.1:{}", Trouble.RIGHTS),
    "no right to scripts": ("redis://withouteval:geheim@127.0.0.1:{}", Trouble.RIGHTS),
    "TLS without": ("rediss://127.0.0.1:{}", Trouble.TLS_TIMEOUT),
    "unknown name": ("redis://nobody.invalid:{}", Trouble.UNKNOWN_NAME),
}
OPTIONS: dict[str, tuple[tuple[str, ...], Trouble]] = {
    "password wanted": (("--requirepass", "geheim"), Trouble.PASSWORD),
    "announced name": (
        (
            "--cluster-preferred-endpoint-type",
            "hostname",
            "--cluster-announce-hostname",
            "redis-1.invalid",
        ),
        Trouble.ANNOUNCED_NAME,
    ),
    "memory full": (("--maxmemory", "100000"), Trouble.MEMORY_FULL),
    "no replicas": (("--min-replicas-to-write", "1"), Trouble.CANNOT_SAVE),
}


async def faults(url: str) -> set[str]:
    """What a server of the fleet is told by such a store."""
    store = SharedStore(StoreUrl.parse(url), FLEET, "fastmarket:test")
    found = set()
    try:
        for ask in (store.runs, lambda: store.get(CONTENT, 2.0), lambda: store.get_value(b"key", 10)):
            try:
                await ask()
            except EngineFault as fault:
                found.add(str(fault))
        found.update((await store.put([SharedRow(CONTENT, b"o" * 17, b"value", 60)])).values())
        if store._renewing is not None:  # a look-up of a name that is cut off is reported by the loop
            await asyncio.wait({store._renewing})
    finally:
        await store.close()
    return found


def check(found: set[str], trouble: Trouble) -> None:
    assert found
    assert all(trouble.words in one for one in found), found
    assert not any("geheim" in one for one in found)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with engine(tmp_path_factory.mktemp("whole")) as port:
        yield port


@pytest.mark.parametrize("what", CLUSTER)
def test_what_is_wrong_with_the_url(run: Run[None], whole: int, what: str) -> None:
    url, trouble = CLUSTER[what]

    async def main() -> None:
        check(await faults(url.format(whole)), trouble)

    run(main())


@pytest.mark.parametrize("what", OPTIONS)
def test_what_is_wrong_with_the_engine(run: Run[None], tmp_path: Path, what: str) -> None:
    options, trouble = OPTIONS[what]

    async def main(port: int) -> None:
        check(await faults(f"redis://127.0.0.1:{port}"), trouble)

    with engine(tmp_path, *options) as port:
        run(main(port))


@pytest.mark.parametrize(
    ("slots", "trouble"),
    [(None, Trouble.NOT_CLUSTER), ((), Trouble.NO_SLOTS), ((0, 1), Trouble.CLUSTER_DOWN)],
)
def test_what_is_wrong_with_the_cluster(
    run: Run[None], tmp_path: Path, slots: tuple[int, int] | None, trouble: Trouble
) -> None:
    async def main(port: int) -> None:
        check(await faults(f"redis://127.0.0.1:{port}"), trouble)

    with engine(tmp_path, slots=slots) as port:
        run(main(port))


def test_what_is_wrong_with_tls(run: Run[None], tmp_path: Path) -> None:
    ours, theirs = Authority(tmp_path), Authority(tmp_path, "theirs")
    pair = theirs.issue("engine")
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("not a certificate")
    options = ("--tls-cert-file", str(pair.cert), "--tls-key-file", str(pair.key))
    options += ("--tls-ca-cert-file", str(theirs.ca), "--tls-auth-clients", "no")

    async def main(port: int) -> None:
        check(await faults(f"rediss://127.0.0.1:{port}?ca_file={ours.ca}"), Trouble.CERTIFICATE)
        check(await faults(f"rediss://127.0.0.1:{port}?ca_file={tmp_path / 'none'}"), Trouble.CA_FILE)
        check(await faults(f"rediss://127.0.0.1:{port}?ca_file={garbage}"), Trouble.CA_FILE)
        check(await faults(f"redis://127.0.0.1:{port}"), Trouble.CLOSED)

    with ExitStack() as stack:
        try:
            port = stack.enter_context(engine(tmp_path, *options, slots=None, tls=True))
        except AssertionError:
            pytest.skip("this engine was built without TLS")
        run(main(port))


@pytest.mark.parametrize(
    ("end", "trouble"),
    [(greet, Trouble.NOT_AN_ENGINE), (hang_up, Trouble.CLOSED), (say_nothing, Trouble.TIMEOUT)],
)
def test_what_else_may_listen_there(run: Run[None], end: Callable[..., object], trouble: Trouble) -> None:
    async def main() -> None:
        async with listener(end) as port:  # type: ignore[arg-type]
            check(await faults(f"redis://127.0.0.1:{port}"), trouble)

    run(main())


def test_nobody_listens_and_no_way_leads_there(run: Run[None]) -> None:
    async def main() -> None:
        check(await faults("redis://127.0.0.1:1"), Trouble.REFUSED)
        check(await faults("redis://255.255.255.255:1"), Trouble.UNREACHABLE)

    run(main())


def test_what_passes_by_itself() -> None:
    assert trouble_of(BusyLoadingError("Redis is loading the dataset in memory")) is Trouble.LOADING
    assert trouble_of(ReadOnlyError("You can't write against a read only replica.")) is Trouble.READ_ONLY


def test_an_operator_and_a_caller_are_told(
    run: Run[None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    httpx = pytest.importorskip("httpx")

    async def main(port: int) -> None:
        config = NodeConfig(
            host=HostConfig(listen=("/ip4/127.0.0.1/tcp/0",)),
            market=MarketConfig(port=0),
            web=WebConfig(metrics_port=0),
            fleet=FleetConfig(store=f"redis://127.0.0.1:{port}", look_s=0.1),
        )
        words = Trouble.NOT_CLUSTER.words
        async with Node(config, identity(80)) as node, MarketClient(node.grpc_address) as market:
            with pytest.raises(Exception, match=words):
                await market.register("a file", FileMetadata("192.0.2.1", 80, 1), timeout_s=5.0)

            async def told() -> bool:
                return words in "".join((await market.get_node()).troubles)

            await comes_true(told)
            async with httpx.AsyncClient(base_url=f"http://{node.metrics_address}") as http:
                ready = await http.get("/readyz")
            assert ready.status_code == 200, "lookups go on"
            assert ready.text.startswith("ready, but ")
            assert words in ready.text

    with engine(tmp_path, slots=None) as port:
        run(main(port))
    assert caplog.text.count("lookups go on in the network") == 1
