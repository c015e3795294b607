"""fastmarket.native.sodium beside OpenSSL, which its twin calls: `pytest bench/kernels/bench_sodium.py`.

`noise.BULK_BYTES` is where the second becomes the faster one for transport messages.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from pytest_benchmark.fixture import BenchmarkFixture

from fastmarket.native import sodium as _sodium

rng = Random(1)
SEED, MESSAGE, NONCE = rng.randbytes(32), rng.randbytes(56), bytes(12)  # what a handshake signs
SECRET = _sodium.ed25519_secret(SEED)
SIGNATURE = _sodium.ed25519_sign(SECRET, MESSAGE)
SIGNER, AGREER = Ed25519PrivateKey.from_private_bytes(SEED), X25519PrivateKey.from_private_bytes(SEED)
VERIFIER, POINT = SIGNER.public_key(), _sodium.x25519_public(rng.randbytes(32))
OTHER = X25519PublicKey.from_public_bytes(POINT)

CURVES: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
    "verify": (
        lambda: _sodium.ed25519_verify(SECRET[32:], MESSAGE, SIGNATURE),
        lambda: VERIFIER.verify(SIGNATURE, MESSAGE),
    ),
    "sign": (lambda: _sodium.ed25519_sign(SECRET, MESSAGE), lambda: SIGNER.sign(MESSAGE)),
    "agree": (lambda: _sodium.x25519(SEED, POINT), lambda: AGREER.exchange(OTHER)),
    "ephemeral-key": (
        lambda: _sodium.x25519_public(SEED),
        lambda: X25519PrivateKey.from_private_bytes(SEED).public_key().public_bytes_raw(),
    ),
}
# A request, a reply, where one library overtakes the other, and a full message.
SIZES = [40, 100, 1024, 1600, 4096, 16384, 65519]
libraries = pytest.mark.parametrize("library", [0, 1], ids=["libsodium", "openssl"])


@libraries
@pytest.mark.parametrize("name", CURVES)
def test_curves(benchmark: BenchmarkFixture, name: str, library: int) -> None:
    benchmark.group = name
    benchmark(CURVES[name][library])


@libraries
@pytest.mark.parametrize("size", SIZES)
def test_encrypt(benchmark: BenchmarkFixture, size: int, library: int) -> None:
    benchmark.group = f"encrypt {size:,} bytes"
    ours, theirs, plain = _sodium.Aead(SEED), ChaCha20Poly1305(SEED), rng.randbytes(size)
    benchmark((lambda: ours.encrypt(0, plain), lambda: theirs.encrypt(NONCE, plain, None))[library])


@libraries
@pytest.mark.parametrize("size", SIZES)
def test_decrypt(benchmark: BenchmarkFixture, size: int, library: int) -> None:
    benchmark.group = f"decrypt {size:,} bytes"
    ours, theirs = _sodium.Aead(SEED), ChaCha20Poly1305(SEED)
    sealed = ours.encrypt(0, rng.randbytes(size))
    benchmark((lambda: ours.decrypt(0, sealed), lambda: theirs.decrypt(NONCE, sealed, None))[library])
