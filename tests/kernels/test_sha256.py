"""fastmarket.native.sha256 against hashlib and the examples of FIPS 180-4."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmarket.native import sha256 as _sha256
from tests.reference import sha256 as twin

# Around every border of the padding: one block or two, whole blocks before it.
BORDERS = [0, 1, 54, 55, 56, 63, 64, 65, 119, 120, 127, 128, 8191, 8192, 8193, 100_000]


@pytest.mark.parametrize("digest", [_sha256.sha256, _sha256.sha256_portable])
def test_published_digests(digest):
    assert digest(b"abc").hex() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert digest(b"").hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert digest(b"a" * 1_000_000).hex() == hashlib.sha256(b"a" * 1_000_000).hexdigest()


@pytest.mark.parametrize("size", BORDERS)
def test_borders_of_the_padding(size):
    data = bytes(i * 31 & 255 for i in range(size))
    assert _sha256.sha256(data) == _sha256.sha256_portable(data) == twin.sha256(data)


@given(st.binary(max_size=400))
def test_one(data):
    assert _sha256.sha256(data) == _sha256.sha256_portable(data) == twin.sha256(data)


@given(st.lists(st.binary(max_size=200), max_size=30))
def test_many_of_mixed_sizes(items):
    assert _sha256.sha256_many(items) == twin.sha256_many(items)
    assert _sha256.sha256_many(tuple(items)) == twin.sha256_many(items)


@given(st.integers(1, 200), st.integers(0, 9), st.randoms(use_true_random=False))
def test_packed(size, count, random):
    data = random.randbytes(size * count)
    assert _sha256.sha256_packed(data, size) == twin.sha256_packed(data, size)


def test_packed_without_the_gil():
    data = bytes(range(256)) * 128
    assert _sha256.sha256_packed(data, 64) == twin.sha256_packed(data, 64)


@pytest.mark.parametrize("size", [0, -1, 3])
def test_packed_wants_a_divisor(size):
    with pytest.raises(ValueError, match="size"):
        _sha256.sha256_packed(bytes(34), size)


def test_wrong_types():
    with pytest.raises(TypeError):
        _sha256.sha256_many([b"", "text"])
    with pytest.raises(TypeError):
        _sha256.sha256_many(7)
    with pytest.raises(TypeError):
        _sha256.sha256(bytearray(3))


def test_backend_has_a_name():
    assert _sha256.BACKEND in ("x86-sha", "portable")
