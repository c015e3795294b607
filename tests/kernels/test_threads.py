"""The kernels in several threads at once: each with objects of its own, and what threads may share.

Every thread does what was done before in one thread alone, and finds the same. With the GIL the threads take
turns often; on a free-threaded CPython they run at once.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from threading import Barrier

import pytest

from fastmarket import _xor
from fastmarket._kbucket import BucketTable
from fastmarket.config import KadConfig
from fastmarket.formats.identity import PeerId
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.formats.scope import ip_group
from fastmarket.formats.varint import encode_uvarint
from fastmarket.kad.lookup.policy import STATE_TABLE
from fastmarket.native import batch as _batch
from fastmarket.native import cid as _cid
from fastmarket.native import kad_fields as _kad_fields
from fastmarket.native import merkle as _merkle
from fastmarket.native import sha256 as _sha256
from fastmarket.native import sodium as _sodium
from fastmarket.native import tcp_addr as _tcp_addr
from fastmarket.native.candidates import Candidates
from fastmarket.native.event_queue import EventQueue
from fastmarket.native.peer_cache import PeerInfoCache

THREADS = 4
TURNS = 20
NOW = 1_700_000_000.0
LATER = 1 << 62  # ns of Unix time: every file there is has settled by then
TAG, HEAD = 0x42, b"\x08\x04"

Work = Callable[[Random], object]


@pytest.fixture(autouse=True)
def _often_in_turn() -> Iterator[None]:
    """A thread gives way after 10 µs, so that there are turns where there is a GIL."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def at_once(job: Callable[[int], object]) -> list[object]:
    """What `job(0)`, `job(1)` ... return, in a thread each, all begun together."""
    barrier = Barrier(THREADS)

    def run(number: int) -> object:
        barrier.wait()
        return job(number)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(run, range(THREADS)))


def table(random: Random) -> object:
    """A routing table that grows, turns peers away, forgets some and is asked."""
    own: BucketTable[int] = BucketTable(random.randbytes(32), bucket_size=20, max_entries=300)
    keys = [random.randbytes(32) for _ in range(500)]
    told: list[object] = [own.insert(key, number, NOW + number) for number, key in enumerate(keys)]
    told += [own.touch(key, NOW + 1000) for key in random.sample(keys, 100)]
    told += [own.remove(key) for key in random.sample(keys, 50)]
    told += [own.nearest(random.randbytes(32), 20) for _ in range(50)]
    return told, own.items(), own.bucket_sizes()


def candidates(random: Random) -> object:
    """What a lookup hears of, asks and chooses."""
    own = Candidates(random.randbytes(32), bytes(32), KadConfig(), STATE_TABLE, ip_group)
    for _ in range(10):
        own.add([PeerInfo(PeerId(b"\x12\x20" + random.randbytes(32))) for _ in range(30)], 1)
        own.begin(NOW, 0, None)
        while (candidate := own.next_to_query()) is not None:
            own.query(candidate, NOW, True, random.random(), 1.0)
        for candidate in own.overdue(NOW + 0.5):
            candidate.answer("/a", NOW + 1)
    keys = [candidate.key for candidate in own.listed()]
    return keys, own.closest_keys(), own.next_timer({}, None), _xor.nearest(keys[0], b"".join(keys), 100)


def digests(random: Random) -> object:
    items = [random.randbytes(random.randrange(200)) for _ in range(200)]
    many, large = _sha256.sha256_many(items), random.randbytes(50_000)
    return many, _sha256.sha256(large), _sha256.sha256_packed(large, 50)


def texts(random: Random) -> object:
    """CIDs and addresses, there and back."""
    hashes = [b"\x12\x20" + random.randbytes(32) for _ in range(50)]
    cids = [_cid.encode_cid_v0(one) for one in hashes] + [_cid.encode_cid_v1(0x55, one) for one in hashes]
    addrs = [b"\x04" + random.randbytes(4) + b"\x06" + random.randbytes(2) for _ in range(50)]
    names = [_tcp_addr.addr_to_text(addr) for addr in addrs]
    assert [_tcp_addr.addr_from_text(name) for name in names if name is not None] == addrs
    return names, [_cid.cid_to_multihash(cid) for cid in cids]


def messages(random: Random) -> object:
    return _kad_fields.message_fields(replies(random, 1)[0], 40, 0)


def signatures(random: Random) -> object:
    """Ed25519, X25519 and the cipher."""
    secret, message = _sodium.ed25519_secret(random.randbytes(32)), random.randbytes(random.randrange(2000))
    signature = _sodium.ed25519_sign(secret, message)
    assert _sodium.ed25519_verify(secret[32:], message, signature)
    assert not _sodium.ed25519_verify(secret[32:], message + b"!", signature)
    cipher = _sodium.Aead(random.randbytes(32))
    sealed = cipher.encrypt(7, message)
    assert cipher.decrypt(7, sealed) == message
    return (
        signature,
        sealed,
        _sodium.x25519(random.randbytes(32), _sodium.x25519_public(random.randbytes(32))),
    )


def batches(random: Random) -> object:
    bodies = [random.randbytes(random.randrange(1, 300)) for _ in range(50)]
    batch = _batch.SignedBatch.join(random.randbytes(140), bodies)
    parts = [_merkle.split_batched(batch.signed(index)) for index in range(batch.count)]
    assert [_merkle.merkle_root(body, index, 50, path) for _, index, path, body in parts] == [
        batch.root()
    ] * 50
    return batch.data, batch.root(), _batch.tree_root(bodies)


def events(random: Random) -> object:
    queue, happened = EventQueue(NOW), list[int]()
    for number in range(500):
        queue.after(random.random(), happened.append, number)
    queue.rest(0.7)
    return happened, len(queue)


def replies(random: Random, count: int) -> list[bytes]:
    pool = [random.randbytes(random.choice((7, 60, 90))) for _ in range(200)]

    def one() -> bytes:
        some = [bytes((TAG,)) + encode_uvarint(len(raw)) + raw for raw in random.sample(pool, 20)]
        return HEAD + b"".join(some)

    return [one() for _ in range(count)]


def cached(random: Random) -> object:
    cache: PeerInfoCache[str] = PeerInfoCache(128, 300, bytes.hex)
    return [cache.read_all(body, HEAD, TAG, 40, False) for body in replies(random, 50)]


WORK = [table, candidates, digests, texts, messages, signatures, batches, events, cached]


@pytest.mark.parametrize("work", WORK)
def test_threads_with_their_own_objects_find_what_one_thread_finds(work: Work) -> None:
    def job(number: int) -> object:
        return [work(Random(f"{number} {turn}")) for turn in range(TURNS)]

    alone = [job(number) for number in range(THREADS)]
    assert at_once(job) == alone


def test_files_are_hashed_in_several_threads(tmp_path: Path) -> None:
    paths = [tmp_path / str(number) for number in range(100)]
    for number, path in enumerate(paths):
        path.write_bytes(Random(number).randbytes(1000 * number))
    names = [bytes(path) for path in paths]
    alone = _cid.file_digests(names, 1 << 18, True, LATER)
    assert (
        at_once(lambda _: [_cid.file_digests(names, 1 << 18, True, LATER) for _ in range(3)])
        == [[alone] * 3] * THREADS
    )


def test_one_cache_of_peers_serves_several_threads() -> None:
    """A process has one for all engines. What it tells is right also while another thread makes it anew."""
    cache: PeerInfoCache[str] = PeerInfoCache(64, 300, bytes.hex)
    bodies = replies(Random(1), 100)
    wanted = [tuple(raw.hex() for raw in _kad_fields.message_fields(body, 40, 0)[3]) for body in bodies]

    def job(number: int) -> int:
        random = Random(number)
        for turn in range(40 * TURNS):
            at = random.randrange(len(bodies))
            assert cache.read_all(bodies[at], HEAD, TAG, 40, False) == wanted[at]
            if turn % 50 == number:
                cache.resize(random.choice((4, 64, 1024)))
        return number

    assert at_once(job) == list(range(THREADS))


def test_one_batch_serves_several_threads() -> None:
    """It looks like a value: its tree is made once, whoever asks first."""
    bodies = [b"offer %d" % number for number in range(256)]
    root = _batch.tree_root(bodies)
    for _ in range(TURNS):
        batch = _batch.SignedBatch.join(b"envelope", bodies)
        assert at_once(lambda number, batch=batch: (batch.root(), batch.signed(number)))[0] == (  # type: ignore[misc]
            root,
            batch.signed(0),
        )


def test_a_list_may_change_while_it_is_hashed() -> None:
    """By another thread: what was in it when the call began is what is hashed."""
    items = [b"%d" % number for number in range(500)]
    known = set(_sha256.sha256_many(items)) | set(_sha256.sha256_many([b"new"]))

    def job(number: int) -> bool:
        if number:
            return all(known.issuperset(_sha256.sha256_many(items)) for _ in range(10 * TURNS))
        for _ in range(100 * TURNS):
            items[:] = items[: len(items) // 2] + [b"new"] * (len(items) - len(items) // 2)
            items.append(items.pop(0))
        return True

    assert all(at_once(job))


@pytest.mark.skipif(
    not sysconfig.get_config_var("Py_GIL_DISABLED"),
    reason="wants a free-threaded CPython: this one has a GIL",
)
def test_the_kernels_leave_the_gil_off() -> None:
    """Importing each; but for `native.sodium`, where PyNaCl's cffi decides."""
    package = Path(_xor.__file__).parent
    sources = [path.relative_to(package).with_suffix("") for path in package.rglob("*.pyx")]
    names = {".".join(path.parts) for path in sources} - {"native.sodium"}
    assert names >= {"_xor", "native.sha256"}
    kernels = ", ".join(f"fastmarket.{name}" for name in sorted(names))
    program = f"import sys, {kernels}; sys.exit(sys._is_gil_enabled())"
    environment = {"PYTHONPATH": str(package.parent)}
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, env=environment)
