"""The kernels and the wire inside one process, each beside the least that such work can cost in CPython.

Ceilings are C code of the interpreter or of its libraries that does less than ours has to: `bytes.hex` for a
text form, a dict for an insertion, an `itemgetter` of 20 known places for the 20 closest, the bare cipher.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from operator import itemgetter
from random import Random

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from pytest_benchmark.fixture import BenchmarkFixture

from bench.bench_wire import OUTSTANDING, ROUNDS, ServedRequests
from bench.ratio import beside, each, report, seconds
from fastmarket._kbucket import BucketTable
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.libp2p.tcp.noise import CipherState
from fastmarket.native import cid as _cid
from fastmarket.native import tcp_addr as _tcp_addr
from fastmarket.native.sha256 import sha256 as our_sha256

pytestmark = pytest.mark.short

NOW = 1_000_000.0
SIZE = 5000  # of the table
random = Random(1)
KEYS = [random.randbytes(32) for _ in range(SIZE)]
TARGETS = [random.randbytes(32) for _ in range(256)]
PLACES = [itemgetter(*random.sample(range(SIZE), 20)) for _ in TARGETS]
MULTIHASHES = [b"\x12\x20" + random.randbytes(32) for _ in range(256)]
PEERS = [b"\x00\x24\x08\x01\x12\x20" + random.randbytes(32) for _ in range(256)]


def table() -> BucketTable[bytes]:
    """Full: 5,000 keys, in buckets as large as that takes."""
    full: BucketTable[bytes] = BucketTable(TARGETS[0], bucket_size=SIZE)
    for key in KEYS:
        full.insert(key, key, NOW)
    return full


def test_closest_20_of_5000(benchmark: BenchmarkFixture) -> None:
    nearest = table().nearest
    ours = each(nearest, [(target, 20) for target in TARGETS])
    ceiling = each(lambda pick: list(pick(KEYS)), [(pick,) for pick in PLACES])
    beside(benchmark, ours, ceiling, "20 items of known places of a list", calls=len(TARGETS))
    benchmark.extra_info["limit_us"] = 1.5


@pytest.mark.parametrize("operation", ["insert", "touch"])
def test_table(benchmark: BenchmarkFixture, operation: str) -> None:
    """Of keys that are there, in no order."""
    full, some = table(), random.sample(KEYS, 256)
    plain = dict.fromkeys(KEYS, b"")
    if operation == "insert":
        ours = each(full.insert, [(key, key, NOW) for key in some])
    else:
        ours = each(full.touch, [(key, NOW) for key in some])
    ceiling = each(plain.__setitem__, [(key, key) for key in some])
    beside(benchmark, ours, ceiling, "the same into a dict", calls=len(some))
    benchmark.extra_info["limit_us"] = 0.2


def _addr(number: int) -> Multiaddr:
    return Multiaddr.from_text(f"/ip4/192.0.{number // 250}.{number % 250 + 1}/tcp/{4000 + number}")


def _addr_to_text(raw: bytes) -> str:
    return str(Multiaddr.from_bytes(raw))


ADDRS = [_addr(number) for number in range(256)]
TEXTS: dict[str, tuple[Callable[..., object], list[object], list[bytes], bool]] = {
    "peer-id-to-text": (_cid.base58_encode, list(PEERS), PEERS, True),
    "peer-id-from-text": (_cid.base58_decode, [_cid.base58_encode(raw) for raw in PEERS], PEERS, False),
    "cid-v0-to-text": (_cid.encode_cid_v0, list(MULTIHASHES), MULTIHASHES, True),
    "cid-v0-from-text": (
        _cid.cid_to_multihash,
        [_cid.encode_cid_v0(raw) for raw in MULTIHASHES],
        MULTIHASHES,
        False,
    ),
    "cid-v1-from-text": (
        _cid.cid_to_multihash,
        [_cid.encode_cid_v1(0x55, raw) for raw in MULTIHASHES],
        MULTIHASHES,
        False,
    ),
    "multiaddr-bytes-to-text": (
        _tcp_addr.addr_to_text,
        [addr.raw for addr in ADDRS],
        [a.raw for a in ADDRS],
        True,
    ),
    "multiaddr-text-to-bytes": (
        _tcp_addr.addr_from_text,
        [str(a) for a in ADDRS],
        [a.raw for a in ADDRS],
        False,
    ),
    "multiaddr-to-text": (_addr_to_text, [addr.raw for addr in ADDRS], [addr.raw for addr in ADDRS], True),
    "multiaddr-from-text": (
        Multiaddr.from_text,
        [str(addr) for addr in ADDRS],
        [a.raw for a in ADDRS],
        False,
    ),
}


@pytest.mark.parametrize("name", TEXTS)
def test_text(benchmark: BenchmarkFixture, name: str) -> None:
    """Beside the hexadecimal of the same bytes."""
    convert, values, raws, to_text = TEXTS[name]
    ours = each(convert, [(value,) for value in values])
    if to_text:
        ceiling = each(bytes.hex, [(raw,) for raw in raws])
    else:
        ceiling = each(bytes.fromhex, [(raw.hex(),) for raw in raws])
    beside(benchmark, ours, ceiling, "hexadecimal of the same bytes", calls=len(values))
    benchmark.extra_info["limit_us"] = 0.3


@pytest.mark.parametrize("size", [64, 1024, 65519])
def test_noise_frame(benchmark: BenchmarkFixture, size: int) -> None:
    cipher, data = CipherState(bytes(32)), bytearray(size)
    raw, nonce, plain = ChaCha20Poly1305(bytes(32)), bytes(12), bytes(size)
    ours, ceiling = (lambda: cipher.seal(data)), (lambda: raw.encrypt(nonce, plain, None))
    beside(benchmark, ours, ceiling, "the bare cipher on as many bytes")


def test_served_rpc(benchmark: BenchmarkFixture) -> None:
    """64 requests in, 64 replies of 1,600 bytes out, without what answers them: beside the cipher's share."""
    served = ServedRequests()
    raw, nonce = ChaCha20Poly1305(bytes(32)), bytes(12)
    sealed, answer = raw.encrypt(nonce, bytes(51 * OUTSTANDING), None), bytes(53_000)

    def ceiling() -> None:
        for _ in range(ROUNDS):
            raw.decrypt(nonce, sealed, None)
            raw.encrypt(nonce, answer, None)
            raw.encrypt(nonce, answer, None)

    best = float("inf")

    def before() -> tuple[tuple[list[bytes]], dict[str, object]]:
        nonlocal best
        served.take_replies()
        reads = served.reads(ROUNDS)
        best = min(best, seconds(ceiling, 1))
        return (reads,), {}

    benchmark.pedantic(served.serve, setup=before, rounds=30)
    calls = ROUNDS * OUTSTANDING
    report(
        benchmark, benchmark.stats.stats.min / calls * 1e6, best / calls * 1e6, "the bare cipher, both ways"
    )


def test_key_hash(benchmark: BenchmarkFixture) -> None:
    """Our SHA-256 of a key beside hashlib's."""
    rows = [(raw,) for raw in PEERS]
    beside(
        benchmark, each(our_sha256, rows), each(lambda raw: sha256(raw).digest(), rows), "hashlib", calls=256
    )
