"""fastmarket._kbucket beside its twin: the table's closest, and what a sign of life costs."""

from __future__ import annotations

from hashlib import sha256
from random import Random
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.kernels.sides import KEYS, Case, assert_faster, both, measure, run, singles
from fastmarket import _kbucket
from tests.reference import kbucket as twin
from tests.reference import xor as xor_twin

SIZES = pytest.mark.parametrize("size", [160, 2000, 5000])


def contacts(module: Any) -> Any:
    """A table of 200 contacts."""
    table, random = module.BucketTable(KEYS[0], bucket_size=200), Random(3)
    for number in range(200):
        contact = _kbucket.ContactState()
        contact.encoded = random.randbytes(74)
        table.insert(sha256(b"%d" % number).digest(), contact, 0.0)
    return table


def filled(module: Any, size: int) -> tuple[Any, list[bytes]]:
    """A table of `size` random keys; the buckets are as large as that takes."""
    table, random = module.BucketTable(KEYS[0], bucket_size=size), Random(size)
    keys = [random.randbytes(32) for _ in range(size)]
    for key in keys:
        if module is _kbucket:
            table.insert(key, key, 0.0)
        else:
            table.entries.append(twin.Entry(key, key, 0.0))
    return table, keys


NEAREST = Case(
    "nearest-20-of-2000",
    filled(_kbucket, 2000)[0].nearest,
    filled(twin, 2000)[0].nearest,
    [(key, 20) for key in KEYS[:10]],
)


@both(
    Case(
        "closest-20-of-200-joined",
        contacts(_kbucket).joined,
        contacts(twin).joined,
        [(b"head", key, None, 20, 0) for key in KEYS[:20]],
    ),
    NEAREST,
)
def test_call(benchmark: BenchmarkFixture, case: Case, compiled: bool) -> None:
    run(benchmark, case, compiled)


@SIZES
def test_nearest_20_of(benchmark: BenchmarkFixture, size: int) -> None:
    table, keys = filled(_kbucket, size)
    for target in KEYS[:5]:
        found = sorted(keys, key=lambda key: xor_twin.distance(target, key))[:20]
        assert table.nearest(target, 20) == found
    measure(benchmark, table.nearest, [(target, 20) for target in KEYS])


@SIZES
def test_insert_known(benchmark: BenchmarkFixture, size: int) -> None:
    table, keys = filled(_kbucket, size)
    measure(benchmark, table.insert, [(key, key, 1.0) for key in Random(2).sample(keys, 100)])
    assert len(table) == size


@SIZES
def test_touch(benchmark: BenchmarkFixture, size: int) -> None:
    table, keys = filled(_kbucket, size)
    measure(benchmark, table.touch, [(key, 1.0) for key in Random(2).sample(keys, 100)])


@SIZES
def test_insert_and_remove_new(benchmark: BenchmarkFixture, size: int) -> None:
    table, _ = filled(_kbucket, size)

    def replace(key: bytes) -> None:
        table.insert(key, key, 1.0)
        table.remove(key)

    measure(benchmark, replace, singles(KEYS[1:]))
    assert len(table) == size


def test_compiling_is_worth_it() -> None:
    assert_faster(20, NEAREST, rounds=2)
