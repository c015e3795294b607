"""fastmarket._xor: the laws of the metric, and agreement with its twin."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

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
        lambda: _xor.Shortlist(bad, 3),
        lambda: _xor.Shortlist(good, 3).insert(bad, None),
    ):
        with pytest.raises(ValueError, match="32 bytes"):
            call()


def test_bad_arguments():
    with pytest.raises(ValueError, match="packed_keys"):
        _xor.nearest(bytes(32), bytes(33), 1)
    with pytest.raises(ValueError, match="count"):
        _xor.nearest(bytes(32), bytes(32), -1)
    for capacity in (0, -1, _xor.MAX_SHORTLIST + 1):
        with pytest.raises(ValueError, match="capacity"):
            _xor.Shortlist(bytes(32), capacity)
    with pytest.raises(TypeError):
        _xor.distance(None, bytes(32))


class Shortlists(RuleBasedStateMachine):
    """The compiled shortlist and its twin under the same calls."""

    def __init__(self):
        super().__init__()
        self.ours = _xor.Shortlist(b"\x55" * 32, 8)
        self.twin = twin.Shortlist(b"\x55" * 32, 8)

    @rule(key=any_keys, value=st.integers())
    def insert(self, key, value):
        assert self.ours.insert(key, value) == self.twin.insert(key, value)

    @rule(key=near_keys)
    def remove(self, key):
        assert self.ours.remove(key) == self.twin.remove(key)

    @rule(key=near_keys)
    def look_up(self, key):
        assert self.ours.index(key) == self.twin.index(key)
        assert (key in self.ours) == (key in self.twin)

    @invariant()
    def same(self):
        assert self.ours.values() == self.twin.values()
        assert len(self.ours) == len(self.twin) <= 8


TestShortlists = Shortlists.TestCase


def test_a_value_may_call_back_when_it_is_dropped():
    shortlist = _xor.Shortlist(bytes(32), 2)

    class Dropped:
        def __del__(self):
            shortlist.remove((1).to_bytes(32, "big"))
            shortlist.insert((9).to_bytes(32, "big"), "late")

    shortlist.insert((3).to_bytes(32, "big"), Dropped())
    shortlist.insert((1).to_bytes(32, "big"), "one")
    shortlist.insert((2).to_bytes(32, "big"), "two")
    assert shortlist.values() == ["two", "late"]
