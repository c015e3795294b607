"""Offers of one batch, for the benchmarks of native.merkle and native.batch."""

from __future__ import annotations

from bench.kernels.sides import MULTIHASHES, PEER_IDS
from fastmarket.pb.fastmarket.v1.offer_pb2 import OfferBody
from tests.reference import merkle as twin

BODIES = [
    OfferBody(
        content=multihash, provider=peer_id, user_id=b"user", user_name="someone", ip="192.0.2.1", port=4000,
        price_per_mb=3, size=10**9, name="a file.bin", seq=2**50, issued_at=2**30, not_after=2**31,
    ).SerializeToString()
    for multihash, peer_id in zip(MULTIHASHES, PEER_IDS, strict=True)
]  # fmt: skip
ROOT, PATHS = twin.merkle_tree(BODIES)
