"""fastmarket.native.batch beside its twin: the tree of a whole batch, and bodies written."""

from __future__ import annotations

from pytest_benchmark.fixture import BenchmarkFixture

from bench.kernels.offers import BODIES
from bench.kernels.sides import Case, both, run
from fastmarket.native import merkle
from fastmarket.native.batch import SignedBatch, encode_body
from tests.reference import merkle as twin

WHOLE = SignedBatch.join(bytes(140), BODIES).data
FIELDS = [fields for body in BODIES if (fields := merkle.plain_body(body)) is not None]


def root_of(data: bytes) -> bytes:
    return SignedBatch(data).root()


def twin_root_of(data: bytes) -> bytes:
    return twin.merkle_tree(twin.split_whole(data)[1])[0]


@both(
    Case("tree-of-a-whole-batch", root_of, twin_root_of, [(WHOLE,)]),
    Case("write-offer-body", encode_body, twin.encode_body, FIELDS),
)
def test_call(benchmark: BenchmarkFixture, case: Case, compiled: bool) -> None:
    run(benchmark, case, compiled)
