"""fastmarket.native.cid beside its twin: CIDs and peer ids, text and bytes."""

from __future__ import annotations

import multiformats
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.kernels.sides import MULTIHASHES, PEER_IDS, Case, assert_faster, both, measure, run, singles
from fastmarket.native import cid
from tests.reference import cid as twin

V0_TEXTS = [twin.encode_cid_v0(one) for one in MULTIHASHES]
V1_TEXTS = [twin.encode_cid_v1(0x55, one) for one in MULTIHASHES]
PEER_TEXTS = [twin.base58_encode(one) for one in PEER_IDS]


def multihash_of(text: str) -> bytes:
    return twin.decode_cid(text)[2]


V0_READ = Case("cid-v0-to-multihash", cid.cid_to_multihash, multihash_of, singles(V0_TEXTS))
V1_READ = Case("cid-v1-to-multihash", cid.cid_to_multihash, multihash_of, singles(V1_TEXTS))
V0_WRITTEN = Case("encode-cid-v0", cid.encode_cid_v0, twin.encode_cid_v0, singles(MULTIHASHES))


@both(
    V0_READ,
    V1_READ,
    V0_WRITTEN,
    Case("encode-cid-v1", cid.encode_cid_v1, twin.encode_cid_v1, [(0x55, one) for one in MULTIHASHES]),
    Case("decode-cid-v0", cid.decode_cid, twin.decode_cid, singles(V0_TEXTS)),
    Case("decode-cid-v1", cid.decode_cid, twin.decode_cid, singles(V1_TEXTS)),
    Case("peer-id-to-text", cid.base58_encode, twin.base58_encode, singles(PEER_IDS)),
    Case("peer-id-from-text", cid.base58_decode, twin.base58_decode, singles(PEER_TEXTS)),
)
def test_call(benchmark: BenchmarkFixture, case: Case, compiled: bool) -> None:
    run(benchmark, case, compiled)


def test_decode_cid_multiformats(benchmark: BenchmarkFixture) -> None:
    """What the library that serves the edges takes for the same."""
    assert multiformats.CID.decode(V1_TEXTS[0]).digest == MULTIHASHES[0]
    measure(benchmark, multiformats.CID.decode, singles(V1_TEXTS[:16]))


@pytest.mark.parametrize("case", [V0_READ, V1_READ, V0_WRITTEN], ids=lambda case: case.name)
def test_compiling_is_worth_it(case: Case) -> None:
    assert_faster(3, case)
