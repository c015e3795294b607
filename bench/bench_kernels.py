"""Each compiled kernel beside its plain Python twin: `pytest bench/bench_kernels.py`.

Figures depend on the machine and are only read by people; what is asserted is agreement and, within one run,
that compiling was worth it.
"""

from __future__ import annotations

import hashlib
import random
import timeit
from collections.abc import Callable

import multiformats
import pytest

from fastmarket import _kbucket, _xor
from fastmarket.config import KadConfig
from fastmarket.formats.identity import PeerId
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.formats.scope import ip_group
from fastmarket.kad.wire.messages import (
    PEER_CACHE_ENTRY_BYTES,
    Field,
    Kind,
    encode_peer,
    encode_reply,
    read_peer,
)
from fastmarket.native import batch as _batch
from fastmarket.native import candidates as _candidates
from fastmarket.native import cid as _cid
from fastmarket.native import codec as _codec
from fastmarket.native import event_queue as _eventqueue
from fastmarket.native import merkle as _merkle
from fastmarket.native import peer_cache as _peercache
from fastmarket.native import sha256 as _sha256
from fastmarket.pb.fastmarket.v1.offer_pb2 import OfferBody
from fastmarket.pb.libp2p import kad_pb2
from tests.reference import candidates as candidates_twin
from tests.reference import cid as cid_twin
from tests.reference import codec as codec_twin
from tests.reference import eventqueue as eventqueue_twin
from tests.reference import kbucket as kbucket_twin
from tests.reference import merkle as merkle_twin
from tests.reference import peercache as peercache_twin
from tests.reference import sha256 as sha256_twin
from tests.reference import xor as xor_twin
from tests.reference.batched import BatchedOffer

TARGETS = 256  # different arguments in turn, so that no branch predictor learns one answer
rng = random.Random(1)
targets = [rng.randbytes(32) for _ in range(TARGETS)]
multihashes = [b"\x12\x20" + rng.randbytes(32) for _ in range(TARGETS)]
v0_texts = [cid_twin.encode_cid_v0(multihash) for multihash in multihashes]
v1_texts = [cid_twin.encode_cid_v1(0x55, multihash) for multihash in multihashes]
peer_ids = [b"\x00\x24\x08\x01\x12\x20" + rng.randbytes(32) for _ in range(TARGETS)]
peer_texts = [cid_twin.base58_encode(raw) for raw in peer_ids]


def each(function: Callable[..., object], arguments: list[tuple[object, ...]]) -> Callable[[], None]:
    """One round: the function over all arguments."""

    def run() -> None:
        for row in arguments:
            function(*row)

    return run


def measure(benchmark, function, arguments) -> None:
    """Reports the time of one round and, in extra_info, of one call."""
    run = each(function, arguments)
    benchmark(run)
    if benchmark.stats is not None:
        benchmark.extra_info["us_per_call"] = round(benchmark.stats["min"] / len(arguments) * 1e6, 4)


def pairs(name: str, ours, twin, arguments):
    return [
        pytest.param(ours, twin, arguments, True, id=f"{name}-compiled"),
        pytest.param(ours, twin, arguments, False, id=f"{name}-twin"),
    ]


def singles(values):
    return [(value,) for value in values]


bodies = [
    OfferBody(
        content=multihash, provider=rng.randbytes(38), user_id=b"user", user_name="someone", ip="192.0.2.1",
        port=4000, price_per_mb=3, size=10**9, name="a file.bin", seq=2**50, issued_at=2**30, not_after=2**31,
    ).SerializeToString()
    for multihash in multihashes
]  # fmt: skip
root, paths = merkle_twin.merkle_tree(bodies)
batched = [
    BatchedOffer(bytes(140), index, path, body).encode()
    for index, (path, body) in enumerate(zip(paths, bodies, strict=True))
]
whole = _batch.SignedBatch.join(bytes(140), bodies[:256]).data
fields = [_merkle.plain_body(body) for body in bodies]


def whole_root(data):
    return _batch.SignedBatch(data).root()


def whole_root_twin(data):
    return merkle_twin.merkle_tree(merkle_twin.split_whole(data)[1])[0]


packed_keys = b"".join(rng.randbytes(32) for _ in range(200))
kad_reply = kad_pb2.Message(
    type=kad_pb2.Message.FIND_NODE,
    closerPeers=[kad_pb2.Message.Peer(id=raw, addrs=[bytes(8), bytes(20)]) for raw in peer_ids[:20]],
).SerializeToString()


def contacts(module):
    """A table of 200 contacts."""
    table = module.BucketTable(targets[0], bucket_size=200)
    for number in range(200):
        contact = _kbucket.ContactState()
        contact.encoded = rng.randbytes(74)
        table.insert(hashlib.sha256(b"%d" % number).digest(), contact, 0.0)
    return table


joined_rows = [(b"head", target, None, 20, 0) for target in targets[:20]]
rng_state = rng.getstate()
compiled_contacts = contacts(_kbucket)
rng.setstate(rng_state)  # the same entries
twin_contacts = contacts(kbucket_twin)

CASES = [
    *pairs("closest-20-of-200-joined", compiled_contacts.joined, twin_contacts.joined, joined_rows),
    *pairs(
        "kad-reply-of-20", _codec.message_fields, codec_twin.message_fields, [(kad_reply, 40, 0)] * TARGETS
    ),
    *pairs("distance", _xor.distance, xor_twin.distance, list(zip(targets, reversed(targets), strict=True))),
    *pairs(
        "nearest-20-of-200-packed",
        _xor.nearest,
        xor_twin.nearest,
        [(t, packed_keys, 20) for t in targets[:20]],
    ),
    *pairs(
        "cid-v0-to-multihash",
        _cid.cid_to_multihash,
        lambda text: cid_twin.decode_cid(text)[2],
        singles(v0_texts),
    ),
    *pairs(
        "cid-v1-to-multihash",
        _cid.cid_to_multihash,
        lambda text: cid_twin.decode_cid(text)[2],
        singles(v1_texts),
    ),
    *pairs("decode-cid-v0", _cid.decode_cid, cid_twin.decode_cid, singles(v0_texts)),
    *pairs("decode-cid-v1", _cid.decode_cid, cid_twin.decode_cid, singles(v1_texts)),
    *pairs("encode-cid-v0", _cid.encode_cid_v0, cid_twin.encode_cid_v0, singles(multihashes)),
    *pairs("encode-cid-v1", _cid.encode_cid_v1, cid_twin.encode_cid_v1, [(0x55, m) for m in multihashes]),
    *pairs("peer-id-to-text", _cid.base58_encode, cid_twin.base58_encode, singles(peer_ids)),
    *pairs("peer-id-from-text", _cid.base58_decode, cid_twin.base58_decode, singles(peer_texts)),
    *pairs("split-batched-offer", _merkle.split_batched, merkle_twin.split_batched, singles(batched)),
    *pairs(
        "merkle-root-of-256",
        _merkle.merkle_root,
        merkle_twin.merkle_root,
        [(body, index, len(bodies), paths[index]) for index, body in enumerate(bodies)],
    ),
    *pairs("offer-body", _merkle.plain_body, merkle_twin.body, singles(bodies)),
    *pairs("tree-of-a-whole-batch", whole_root, whole_root_twin, [(whole,)]),
    *pairs("write-offer-body", _batch.encode_body, merkle_twin.encode_body, fields),
]


@pytest.mark.parametrize(("ours", "twin", "arguments", "compiled"), CASES)
def test_call(benchmark, ours, twin, arguments, compiled):
    assert [ours(*row) for row in arguments] == [twin(*row) for row in arguments]
    measure(benchmark, ours if compiled else twin, arguments)


def test_decode_cid_multiformats(benchmark):
    """What the library that serves the edges takes for the same."""
    assert multiformats.CID.decode(v1_texts[0]).digest == multihashes[0]
    measure(benchmark, multiformats.CID.decode, singles(v1_texts[:16]))


SHORT = [rng.randbytes(34) for _ in range(1000)]
SHORT_PACKED = b"".join(SHORT)


@pytest.mark.parametrize("compiled", [True, False], ids=["compiled", "hashlib"])
def test_sha256_of_1000_times_34_bytes(benchmark, compiled):
    hash_many = _sha256.sha256_many if compiled else sha256_twin.sha256_many
    assert benchmark(hash_many, SHORT) == [hashlib.sha256(item).digest() for item in SHORT]


@pytest.mark.parametrize("compiled", [True, False], ids=["compiled", "hashlib"])
def test_sha256_of_34_000_packed_bytes(benchmark, compiled):
    hash_packed = _sha256.sha256_packed if compiled else sha256_twin.sha256_packed
    expected = b"".join(hashlib.sha256(item).digest() for item in SHORT)
    assert benchmark(hash_packed, SHORT_PACKED, 34) == expected


def filled(module, size: int):
    """A table of `size` random keys; the buckets are as large as that takes."""
    table = module.BucketTable(targets[0], bucket_size=size)
    source = random.Random(size)
    keys = [source.randbytes(32) for _ in range(size)]
    for key in keys:
        if module is _kbucket:
            table.insert(key, key, 0.0)
        else:
            table.entries.append(kbucket_twin.Entry(key, key, 0.0))
    return table, keys


@pytest.mark.parametrize("size", [160, 2000, 5000])
def test_nearest_20_of(benchmark, size):
    table, keys = filled(_kbucket, size)
    for target in targets[:5]:
        assert table.nearest(target, 20) == sorted(keys, key=lambda key: xor_twin.distance(target, key))[:20]
    measure(benchmark, table.nearest, [(target, 20) for target in targets])


def test_nearest_20_of_2000_twin(benchmark):
    table, _ = filled(kbucket_twin, 2000)
    measure(benchmark, table.nearest, [(target, 20) for target in targets[:2]])


@pytest.mark.parametrize("size", [160, 2000, 5000])
def test_insert_known(benchmark, size):
    table, keys = filled(_kbucket, size)
    measure(benchmark, table.insert, [(key, key, 1.0) for key in random.Random(2).sample(keys, 100)])
    assert len(table) == size


@pytest.mark.parametrize("size", [160, 2000, 5000])
def test_touch(benchmark, size):
    table, keys = filled(_kbucket, size)
    measure(benchmark, table.touch, [(key, 1.0) for key in random.Random(2).sample(keys, 100)])


@pytest.mark.parametrize("size", [160, 2000, 5000])
def test_insert_and_remove_new(benchmark, size):
    table, _ = filled(_kbucket, size)

    def replace(key: bytes) -> None:
        table.insert(key, key, 1.0)
        table.remove(key)

    measure(benchmark, replace, singles(targets[1:]))
    assert len(table) == size


def fastest(run: Callable[[], object], rounds: int = 5) -> float:
    return min(timeit.repeat(run, number=1, repeat=rounds))


def test_compiling_is_worth_it():
    """Ratios inside one run, far below what is measured, so that a busy machine does not matter."""
    table, _ = filled(_kbucket, 2000)
    twin, _ = filled(kbucket_twin, 2000)
    ours = fastest(each(table.nearest, [(target, 20) for target in targets[:10]]))
    assert 20 * ours < fastest(each(twin.nearest, [(target, 20) for target in targets[:10]]), 2)
    for fast, slow in (
        (each(_cid.cid_to_multihash, singles(v0_texts)), each(cid_twin.decode_cid, singles(v0_texts))),
        (each(_cid.encode_cid_v0, singles(multihashes)), each(cid_twin.encode_cid_v0, singles(multihashes))),
        (each(_cid.cid_to_multihash, singles(v1_texts)), each(cid_twin.decode_cid, singles(v1_texts))),
    ):
        assert 3 * fastest(fast) < fastest(slow)
    if _sha256.BACKEND != "portable":
        assert fastest(lambda: _sha256.sha256_many(SHORT)) < fastest(lambda: sha256_twin.sha256_many(SHORT))


known = [
    PeerInfo(PeerId(raw), (Multiaddr.from_endpoint(f"9.{number}.3.4", 4001),))
    for number, raw in enumerate(peer_ids)
]
known_entries = [encode_peer(Field.CLOSER_PEERS, info, 8192) for info in known]
replies = [encode_reply(Kind.FIND_NODE, rng.sample(known_entries, 20)) for _ in range(100)]


@pytest.mark.parametrize("compiled", [True, False], ids=["compiled", "twin"])
def test_reply_of_20_peers(benchmark, compiled):
    """Named before, as nearly always."""
    ours = _peercache.PeerInfoCache(1024, PEER_CACHE_ENTRY_BYTES, read_peer)
    twin = peercache_twin.PeerInfoCache(PEER_CACHE_ENTRY_BYTES, read_peer)
    rows = [(reply, b"\x08\x04", 0x42, 40, False) for reply in replies]
    assert [ours.read_all(*row) for row in rows] == [twin.read_all(*row) for row in rows]
    measure(benchmark, (ours if compiled else twin).read_all, rows)


@pytest.mark.parametrize("compiled", [True, False], ids=["compiled", "twin"])
def test_lookup_of_20_closest(benchmark, compiled):
    """40 peers to begin with, the 20 closest asked ten at a time, each of which names 20 that are known."""
    config, peers = KadConfig(), [PeerInfo(PeerId(b"\x12\x20" + key)) for key in targets[:100]]
    target = targets[0]

    def ours() -> list[bytes]:
        lookup, asked = _candidates.Candidates(target, bytes(32), config, ip_group), 0
        lookup.add(peers[:40], 1)
        while True:
            lookup.begin(0.0, asked, None)
            out = []
            while (candidate := lookup.next_asked()) is not None:
                lookup.ask(candidate, 0.0, True, 1.0)
                out.append(candidate)
            if not out:
                return lookup.closest_keys()
            asked += len(out)
            for candidate in out:
                lookup.leave(candidate)
                candidate.answer("/a", 0.1)
                lookup.add(peers[asked % 40 :][:20], 2)

    def twin() -> list[bytes]:
        lookup, asked = candidates_twin.Candidates(target, bytes(32), config, ip_group, ()), 0
        lookup.add(peers[:40], 1)
        while True:
            out: list[candidates_twin.Candidate] = []

            def ask(candidate, out=out):
                lookup.ask(candidate, 0.0, True, 1.0)
                out.append(candidate)

            lookup.walk(0.0, asked, None, ask)
            if not out:
                return [peer.peer_id.key for peer, _ in lookup.closest()]
            asked += len(out)
            for candidate in out:
                lookup.leave(candidate)
                candidate.answer("/a", 0.1)
                lookup.add(peers[asked % 40 :][:20], 2)

    assert ours() == twin()
    benchmark(ours if compiled else twin)


@pytest.mark.parametrize(
    "queue", [_eventqueue.EventQueue, eventqueue_twin.EventQueue], ids=["compiled", "twin"]
)
def test_1000_events_among_5000(benchmark, queue):
    events, delays = queue(0.0), [random.Random(number).random() * 10 for number in range(1000)]

    def again(delay: float) -> None:
        events.after(10.0, again, delay)

    for delay in delays * 5:
        events.at(delay, again, delay)
    benchmark(events.rest, 2.0)
    assert events.events >= 1000
