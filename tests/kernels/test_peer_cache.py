"""fastmarket.native.peer_cache: against its twin, and that it forgets no more than it must."""

from __future__ import annotations

from random import Random

import pytest

from fastmarket.formats.varint import encode_uvarint
from fastmarket.native.peer_cache import PeerInfoCache
from tests.reference.peer_cache import PeerInfoCache as Twin

TAG = 0x42
HEAD = b"\x08\x04"
LONGEST = 300


def parse(raw: bytes) -> str | None:
    return None if raw[:1] == b"!" else raw.hex()


def message(random: Random, pool: list[bytes]) -> bytes:
    """Mostly well-formed."""
    parts = [HEAD if random.random() < 0.9 else b"\x08\x03"]
    for _ in range(random.randrange(25)):
        raw = random.choice(pool)
        parts.append(bytes((TAG,)) + encode_uvarint(len(raw)) + raw)
    body = bytearray(b"".join(parts))
    if random.random() < 0.3:
        body[random.randrange(len(body))] = random.randrange(256)
    if random.random() < 0.2:
        del body[random.randrange(len(body)) :]
    return bytes(body)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("capacity", [1, 64, 4096])
def test_it_reads_what_its_twin_reads(seed: int, capacity: int) -> None:
    random = Random(seed)
    pool = [random.randbytes(random.choice((0, 1, 7, 8, 9, 60, 127, 128, LONGEST))) for _ in range(100)]
    pool += [b"!" + random.randbytes(5), random.randbytes(LONGEST + 1)] if seed % 2 else []
    cache, twin = PeerInfoCache(capacity, LONGEST, parse), Twin(LONGEST, parse)
    for _ in range(500):
        body, limit, strict = message(random, pool), random.choice((0, 5, 40)), random.random() < 0.5
        assert cache.read_all(body, HEAD, TAG, limit, strict) == twin.read_all(body, HEAD, TAG, limit, strict)
        raw = random.choice(pool)
        assert cache.get(raw) == twin.get(raw)


def test_what_was_read_is_not_read_again() -> None:
    read = list[bytes]()
    cache = PeerInfoCache[str](4096, LONGEST, lambda raw: read.append(raw) or raw.hex())
    entries = [number.to_bytes(60, "big") for number in range(1000)]
    for _ in range(3):
        for raw in entries:
            assert cache.get(raw) == raw.hex()
    assert len(read) < 1.2 * len(entries)


def test_it_holds_no_more_than_its_capacity() -> None:
    read = list[bytes]()
    cache = PeerInfoCache[str](16, LONGEST, lambda raw: read.append(raw) or raw.hex())
    assert cache.capacity == 16
    for number in range(1000):
        cache.get(number.to_bytes(4, "big"))
    read.clear()
    for number in range(1000):
        cache.get(number.to_bytes(4, "big"))
    assert len(read) >= 1000 - 16
    cache.resize(100)
    assert cache.capacity == 128
    cache.get(bytes(4))
    assert read[-1] == bytes(4)
