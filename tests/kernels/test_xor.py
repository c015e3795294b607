"""fastmarket._xor: the laws of the metric, and agreement with its twin."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmarket import _xor
from tests.reference import xor as twin

keys = st.binary(min_size=32, max_size=32)
# Keys that agree in all but a few bits, so that ties and long prefixes come up.
near_keys = st.builds(
    lambda byte, at: bytes(at) + bytes([byte]) + bytes(31 - at), st.integers(0, 255), st.integers(0, 31)
)
any_keys = keys | near_keys


@given(any_keys, any_keys, any_keys)
def test_laws_of_the_metric(a, b, c):
    number = twin.number
    assert _xor.distance(a, a) == bytes(32)
    assert _xor.distance(a, b) == _xor.distance(b, a)
    assert (_xor.distance(a, b) == bytes(32)) == (a == b)
    assert number(_xor.distance(a, c)) <= number(_xor.distance(a, b)) + number(_xor.distance(b, c))
    assert _xor.distance(a, _xor.distance(a, b)) == b  # one key at each distance


@given(any_keys, any_keys, any_keys)
def test_agrees_with_the_twin(a, b, c):
    assert _xor.distance(a, b) == twin.distance(a, b)
    assert _xor.common_prefix_length(a, b) == twin.common_prefix_length(a, b)
    assert _xor.closer(a, b, c) == twin.closer(a, b, c)
    assert not (_xor.closer(a, b, c) and _xor.closer(a, c, b))


@given(any_keys, st.lists(any_keys, max_size=150), st.integers(0, 200))
def test_nearest(target, held, count):
    packed = b"".join(held)
    assert _xor.nearest(target, packed, count) == twin.nearest(target, packed, count)


@pytest.mark.parametrize("size", [0, 1, 31, 33, 64])
def test_a_key_is_32_bytes(size):
    good, bad = bytes(32), bytes(size)
    for call in (
        lambda: _xor.distance(good, bad),
        lambda: _xor.common_prefix_length(bad, good),
        lambda: _xor.closer(good, bad, good),
        lambda: _xor.nearest(bad, b"", 1),
    ):
        with pytest.raises(ValueError, match="32 bytes"):
            call()


def test_bad_arguments():
    with pytest.raises(ValueError, match="packed_keys"):
        _xor.nearest(bytes(32), bytes(33), 1)
    with pytest.raises(ValueError, match="count"):
        _xor.nearest(bytes(32), bytes(32), -1)
    with pytest.raises(TypeError):
        _xor.distance(None, bytes(32))
