"""RSA, ECDSA and secp256k1 keys (libp2p specs: peer-ids/peer-ids.md, "Keys"), and any key in DER.

Few peers have one, and what they need takes 10 MB: `keys` imports this when one is met.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TypeAlias

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
    load_der_public_key,
)

from fastmarket.errors import CallerFault, PeerFault
from fastmarket.formats.key_types import Ed25519Key, KeyType, PrivateKey

# go-libp2p refuses the same sizes: weak below, too slow to verify above.
MIN_RSA_BITS, MAX_RSA_BITS = 2048, 8192
# As Go's crypto/rsa: a longer exponent only buys a slow verification.
MAX_RSA_EXPONENT = 2**31 - 1
# Loaded keys, some 1 KiB each: peers whose signatures are verified again and again.
VERIFIER_CACHE = 1024

_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_SECP256K1_HALF_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141 // 2

KeyObject: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
_Verifier = Callable[[bytes, bytes], object]


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
    KeyType.SECP256K1: _check_secp256k1,
    KeyType.ECDSA: _check_ecdsa,
}


def _rsa_verifier(data: bytes) -> _Verifier:
    key = _check_rsa(data)
    return lambda signature, message: key.verify(signature, message, padding.PKCS1v15(), SHA256())


def _ec_verifier(key: ec.EllipticCurvePublicKey) -> _Verifier:
    return lambda signature, message: key.verify(signature, message, ec.ECDSA(SHA256()))


def _secp256k1_verifier(data: bytes) -> _Verifier:
    return _ec_verifier(ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256K1(), data))


def _ecdsa_verifier(data: bytes) -> _Verifier:
    return _ec_verifier(_check_ecdsa(data))


_VERIFIERS: dict[KeyType, Callable[[bytes], _Verifier]] = {
    KeyType.RSA: _rsa_verifier,
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


class RareKey:
    """A private key of one of these kinds."""

    __slots__ = ("_key", "key_type", "public")

    def __init__(self, key_type: KeyType, public: bytes, key: KeyObject) -> None:
        self.key_type = key_type
        self.public = public
        self._key = key

    def sign(self, message: bytes) -> bytes:
        """RSA by PKCS#1 v1.5 with SHA-256, ECDSA in DER over SHA-256."""
        key = self._key
        if isinstance(key, rsa.RSAPrivateKey):
            return key.sign(message, padding.PKCS1v15(), SHA256())
        signature = key.sign(message, ec.ECDSA(SHA256()))
        return _low_s(signature) if self.key_type is KeyType.SECP256K1 else signature

    def to_data(self) -> bytes:
        """secp256k1: the 32 bytes of the number; else PKCS#1 or SEC1."""
        key = self._key
        if isinstance(key, ec.EllipticCurvePrivateKey) and self.key_type is KeyType.SECP256K1:
            return key.private_numbers().private_value.to_bytes(32, "big")
        return key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())

    def to_pkcs8(self) -> bytes:
        """DER, unencrypted."""
        return self._key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def wrapped(key: object) -> PrivateKey:
    """CallerFault if `key` is not a private key of `cryptography` that libp2p peers can use."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return Ed25519Key(key.private_bytes_raw())
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256K1):
        point = key.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
        return RareKey(KeyType.SECP256K1, point, key)
    if isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        key_type = KeyType.RSA if isinstance(key, rsa.RSAPrivateKey) else KeyType.ECDSA
        der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        try:
            CHECKS[key_type](der)
        except PeerFault as fault:
            raise CallerFault("private_key", str(fault)) from fault
        return RareKey(key_type, der, key)
    raise CallerFault("private_key", "neither Ed25519, RSA, ECDSA nor secp256k1")


def load(key_type: KeyType, data: bytes) -> PrivateKey:
    """From `PrivateKey.Data`. ValueError or TypeError if it is no such thing."""
    if key_type is not KeyType.SECP256K1:
        return load_der(data)
    if len(data) != 32:
        raise ValueError("secp256k1 data takes 32 bytes")
    return wrapped(ec.derive_private_key(int.from_bytes(data, "big"), ec.SECP256K1()))


def load_der(data: bytes) -> PrivateKey:
    """Of any kind. ValueError or TypeError if it is none."""
    try:
        key = load_der_private_key(data, None)
    except UnsupportedAlgorithm:
        raise ValueError("a key of an unknown kind") from None
    return wrapped(key)


def _low_s(signature: bytes) -> bytes:
    """BIP 62's choice between the two valid forms; rust-libp2p refuses the other."""
    r, s = utils.decode_dss_signature(signature)
    if s > _SECP256K1_HALF_ORDER:
        s = 2 * _SECP256K1_HALF_ORDER + 1 - s
    return utils.encode_dss_signature(r, s)
