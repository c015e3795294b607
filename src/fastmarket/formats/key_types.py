"""The kinds of keys, and Ed25519, the one that nearly every peer has (libp2p specs: peer-ids.md, "Keys")."""

from __future__ import annotations

from enum import IntEnum
from typing import Protocol

from fastmarket.native.sodium import ed25519_secret, ed25519_sign

ED25519_BYTES = 32

# PrivateKeyInfo of RFC 8410 up to the 32 bytes of the key.
ED25519_PKCS8 = bytes.fromhex("302e020100300506032b657004220420")


class KeyType(IntEnum):
    """The kinds of keys and their numbers on the wire."""

    RSA = 0  # nodes of older networks
    ED25519 = 1  # what we generate, and nearly every peer has
    SECP256K1 = 2  # Ethereum's neighbourhood
    ECDSA = 3  # on NIST curves: browsers


class PrivateKey(Protocol):
    """A private key with what libp2p writes of it."""

    key_type: KeyType
    public: bytes
    """`PublicKey.data`"""

    def sign(self, message: bytes) -> bytes: ...

    def to_data(self) -> bytes:
        """`PrivateKey.Data` of the specification."""

    def to_pkcs8(self) -> bytes:
        """DER, unencrypted."""


class Ed25519Key:
    """Of 32 secret bytes."""

    __slots__ = ("_secret", "public")

    key_type = KeyType.ED25519

    def __init__(self, seed: bytes) -> None:
        self._secret = ed25519_secret(seed)
        self.public = self._secret[ED25519_BYTES:]

    def sign(self, message: bytes) -> bytes:
        """RFC 8032."""
        return ed25519_sign(self._secret, message)

    def to_data(self) -> bytes:
        """Seed and public key."""
        return self._secret

    def to_pkcs8(self) -> bytes:
        """As RFC 8410 has it."""
        return ED25519_PKCS8 + self._secret[:ED25519_BYTES]
