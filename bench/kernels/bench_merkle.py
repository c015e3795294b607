"""fastmarket.native.merkle beside its twin: offers cut into their fields, and hashed up to the root."""

from __future__ import annotations

from pytest_benchmark.fixture import BenchmarkFixture

from bench.kernels.offers import BODIES, PATHS, ROOT
from bench.kernels.sides import Case, both, run, singles
from fastmarket.native import merkle
from tests.reference import merkle as twin
from tests.reference.batched import BatchedOffer

BATCHED = [
    BatchedOffer(bytes(140), index, path, body).encode()
    for index, (path, body) in enumerate(zip(PATHS, BODIES, strict=True))
]
LEAVES = [(body, index, len(BODIES), PATHS[index]) for index, body in enumerate(BODIES)]
assert merkle.merkle_root(*LEAVES[0]) == ROOT


@both(
    Case("split-batched-offer", merkle.split_batched, twin.split_batched, singles(BATCHED)),
    Case("root-of-256", merkle.merkle_root, twin.merkle_root, LEAVES),
    Case("offer-body", merkle.plain_body, twin.body, singles(BODIES)),
)
def test_call(benchmark: BenchmarkFixture, case: Case, compiled: bool) -> None:
    run(benchmark, case, compiled)
