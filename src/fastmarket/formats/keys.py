"""The four kinds of keys: check, load, sign, verify (libp2p specs: peer-ids/peer-ids.md, "Keys")."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from functools import lru_cache
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_private_key,
    load_der_public_key,
)

from fastmarket.errors import PeerFault
from fastmarket.formats.varint import encode_uvarint

# go-libp2p refuses the same sizes: weak below, too slow to verify above.
MIN_RSA_BITS, MAX_RSA_BITS = 2048, 8192
# As Go's crypto/rsa: a longer exponent only buys a slow verification.
MAX_RSA_EXPONENT = 2**31 - 1
# Loaded keys, some 1 KiB each: peers whose signatures are verified again and again.
VERIFIER_CACHE = 1024

ED25519_BYTES = 32

_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_SECP256K1_HALF_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141 // 2

PrivateKeyObject = ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
_Verifier = Callable[[bytes, bytes], object]


class KeyType(IntEnum):
    """The kinds of keys and their numbers on the wire."""

    RSA = 0  # nodes of older networks
    ED25519 = 1  # what we generate, and nearly every peer has
    SECP256K1 = 2  # Ethereum's neighbourhood
    ECDSA = 3  # on NIST curves: browsers


def _load_der(data: bytes) -> object:
    """The public key in PKIX DER, which must be in the one form that we would write ourselves."""
    try:
        key = load_der_public_key(data)
        canonical = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise PeerFault("public key: not a DER key we know") from error
    if canonical != data:
        raise PeerFault("public key: DER is not canonical")
    return key


def _check_ed25519(data: bytes) -> None:
    if len(data) != ED25519_BYTES:
        raise PeerFault(f"Ed25519 public key of {len(data)} bytes")


def _check_secp256k1(data: bytes) -> None:
    if len(data) != 33 or data[0] not in (2, 3):
        raise PeerFault("secp256k1 public key: not 33 bytes in compressed form")


def _check_rsa(data: bytes) -> rsa.RSAPublicKey:
    key = _load_der(data)
    if not isinstance(key, rsa.RSAPublicKey):
        raise PeerFault("public key: not RSA as it claims")
    if not MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
        raise PeerFault(f"RSA key of {key.key_size} bits, allowed {MIN_RSA_BITS} to {MAX_RSA_BITS}")
    if key.public_numbers().e > MAX_RSA_EXPONENT:
        raise PeerFault("RSA exponent too large")
    return key


def _check_ecdsa(data: bytes) -> ec.EllipticCurvePublicKey:
    key = _load_der(data)
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, _CURVES):
        raise PeerFault("public key: not ECDSA on a NIST curve as it claims")
    return key


CHECKS: dict[KeyType, Callable[[bytes], object]] = {
    KeyType.RSA: _check_rsa,
    KeyType.ED25519: _check_ed25519,
    KeyType.SECP256K1: _check_secp256k1,
    KeyType.ECDSA: _check_ecdsa,
}


def _rsa_verifier(data: bytes) -> _Verifier:
    key = _check_rsa(data)
    return lambda signature, message: key.verify(signature, message, padding.PKCS1v15(), SHA256())


def _ed25519_verifier(data: bytes) -> _Verifier:
    return ed25519.Ed25519PublicKey.from_public_bytes(data).verify


def _ec_verifier(key: ec.EllipticCurvePublicKey) -> _Verifier:
    return lambda signature, message: key.verify(signature, message, ec.ECDSA(SHA256()))


def _secp256k1_verifier(data: bytes) -> _Verifier:
    return _ec_verifier(ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256K1(), data))


def _ecdsa_verifier(data: bytes) -> _Verifier:
    return _ec_verifier(_check_ecdsa(data))


_VERIFIERS: dict[KeyType, Callable[[bytes], _Verifier]] = {
    KeyType.RSA: _rsa_verifier,
    KeyType.ED25519: _ed25519_verifier,
    KeyType.SECP256K1: _secp256k1_verifier,
    KeyType.ECDSA: _ecdsa_verifier,
}


@lru_cache(VERIFIER_CACHE)
def _verifier(key_type: KeyType, data: bytes) -> _Verifier:
    return _VERIFIERS[key_type](data)


def verify(key_type: KeyType, data: bytes, message: bytes, signature: bytes) -> bool:
    """Whether the holder of that public key signed `message`. Never raises."""
    try:
        _verifier(key_type, data)(signature, message)
    except (InvalidSignature, ValueError, UnsupportedAlgorithm, PeerFault):
        return False
    return True


def encode_key(key_type: KeyType, data: bytes) -> bytes:
    """The one serialisation the specification allows ("Keys": minimal, in tag order, no other fields)."""
    return b"\x08" + encode_uvarint(key_type) + b"\x12" + encode_uvarint(len(data)) + data


def _load_ed25519(data: bytes) -> PrivateKeyObject:
    """Seed and public key; an older form repeats the public key (specs: "Ed25519")."""
    seed, public = data[:ED25519_BYTES], data[ED25519_BYTES : 2 * ED25519_BYTES]
    if data not in (seed + public, seed + public + public):
        raise ValueError("Ed25519 data takes 64 bytes")
    key = ed25519.Ed25519PrivateKey.from_private_bytes(seed)
    if key.public_key().public_bytes_raw() != public:
        raise ValueError("the two halves do not belong together")
    return key


def _load_secp256k1(data: bytes) -> PrivateKeyObject:
    if len(data) != 32:
        raise ValueError("secp256k1 data takes 32 bytes")
    return ec.derive_private_key(int.from_bytes(data, "big"), ec.SECP256K1())


def load_private_der(data: bytes) -> Any:
    """ValueError, TypeError or UnsupportedAlgorithm if it is none; of any kind otherwise."""
    return load_der_private_key(data, None)


PRIVATE_LOADERS: dict[KeyType, Callable[[bytes], Any]] = {
    KeyType.RSA: load_private_der,
    KeyType.ED25519: _load_ed25519,
    KeyType.SECP256K1: _load_secp256k1,
    KeyType.ECDSA: load_private_der,
}


def sign(key: PrivateKeyObject, message: bytes) -> bytes:
    """Ed25519 as it is, RSA by PKCS#1 v1.5 with SHA-256, ECDSA in DER over SHA-256."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(message)
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(message, padding.PKCS1v15(), SHA256())
    signature = key.sign(message, ec.ECDSA(SHA256()))
    return _low_s(signature) if isinstance(key.curve, ec.SECP256K1) else signature


def _low_s(signature: bytes) -> bytes:
    """BIP 62's choice between the two valid forms; rust-libp2p refuses the other."""
    r, s = utils.decode_dss_signature(signature)
    if s > _SECP256K1_HALF_ORDER:
        s = 2 * _SECP256K1_HALF_ORDER + 1 - s
    return utils.encode_dss_signature(r, s)
