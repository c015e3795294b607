"""OpenSSL's ChaCha20-Poly1305 for long messages; imported with the first of these (`noise.BULK_BYTES`)."""

from __future__ import annotations

from struct import Struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

_NONCE = Struct("<4xQ")


class BulkAead:
    """The same as `native.sodium.Aead`, for transport messages."""

    __slots__ = ("_aead", "_into")

    def __init__(self, key: bytes) -> None:
        self._aead = ChaCha20Poly1305(key)
        self._into = getattr(self._aead, "encrypt_into", None)  # missing in older versions

    def encrypt(self, nonce: int, plaintext: bytes | bytearray | memoryview) -> bytes:
        """Returns ciphertext and tag."""
        return self._aead.encrypt(_NONCE.pack(nonce), plaintext, None)

    def encrypt_into(self, nonce: int, plaintext: bytes | bytearray | memoryview, room: memoryview) -> None:
        """Writes ciphertext and tag into `room`, which has exactly their length."""
        if self._into is not None:
            self._into(_NONCE.pack(nonce), plaintext, None, room)
        else:
            room[:] = self.encrypt(nonce, plaintext)

    def decrypt(self, nonce: int, ciphertext: memoryview) -> bytes | None:
        """The plaintext, or None if the tag is invalid."""
        try:
            return self._aead.decrypt(_NONCE.pack(nonce), ciphertext, None)
        except InvalidTag:
            return None
