"""OpenSSL's ChaCha20-Poly1305, for long messages: imported only once there is one (`noise.BULK_BYTES`)."""

from __future__ import annotations

from struct import Struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

_NONCE = Struct("<4xQ")


class BulkAead:
    """What `native.sodium.Aead` does for transport messages."""

    __slots__ = ("_aead", "_into")

    def __init__(self, key: bytes) -> None:
        self._aead = ChaCha20Poly1305(key)
        self._into = getattr(self._aead, "encrypt_into", None)  # older versions have none

    def encrypt(self, nonce: int, plaintext: bytes | bytearray | memoryview) -> bytes:
        """Ciphertext and tag."""
        return self._aead.encrypt(_NONCE.pack(nonce), plaintext, None)

    def encrypt_into(self, nonce: int, plaintext: bytes | bytearray | memoryview, room: memoryview) -> None:
        """Ciphertext and tag into `room`, which is just as long."""
        if self._into is not None:
            self._into(_NONCE.pack(nonce), plaintext, None, room)
        else:
            room[:] = self.encrypt(nonce, plaintext)

    def decrypt(self, nonce: int, ciphertext: memoryview) -> bytes | None:
        """The plaintext; None when the tag does not hold."""
        try:
            return self._aead.decrypt(_NONCE.pack(nonce), ciphertext, None)
        except InvalidTag:
            return None
