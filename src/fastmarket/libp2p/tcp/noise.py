"""Noise_XX_25519_ChaChaPoly_SHA256 (noiseprotocol.org revision 34): cipher, handshake and transport frames.

Only the pattern libp2p uses is here. The identity payload that libp2p puts inside is in `secure.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from fastmarket.errors import NetworkFault, PeerFault
from fastmarket.native.sodium import TAG_BYTES, Aead, SymmetricState, x25519_public

if TYPE_CHECKING:
    from fastmarket.libp2p.tcp.bulk_cipher import BulkAead

PROTOCOL_NAME = b"Noise_XX_25519_ChaChaPoly_SHA256"  # exactly 32 bytes, so it is its own first hash
MAX_MESSAGE_BYTES = 65535  # noise spec section 3; also all that libp2p's two length bytes can say
MAX_PLAINTEXT_BYTES = MAX_MESSAGE_BYTES - TAG_BYTES
LENGTH_BYTES = 2
MAX_NONCE = 2**64 - 2  # the last value is reserved (noise spec section 5.1)
_KEY_BYTES = 32
_MAX_HANDSHAKE_MESSAGES = 3
_FAULT = "noise"
# From here on OpenSSL's ChaCha20-Poly1305 is used, and loaded with the first such message: it takes 0.3 us a
# KiB where libsodium takes 0.7, but 0.5 us more for each message, and 10 MB (bench/kernels/bench_sodium.py).
BULK_BYTES = 4096

Buffer: TypeAlias = bytes | bytearray | memoryview


class KeyPair:
    """An X25519 key, made of 32 secret random bytes. Its text never shows the private half."""

    __slots__ = ("private", "public")

    def __init__(self, private: bytes) -> None:
        self.private = private
        self.public = x25519_public(private)


class CipherState:
    """A key and its counter (section 5.1), with the two-byte framing of libp2p's transport messages."""

    __slots__ = ("_aead", "_bulk", "_key", "nonce")

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._aead = Aead(key)
        self._bulk: BulkAead | None = None  # once a message was long
        self.nonce = 0

    def encrypt(self, plaintext: Buffer, associated: bytes | None = None) -> bytes:
        """Raises NetworkFault once the nonces are used up: the connection has to end."""
        return self._aead.encrypt(self._next(), plaintext, associated)

    def decrypt(self, ciphertext: Buffer, associated: bytes | None = None) -> bytes:
        """Raises PeerFault for a forged or damaged message; the nonce then stays as it was."""
        return self._checked(self._aead.decrypt(self._current(), ciphertext, associated))

    def decrypt_part(self, source: bytes, start: int, end: int) -> bytes:
        """As `decrypt`, of the transport message `source[start:end]`."""
        nonce = self.nonce
        if nonce > MAX_NONCE:
            raise NetworkFault("noise nonces are exhausted")
        if end - start < BULK_BYTES:
            plaintext = self._aead.decrypt_part(nonce, source, start, end)
        else:
            with memoryview(source) as view:
                plaintext = self._of_bulk().decrypt(nonce, view[start:end])
        if plaintext is None:
            raise PeerFault("message does not decrypt", protocol=_FAULT)
        self.nonce = nonce + 1
        return plaintext

    def seal(self, plaintext: bytearray) -> bytes:
        """All of `plaintext` as framed transport messages, as few as can be."""
        size = len(plaintext)
        if size < BULK_BYTES:
            return self._aead.frame(self._next(), plaintext)
        framed: list[bytes] = []
        with memoryview(plaintext) as view:
            for start in range(0, size, MAX_PLAINTEXT_BYTES):
                message = self._of_bulk().encrypt(self._next(), view[start : start + MAX_PLAINTEXT_BYTES])
                framed += (len(message).to_bytes(LENGTH_BYTES, "big"), message)
        return b"".join(framed)

    def seal_into(self, plaintext: bytearray, room: memoryview, at: int) -> int:
        """The same into `room` from `at` on, where it takes `sealed_bytes`; where that ends."""
        size = len(plaintext)
        if BULK_BYTES <= size <= MAX_PLAINTEXT_BYTES:
            return self._seal_long(plaintext, room, at)
        if size < BULK_BYTES:
            end = at + sealed_bytes(size)
            room[at:end] = self._aead.frame(self._next(), plaintext)
            return end
        with memoryview(plaintext) as view:
            for start in range(0, size, MAX_PLAINTEXT_BYTES):
                at = self._seal_long(view[start : start + MAX_PLAINTEXT_BYTES], room, at)
        return at

    def _seal_long(self, plaintext: Buffer, room: memoryview, at: int) -> int:
        """One message, of any length."""
        nonce = self.nonce
        if nonce > MAX_NONCE:
            raise NetworkFault("noise nonces are exhausted")
        self.nonce = nonce + 1
        length = len(plaintext) + TAG_BYTES
        start = at + LENGTH_BYTES
        end = start + length
        room[at] = length >> 8
        room[at + 1] = length & 0xFF
        (self._bulk or self._of_bulk()).encrypt_into(nonce, plaintext, room[start:end])
        return end

    def _current(self) -> int:
        if self.nonce > MAX_NONCE:
            raise NetworkFault("noise nonces are exhausted")
        return self.nonce

    def _next(self) -> int:
        nonce = self._current()
        self.nonce = nonce + 1
        return nonce

    def _checked(self, plaintext: bytes | None) -> bytes:
        plaintext = _authentic(plaintext)
        self.nonce += 1
        return plaintext

    def _of_bulk(self) -> BulkAead:
        if self._bulk is None:
            from fastmarket.libp2p.tcp.bulk_cipher import BulkAead

            self._bulk = BulkAead(self._key)
        return self._bulk


class XXHandshake:
    """The XX pattern: `-> e`, `<- e, ee, s, es`, `-> s, se` (section 7.5). Keys are given, not made, here.

    Messages alternate, the initiator begins; after the third `finished` is true and `split` may be called.
    """

    __slots__ = (
        "_ephemeral",
        "_initiator",
        "_remote_ephemeral",
        "_static",
        "_symmetric",
        "_turn",
        "remote_static",
    )

    def __init__(
        self, *, initiator: bool, static: KeyPair, ephemeral: KeyPair, prologue: bytes = b""
    ) -> None:
        self._initiator = initiator
        self._static = static
        self._ephemeral = ephemeral
        self._remote_ephemeral = b""
        self.remote_static = b""
        self._turn = 0
        self._symmetric = SymmetricState(PROTOCOL_NAME)
        self._symmetric.mix_hash(prologue)

    @property
    def is_finished(self) -> bool:
        """All three messages are through."""
        return self._turn == _MAX_HANDSHAKE_MESSAGES

    @property
    def handshake_hash(self) -> bytes:
        """The channel binding (section 11.2), once finished."""
        return self._symmetric.hash

    def write_message(self, payload: bytes = b"") -> bytes:
        """The next message of ours, with `payload` (encrypted from the second message on)."""
        symmetric = self._symmetric
        out = b""
        if self._turn < 2:
            out = self._ephemeral.public
            symmetric.mix_hash(out)
        if self._turn == 1:
            self._mix(self._ephemeral, self._remote_ephemeral)  # ee
        if self._turn > 0:
            out += symmetric.encrypt_and_hash(self._static.public)  # s
            self._mix(self._static, self._remote_ephemeral)  # es of message 2, se of message 3
        out += symmetric.encrypt_and_hash(payload)
        self._turn += 1
        return out

    def read_message(self, message: bytes) -> bytes:
        """The payload of the peer's next message; PeerFault when it is too short, forged or damaged."""
        symmetric = self._symmetric
        if self._turn < 2:
            self._remote_ephemeral, message = _take(message, _KEY_BYTES)
            symmetric.mix_hash(self._remote_ephemeral)
        if self._turn == 1:
            self._mix(self._ephemeral, self._remote_ephemeral)  # ee
        if self._turn > 0:
            sealed, message = _take(message, _KEY_BYTES + TAG_BYTES)
            self.remote_static = _authentic(symmetric.decrypt_and_hash(sealed))
            self._mix(self._ephemeral, self.remote_static)  # es of message 2, se of message 3
        payload = _authentic(symmetric.decrypt_and_hash(message))
        self._turn += 1
        return payload

    def split(self) -> tuple[CipherState, CipherState]:
        """Our sending and our receiving cipher."""
        first, second = map(CipherState, self._symmetric.split())
        return (first, second) if self._initiator else (second, first)

    def _mix(self, ours: KeyPair, theirs: bytes) -> None:
        """A low-order point of the peer gives an all-zero secret, which is as good as none."""
        if not self._symmetric.mix_shared(ours.private, theirs):
            raise PeerFault("worthless public key", protocol=_FAULT)


def sealed_bytes(size: int) -> int:
    """What `size` bytes of plaintext become."""
    return size + max(1, -(-size // MAX_PLAINTEXT_BYTES)) * (LENGTH_BYTES + TAG_BYTES)


def _authentic(plaintext: bytes | None) -> bytes:
    if plaintext is None:
        raise PeerFault("message does not decrypt", protocol=_FAULT)
    return plaintext


def _take(message: bytes, size: int) -> tuple[bytes, bytes]:
    if len(message) < size:
        raise PeerFault("handshake message is too short", protocol=_FAULT)
    return message[:size], message[size:]
