"""Two threads of one process, each with objects of its own, beside the same work done one after the other.

`pytest bench/bench_threads.py`. `ratio` is what the second thread gains: with the GIL 1 (and 2 for what gives
it away, as hashing a file does), on a free-threaded CPython (`PYTHON_GIL=0`) 2 at the best. That wants two
idle cores, so nothing here is judged in CI, and rounds during which others used them do not count:
`quiet_rounds` tells how many are left; with 0 the ratio says nothing. `cpu_growth`: how much more processor
time both take at once than one after the other, for what they share.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from random import Random
from statistics import median

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.bench_wire import OUTSTANDING, RPC, joined
from bench.ratio import report, seconds
from fastmarket._kbucket import BucketTable
from fastmarket.config import KadConfig
from fastmarket.formats.identity import Identity
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.formats.varint import frame
from fastmarket.hashing import cid_of_file, cids_of_files
from fastmarket.kad.engine import Engine
from fastmarket.kad.wire.messages import (
    PEER_CACHE_ENTRY_BYTES,
    Field,
    Kind,
    encode_peer,
    encode_reply,
    encode_request,
    read_peer,
)
from fastmarket.libp2p.events import StreamData
from fastmarket.native import sha256 as _sha256
from fastmarket.native import sodium as _sodium
from fastmarket.native import tcp_addr as _tcp_addr
from fastmarket.native.peer_cache import PeerInfoCache
from fastmarket.sim.network import Rules
from fastmarket.sim.world import Plan, World

Job = Callable[[], object]

THREADS = 2
ROUNDS = 9
PATIENCE_S = 8.0
IDLE = 1.85  # gained by a second thread that hashes
WITNESS = bytes(16 << 20)
ROUND_S = 0.05  # a job takes at least so long: to wake a thread costs some 0.0001
NOW = 1_700_000_000.0
LARGE_BYTES = 64 << 20
SMALL_FILES, SMALL_BYTES = 2000, 16 << 10


@pytest.fixture(scope="module")
def threads() -> Iterator[list[ThreadPoolExecutor]]:
    """Of one thread each: what a job works on is made where it is used, for its thread then owns it."""
    with ExitStack() as stack:
        yield [stack.enter_context(ThreadPoolExecutor(1)) for _ in range(THREADS)]


@pytest.fixture(autouse=True)
def _no_collector() -> Iterator[None]:
    """On a free-threaded CPython it stops every thread; the simulator and a starting server go without it."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def repeated(job: Job) -> Job:
    """As often as a round takes."""
    job()
    turns = max(1, round(ROUND_S / max(seconds(job, 1), 1e-9)))

    def many() -> None:
        for _ in range(turns):
            job()

    return many


def side_by_side(
    benchmark: BenchmarkFixture,
    threads: list[ThreadPoolExecutor],
    make: Callable[[int], Job],
    repeats: bool = True,
) -> None:
    """Measures the jobs `make(0)` and `make(1)`, in a thread each, at once against one after the other."""

    def made(number: int) -> Job:
        return repeated(make(number)) if repeats else make(number)

    pairs = [(thread, thread.submit(made, number).result()) for number, thread in enumerate(threads)]

    def apart() -> None:
        for thread, job in pairs:
            thread.submit(job).result()

    def together() -> None:
        for done in [thread.submit(job) for thread, job in pairs]:
            done.result()

    rounds = list[tuple[bool, float, float, float]]()  # two idle cores, seconds of both, growth of the CPU
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end and sum(quiet for quiet, *_ in rounds) < ROUNDS:
        idle = two_cores(threads)
        cpu = [time.process_time()]
        one = seconds(apart, 1)
        cpu.append(time.process_time())
        both = seconds(together, 1)
        cpu.append(time.process_time())
        rounds.append((idle and two_cores(threads), one, both, (cpu[2] - cpu[1]) / (cpu[1] - cpu[0])))
    counted = [row for row in rounds if row[0]] or rounds
    _, ones, boths, growths = zip(*counted, strict=True)
    benchmark.extra_info |= {
        "gil": getattr(sys, "_is_gil_enabled", lambda: True)(),
        "quiet_rounds": sum(quiet for quiet, *_ in rounds),
        "cpu_growth": round(median(growths), 2),
    }
    benchmark.pedantic(together, rounds=1)
    report(benchmark, median(boths) * 1e6, median(ones) * 1e6, "both one after the other")


def two_cores(threads: list[ThreadPoolExecutor]) -> bool:
    """Whether both are free just now: told by what needs no GIL."""

    def hashed() -> None:
        _sha256.sha256(WITNESS)

    apart = seconds(lambda: [thread.submit(hashed).result() for thread in threads], 1)
    together = seconds(lambda: [done.result() for done in [thread.submit(hashed) for thread in threads]], 1)
    return apart > IDLE * together


# ---- kernels ----


def closest(number: int) -> Job:
    """The 20 closest of a table of 5,000."""
    random = Random(number)
    table: BucketTable[bytes] = BucketTable(random.randbytes(32), bucket_size=5000)
    for key in [random.randbytes(32) for _ in range(5000)]:
        table.insert(key, key, NOW)
    targets = [random.randbytes(32) for _ in range(256)]
    return lambda: [table.nearest(target, 20) for target in targets]


def known_reply(number: int) -> Job:
    """A reply of 20 known peers, by a cache of its own."""
    cache: PeerInfoCache[PeerInfo] = PeerInfoCache(1024, PEER_CACHE_ENTRY_BYTES, read_peer)
    return replies(number, cache)


def shared_reply(cache: PeerInfoCache[PeerInfo]) -> Callable[[int], Job]:
    """As above, by one cache for both: as the engines of one process have it."""
    return lambda number: replies(number, cache)


def replies(number: int, cache: PeerInfoCache[PeerInfo]) -> Job:
    entries = [encode_peer(Field.CLOSER_PEERS, peer(100 * number + n), 8192) for n in range(100)]
    random = Random(number)
    bodies = [encode_reply(Kind.FIND_NODE, random.sample(entries, 20)) for _ in range(100)]
    return lambda: [cache.read_all(body, b"\x08\x04", 0x42, 40, False) for body in bodies]


def peer(number: int) -> PeerInfo:
    identity = Identity.from_seed(number.to_bytes(32, "big"))
    return PeerInfo(identity.peer_id, (Multiaddr.from_endpoint(f"9.1.{number // 250}.{number % 250}", 4001),))


def addresses(number: int) -> Job:
    """Addresses to text and back."""
    raws = [peer(1000 * number + n).addrs[0].raw for n in range(256)]
    return lambda: [_tcp_addr.addr_from_text(_tcp_addr.addr_to_text(raw)) for raw in raws]


def short_hashes(number: int) -> Job:
    """SHA-256 of 1,000 keys."""
    items = [Random(number).randbytes(34) for _ in range(1000)]
    return lambda: _sha256.sha256_many(items)


def verified(number: int) -> Job:
    """An Ed25519 signature."""
    secret = _sodium.ed25519_secret(bytes([number]) * 32)
    public, message = secret[32:], bytes(200)
    signature = _sodium.ed25519_sign(secret, message)
    return lambda: _sodium.ed25519_verify(public, message, signature)


def sealed(number: int) -> Job:
    """A noise frame of 1 KiB."""
    cipher, plain = _sodium.Aead(bytes([number]) * 32), bytes(1024)
    return lambda: cipher.frame(0, plain)


KERNELS = {
    "closest 20 of 5000": closest,
    "reply of 20 peers": known_reply,
    "addresses": addresses,
    "1000 short hashes": short_hashes,
    "signature verified": verified,
    "noise frame": sealed,
}


@pytest.mark.parametrize("name", KERNELS)
def test_kernel(benchmark: BenchmarkFixture, threads: list[ThreadPoolExecutor], name: str) -> None:
    side_by_side(benchmark, threads, KERNELS[name])


def test_reply_of_20_peers_by_one_cache(
    benchmark: BenchmarkFixture, threads: list[ThreadPoolExecutor]
) -> None:
    side_by_side(benchmark, threads, shared_reply(PeerInfoCache(1024, PEER_CACHE_ENTRY_BYTES, read_peer)))


# ---- a node's parts ----


def find_node(number: int) -> Job:
    """256 requests answered by an engine that knows 500 peers."""
    config = KadConfig()
    engine = Engine(config, peer(5000 + number).peer_id, now=NOW, entropy=Random(number).randbytes)
    known = [peer(1000 * number + n) for n in range(500)]
    for info in known:
        engine.on_peer_identified(info, {config.protocol}, NOW)
    engine.poll_actions()
    bodies = [encode_request(Kind.FIND_NODE, info.peer_id.raw) for info in known[:256]]
    asker, handle = known[0].peer_id, engine.handle_request
    return lambda: [handle(asker, body, NOW + 1) for body in bodies]


def handshake(number: int) -> Job:
    """A whole upgrade, both sides."""
    return lambda: joined(number)


def rpcs(number: int) -> Job:
    """64 requests and their replies, both sides."""
    dialer, listener = joined(number)
    streams = [dialer.open_stream([RPC], NOW, lazy=True) for _ in range(OUTSTANDING)]
    request = frame(bytes(38))

    def turn() -> None:
        for stream in streams:
            dialer.send(stream, request, NOW)
        listener.receive_data(dialer.data_to_send(), NOW)
        while data := listener.data_to_send():
            dialer.receive_data(data, NOW)
            if not listener.resume(NOW):
                break
        while (event := dialer.next_event()) is not None:
            if isinstance(event, StreamData):
                dialer.consumed(event.stream_id, len(event.data), NOW)

    return turn


PARTS = {"find node": find_node, "handshake": handshake, "64 rpcs": rpcs}


@pytest.mark.parametrize("name", PARTS)
def test_part(benchmark: BenchmarkFixture, threads: list[ThreadPoolExecutor], name: str) -> None:
    side_by_side(benchmark, threads, PARTS[name])


def simulated(number: int) -> Job:
    """Lookups in a network of 100 nodes that know each other."""
    world = World(Plan(nodes=100, signers=0, rules=Rules(seed=number + 1)))
    world.look_up(500)
    return lambda: world.look_up(40)


def test_simulators(benchmark: BenchmarkFixture, threads: list[ThreadPoolExecutor]) -> None:
    side_by_side(benchmark, threads, simulated, repeats=False)


# ---- files ----


@pytest.mark.parametrize("size", ["large", "small"])
def test_files(
    benchmark: BenchmarkFixture, threads: list[ThreadPoolExecutor], tmp_path: Path, size: str
) -> None:
    """Hashed by one thread each: one large file, many small ones."""

    def large(number: int) -> Job:
        path = tmp_path / f"large {number}"
        path.write_bytes(Random(number).randbytes(LARGE_BYTES))
        return lambda: cid_of_file(path, threads=1)

    def small(number: int) -> Job:
        paths = [tmp_path / f"{number} {n}" for n in range(SMALL_FILES)]
        for path in paths:
            path.write_bytes(path.name.encode().ljust(SMALL_BYTES, b"."))
        return lambda: list(cids_of_files(paths, threads=1))

    side_by_side(benchmark, threads, large if size == "large" else small, repeats=False)
