"""Noise_XX_25519_ChaChaPoly_SHA256 (noiseprotocol.org revision 34): cipher, handshake and transport frames.

Only the pattern libp2p uses is here. The identity payload that libp2p puts inside is in `secure.py`.
"""

from __future__ import annotations

from struct import Struct
from typing import TypeAlias

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from fastmarket._sha256 import sha256
from fastmarket.errors import NetworkFault, PeerFault

PROTOCOL_NAME = b"Noise_XX_25519_ChaChaPoly_SHA256"  # exactly 32 bytes, so it is its own first hash
MAX_MESSAGE_BYTES = 65535  # noise spec section 3; also all that libp2p's two length bytes can say
TAG_BYTES = 16
MAX_PLAINTEXT_BYTES = MAX_MESSAGE_BYTES - TAG_BYTES
LENGTH_BYTES = 2
MAX_NONCE = 2**64 - 2  # the last value is reserved (noise spec section 5.1)
_KEY_BYTES = 32
_MAX_HANDSHAKE_MESSAGES = 3
_NONCE = Struct("<4xQ")
_FAULT = "noise"

Buffer: TypeAlias = bytes | bytearray | memoryview


def _dh(private: X25519PrivateKey, public: bytes) -> bytes:
    """A low-order point of the peer gives an all-zero secret, which the library refuses; so do we."""
    try:
        return private.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError as error:
        raise PeerFault("worthless public key", protocol=_FAULT) from error


# A key of HMAC is a block's second half of zeros, xor-ed with one of two bytes (RFC 2104).
_INNER, _OUTER = (bytes(byte ^ pad for byte in range(256)) for pad in (0x36, 0x5C))
_ZEROS = bytes(32)


def _hmac(key: bytes, message: bytes) -> bytes:
    """HMAC-SHA256 with a key of 32 bytes. Twelve of these make a handshake, and `hmac.digest` takes a
    microsecond or two to find out what "sha256" is; our kernel takes a tenth of one."""
    block = key + _ZEROS
    return sha256(block.translate(_OUTER) + sha256(block.translate(_INNER) + message))


def _hkdf(chaining_key: bytes, material: bytes) -> tuple[bytes, bytes]:
    """The two-output HKDF of section 4.3."""
    secret = _hmac(chaining_key, material)
    first = _hmac(secret, b"\x01")
    return first, _hmac(secret, first + b"\x02")


class CipherState:
    """A key and its counter (section 5.1), with the two-byte framing of libp2p's transport messages."""

    __slots__ = ("_aead", "nonce")

    def __init__(self, key: bytes) -> None:
        self._aead = ChaCha20Poly1305(key)
        self.nonce = 0

    def encrypt(self, plaintext: Buffer, associated: bytes | None = None) -> bytes:
        """Raises NetworkFault once the nonces are used up: the connection has to end."""
        nonce = self.nonce
        if nonce > MAX_NONCE:
            raise NetworkFault("noise nonces are exhausted")
        self.nonce = nonce + 1
        return self._aead.encrypt(_NONCE.pack(nonce), plaintext, associated)

    def decrypt(self, ciphertext: Buffer, associated: bytes | None = None) -> bytes:
        """Raises PeerFault for a forged or damaged message; the nonce then stays as it was."""
        nonce = self.nonce
        if nonce > MAX_NONCE:
            raise NetworkFault("noise nonces are exhausted")
        try:
            plaintext = self._aead.decrypt(_NONCE.pack(nonce), ciphertext, associated)
        except InvalidTag:
            raise PeerFault("message does not decrypt", protocol=_FAULT) from None
        self.nonce = nonce + 1
        return plaintext

    def seal(self, plaintext: bytearray) -> bytes:
        """All of `plaintext` as framed transport messages, as few as can be."""
        if len(plaintext) <= MAX_PLAINTEXT_BYTES:
            message = self.encrypt(plaintext)
            return len(message).to_bytes(LENGTH_BYTES, "big") + message
        framed: list[bytes] = []
        with memoryview(plaintext) as view:
            for start in range(0, len(plaintext), MAX_PLAINTEXT_BYTES):
                message = self.encrypt(view[start : start + MAX_PLAINTEXT_BYTES])
                framed += (len(message).to_bytes(LENGTH_BYTES, "big"), message)
        return b"".join(framed)


class SymmetricState:
    """Chaining key, handshake hash and, after the first DH, a cipher (section 5.2)."""

    __slots__ = ("chaining_key", "cipher", "hash")

    def __init__(self) -> None:
        self.hash = PROTOCOL_NAME
        self.chaining_key = PROTOCOL_NAME
        self.cipher: CipherState | None = None

    def mix_hash(self, data: Buffer) -> None:
        """h = SHA256(h || data)."""
        self.hash = sha256(self.hash + data)

    def mix_key(self, material: bytes) -> None:
        """A new chaining key, and a new cipher at nonce 0."""
        self.chaining_key, key = _hkdf(self.chaining_key, material)
        self.cipher = CipherState(key)

    def encrypt_and_hash(self, plaintext: bytes) -> bytes:
        """Plain before the first key."""
        out = plaintext if self.cipher is None else self.cipher.encrypt(plaintext, self.hash)
        self.mix_hash(out)
        return out

    def decrypt_and_hash(self, data: bytes) -> bytes:
        """PeerFault when it does not authenticate."""
        plaintext = data if self.cipher is None else self.cipher.decrypt(data, self.hash)
        self.mix_hash(data)
        return plaintext

    def split(self) -> tuple[CipherState, CipherState]:
        """The initiator's and the responder's sending cipher."""
        first, second = _hkdf(self.chaining_key, b"")
        return CipherState(first), CipherState(second)


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
        self, *, initiator: bool, static: X25519PrivateKey, ephemeral: X25519PrivateKey, prologue: bytes = b""
    ) -> None:
        self._initiator = initiator
        self._static = static
        self._ephemeral = ephemeral
        self._remote_ephemeral = b""
        self.remote_static = b""
        self._turn = 0
        self._symmetric = SymmetricState()
        self._symmetric.mix_hash(prologue)

    @property
    def finished(self) -> bool:
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
            public = self._ephemeral.public_key().public_bytes_raw()
            symmetric.mix_hash(public)
            out += public
        if self._turn == 1:
            symmetric.mix_key(_dh(self._ephemeral, self._remote_ephemeral))  # ee
        if self._turn > 0:
            out += symmetric.encrypt_and_hash(self._static.public_key().public_bytes_raw())  # s
            symmetric.mix_key(_dh(self._static, self._remote_ephemeral))  # es of message 2, se of message 3
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
            symmetric.mix_key(_dh(self._ephemeral, self._remote_ephemeral))  # ee
        if self._turn > 0:
            sealed, message = _take(message, _KEY_BYTES + TAG_BYTES)
            self.remote_static = symmetric.decrypt_and_hash(sealed)
            symmetric.mix_key(_dh(self._ephemeral, self.remote_static))  # es of message 2, se of message 3
        payload = symmetric.decrypt_and_hash(message)
        self._turn += 1
        return payload

    def split(self) -> tuple[CipherState, CipherState]:
        """Our sending and our receiving cipher."""
        first, second = self._symmetric.split()
        return (first, second) if self._initiator else (second, first)


def _take(message: bytes, size: int) -> tuple[bytes, bytes]:
    if len(message) < size:
        raise PeerFault("handshake message is too short", protocol=_FAULT)
    return message[:size], message[size:]
