"""Twin of fastmarket.native.sodium on another library, OpenSSL."""

from __future__ import annotations

import hmac
from hashlib import sha256
from struct import pack

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305


def ed25519_secret(seed: bytes) -> bytes:
    return seed + Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def ed25519_sign(secret: bytes, message: bytes) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(secret[:32]).sign(message)


def ed25519_verify(public: bytes, message: bytes, signature: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def x25519_public(private: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def x25519(private: bytes, public: bytes) -> bytes | None:
    try:
        return X25519PrivateKey.from_private_bytes(private).exchange(
            X25519PublicKey.from_public_bytes(public)
        )
    except ValueError:
        return None


class Aead:
    def __init__(self, key: bytes) -> None:
        self._aead = ChaCha20Poly1305(key)

    def encrypt(self, nonce: int, plaintext: bytes, associated: bytes | None = None) -> bytes:
        return self._aead.encrypt(pack("<4xQ", nonce), plaintext, associated)

    def frame(self, nonce: int, plaintext: bytes) -> bytes:
        sealed = self.encrypt(nonce, plaintext)
        return len(sealed).to_bytes(2, "big") + sealed

    def decrypt(self, nonce: int, ciphertext: bytes, associated: bytes | None = None) -> bytes | None:
        try:
            return self._aead.decrypt(pack("<4xQ", nonce), ciphertext, associated)
        except InvalidTag:
            return None

    def decrypt_part(self, nonce: int, source: bytes, start: int, end: int) -> bytes | None:
        return self.decrypt(nonce, source[start:end])


def _hkdf(chaining_key: bytes, material: bytes) -> tuple[bytes, bytes]:
    secret = hmac.digest(chaining_key, material, "sha256")
    first = hmac.digest(secret, b"\x01", "sha256")
    return first, hmac.digest(secret, first + b"\x02", "sha256")


class SymmetricState:
    def __init__(self, name: bytes) -> None:
        self.hash = self._chaining = name
        self._aead: Aead | None = None
        self._nonce = 0

    def mix_hash(self, data: bytes) -> None:
        self.hash = sha256(self.hash + data).digest()

    def mix_shared(self, private: bytes, public: bytes) -> bool:
        shared = x25519(private, public)
        if shared is None:
            return False
        self._chaining, key = _hkdf(self._chaining, shared)
        self._aead, self._nonce = Aead(key), 0
        return True

    def encrypt_and_hash(self, plaintext: bytes) -> bytes:
        out = plaintext
        if self._aead is not None:
            out = self._aead.encrypt(self._nonce, plaintext, self.hash)
            self._nonce += 1
        self.mix_hash(out)
        return out

    def decrypt_and_hash(self, data: bytes) -> bytes | None:
        plaintext: bytes | None = data
        if self._aead is not None:
            plaintext = self._aead.decrypt(self._nonce, data, self.hash)
            if plaintext is None:
                return None
            self._nonce += 1
        self.mix_hash(data)
        return plaintext

    def split(self) -> tuple[bytes, bytes]:
        return _hkdf(self._chaining, b"")
