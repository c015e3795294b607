"""fastmarket.native.block_filter beside its twin: nothing that was added is missing, few others seem so."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmarket.native.block_filter import MAX_DIGESTS, BlockFilter
from tests.reference import block_filter as twin

digests = st.lists(st.binary(min_size=32, max_size=32), max_size=40)


def multihash(digest: bytes) -> bytes:
    return b"\x12\x20" + digest


@given(st.integers(1, 5000), digests, digests)
def test_it_answers_as_its_twin(capacity, added, asked):
    ours, theirs = BlockFilter(capacity), twin.BlockFilter(capacity)
    assert ours.size == theirs.size
    for one in (ours, theirs):
        one.add(b"".join(added))
    for digest in (*added, *asked):
        assert ours.may_have(multihash(digest)) == theirs.may_have(multihash(digest))
    assert all(ours.may_have(multihash(digest)) for digest in added)


@given(st.binary(max_size=80))
def test_what_is_no_such_multihash_is_not_there(data):
    full = BlockFilter(1)
    full.add(Random(1).randbytes(32 * 1000))
    assert full.may_have(data) == (len(data) == 34 and data.startswith(b"\x12\x20"))


def test_few_seem_to_be_there_that_are_not():
    random, count = Random(7), 20_000
    ours = BlockFilter(count)
    ours.add(random.randbytes(32 * count))
    mistaken = sum(ours.may_have(multihash(random.randbytes(32))) for _ in range(count))
    assert mistaken < count * 0.02
    assert ours.size <= count * 10 // 8 + 64


@pytest.mark.parametrize("size", [1, 31, 33])
def test_digests_that_are_none_are_refused(size):
    with pytest.raises(ValueError, match="32 bytes each"):
        BlockFilter(1).add(bytes(size))


@pytest.mark.parametrize("capacity", [0, -1, MAX_DIGESTS + 1])
def test_capacities_that_none_has_are_refused(capacity):
    with pytest.raises(ValueError, match="capacity"):
        BlockFilter(capacity)


def test_it_is_made_once():
    ours = BlockFilter(10)
    with pytest.raises(ValueError, match="before"):
        ours.__init__(20)
