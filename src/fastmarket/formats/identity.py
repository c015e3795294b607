"""Public keys, peer ids and our own identity (libp2p specs: peer-ids/peer-ids.md)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import NoReturn

from google.protobuf.message import DecodeError

from fastmarket.errors import CallerFault, LimitExceeded, PeerFault
from fastmarket.formats import keys
from fastmarket.formats.kad_key import KadKey
from fastmarket.formats.key_types import ED25519_BYTES, Ed25519Key, KeyType
from fastmarket.formats.keys import ED25519_HEAD
from fastmarket.formats.multibase import decode_multibase
from fastmarket.formats.varint import decode_uvarint
from fastmarket.native.cid import base58_decode, base58_encode
from fastmarket.native.sha256 import sha256
from fastmarket.pb.libp2p import keys_pb2

__all__ = ["Identity", "KeyType", "PeerId", "PublicKey"]

# The largest key accepted, RSA of 8192 bits, takes 1,066 bytes; this leaves room for unknown fields.
MAX_PUBLIC_KEY_BYTES = 2048
# RSA of 8192 bits, with its primes, takes some 4,700 bytes.
MAX_PRIVATE_KEY_BYTES = 8192
# A serialised key of at most this length is inlined in the peer id (specs: "Peer Ids").
MAX_INLINE_KEY_BYTES = 42
# The longest id in the widest form in use (base16 CID) takes 93 characters.
MAX_PEER_ID_TEXT = 128
# Some 500 bytes each: ids of a routing table, its neighbours and some minutes of traffic.
PEER_ID_CACHE = 16_384

_SHA256_HEAD = b"\x12\x20"  # multihash: sha2-256, 32 bytes
_CID1_LIBP2P_KEY = (1, 0x72)  # version and codec


@dataclass(frozen=True, slots=True)
class PublicKey:
    """`data` by type: RSA and ECDSA PKIX DER, Ed25519 32 bytes, secp256k1 33 bytes (compressed)."""

    key_type: KeyType
    data: bytes

    @classmethod
    def decode(cls, raw: bytes) -> PublicKey:
        """Parses a serialised PublicKey message of at most MAX_PUBLIC_KEY_BYTES.

        Other field orders are accepted, as by other implementations: the peer id is computed from `encode()`.
        Raises PeerFault if it is not a key, or outside the limits.
        """
        if len(raw) == 36 and raw.startswith(ED25519_HEAD):
            return cls(KeyType.ED25519, bytes(raw[4:]))
        if len(raw) > MAX_PUBLIC_KEY_BYTES:
            raise LimitExceeded("bytes in a public key", MAX_PUBLIC_KEY_BYTES, len(raw))
        try:
            message = keys_pb2.PublicKey.FromString(raw)
        except DecodeError as error:
            raise PeerFault("public key: not a PublicKey message") from error
        key = cls(KeyType(message.Type), message.Data)
        keys.check(key.key_type, key.data)
        return key

    def encode(self) -> bytes:
        """The deterministic PublicKey message from which peer ids are computed."""
        return keys.encode_key(self.key_type, self.data)

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Whether the private half made `signature` over `message`. Never raises."""
        return keys.verify(self.key_type, self.data, message, signature)

    @property
    def peer_id(self) -> PeerId:
        """The id of the peer that has the private half."""
        return PeerId.from_public_key(self)


class PeerId:
    """The multihash of a peer's public key. Immutable; compared by its bytes.

    `raw` is the multihash, `key` (32 bytes) its SHA-256: the peer's place in the DHT.
    """

    __slots__ = ("_text", "key", "raw")

    raw: bytes
    key: KadKey
    _text: str | None

    def __init__(self, raw: bytes) -> None:
        """Raises PeerFault unless `raw` is a sha2-256 multihash or an inlined key. `from_bytes` is cached."""
        raw = bytes(raw)
        if not (len(raw) == 34 and raw.startswith(_SHA256_HEAD)):
            _check_inlined(raw)
        object.__setattr__(self, "raw", raw)
        object.__setattr__(self, "key", sha256(raw))
        object.__setattr__(self, "_text", None)

    @staticmethod
    def from_bytes(raw: bytes) -> PeerId:
        """The id with these multihash bytes; raises PeerFault if they are not a peer id."""
        return _cached_peer_id(raw)

    @staticmethod
    def from_text(text: str) -> PeerId:
        """Parses base58btc (`12D3…`, `Qm…`) or a CIDv1 of codec libp2p-key; else CallerFault("peer_id")."""
        if not 0 < len(text) <= MAX_PEER_ID_TEXT:
            raise CallerFault("peer_id", f"expects 1 to {MAX_PEER_ID_TEXT} characters")
        try:
            if text.startswith(("1", "Qm")):
                return _cached_peer_id(base58_decode(text))
            return _cached_peer_id(_multihash_of_cid(text))
        except (ValueError, PeerFault) as error:
            raise CallerFault("peer_id", f"{text!r} is not a peer id") from error

    @staticmethod
    def from_public_key(public_key: PublicKey) -> PeerId:
        """The id of that key's peer (specs: "Peer Ids", steps 1 to 5)."""
        encoded = public_key.encode()
        if len(encoded) <= MAX_INLINE_KEY_BYTES:
            return _cached_peer_id(bytes((0, len(encoded))) + encoded)
        return _cached_peer_id(_SHA256_HEAD + sha256(encoded))

    def public_key(self) -> PublicKey | None:
        """The key itself, if the id is short enough to contain it."""
        return PublicKey.decode(self.raw[2:]) if self.raw[0] == 0 else None

    def __str__(self) -> str:
        text = self._text
        if text is None:
            text = base58_encode(self.raw)
            object.__setattr__(self, "_text", text)
        return text

    def __repr__(self) -> str:
        return f"PeerId({self})"

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, PeerId) and self.raw == other.raw)

    def __hash__(self) -> int:
        return hash(self.raw)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"PeerId is immutable: {name}")

    def __reduce__(self) -> tuple[type[PeerId], tuple[bytes]]:
        return PeerId, (self.raw,)


_cached_peer_id: Callable[[bytes], PeerId] = lru_cache(PEER_ID_CACHE)(PeerId)


def _check_inlined(raw: bytes) -> None:
    """Raises PeerFault unless `raw` is the identity multihash of a key in its deterministic form."""
    if not 2 < len(raw) <= 2 + MAX_INLINE_KEY_BYTES or raw[0] != 0 or raw[1] != len(raw) - 2:
        raise PeerFault("peer id is neither a sha2-256 multihash nor an inlined key")
    if PublicKey.decode(raw[2:]).encode() != raw[2:]:
        raise PeerFault("peer id inlines a key that is not in its deterministic form")


def _multihash_of_cid(text: str) -> bytes:
    """Raises ValueError or PeerFault unless `text` is a libp2p-key CIDv1."""
    raw = decode_multibase(text)
    version, offset = decode_uvarint(raw)
    codec, offset = decode_uvarint(raw, offset)
    if (version, codec) != _CID1_LIBP2P_KEY:
        raise ValueError("not a CIDv1 of codec libp2p-key")
    return raw[offset:]


class Identity:
    """A private key with its `public_key` and `peer_id`. Its repr never shows the private half."""

    __slots__ = ("_key", "peer_id", "public_key")

    def __init__(self, key: object) -> None:
        """Wraps a key object of `cryptography`; raises CallerFault("private_key") for a type or size that
        libp2p peers do not use."""
        self._key = key = keys.private_key(key)
        self.public_key = PublicKey(key.key_type, key.public)
        self.peer_id = self.public_key.peer_id

    @classmethod
    def from_seed(cls, seed: bytes) -> Identity:
        """The Ed25519 key of 32 secret random bytes."""
        if len(seed) != ED25519_BYTES:
            raise CallerFault("seed", f"expects {ED25519_BYTES} bytes, got {len(seed)}")
        return cls(Ed25519Key(seed))

    @classmethod
    def from_private_bytes(cls, raw: bytes) -> Identity:
        """Parses a serialised PrivateKey message, as stored by other libp2p programs; raises CallerFault."""
        if len(raw) > MAX_PRIVATE_KEY_BYTES:
            raise CallerFault("private_key", f"is longer than {MAX_PRIVATE_KEY_BYTES} bytes")
        try:
            message = keys_pb2.PrivateKey.FromString(raw)
            identity = cls(keys.load_private(KeyType(message.Type), message.Data))
        except (DecodeError, ValueError, TypeError) as error:
            if isinstance(error, CallerFault):
                raise
            # `from None`: the parser's error could quote the key.
            raise CallerFault("private_key", "is not a libp2p private key, or is damaged") from None
        if identity.public_key.key_type is not KeyType(message.Type):
            raise CallerFault("private_key", "is of another type than it claims")
        return identity

    @classmethod
    def from_pkcs8(cls, der: bytes) -> Identity:
        """Parses unencrypted DER: PKCS#8, or the older PKCS#1 and SEC1; raises CallerFault."""
        if len(der) > MAX_PRIVATE_KEY_BYTES:
            raise CallerFault("private_key", f"is longer than {MAX_PRIVATE_KEY_BYTES} bytes")
        try:
            return cls(keys.load_private_der(der))
        except CallerFault:
            raise
        except (ValueError, TypeError):
            raise CallerFault("private_key", "is not a private key in DER, or is damaged") from None

    def to_private_bytes(self) -> bytes:
        """The serialised PrivateKey message (specs: "Key Types"), unencrypted."""
        return keys.encode_key(self._key.key_type, self._key.to_data())

    def to_pkcs8(self) -> bytes:
        """PKCS#8 DER, unencrypted."""
        return self._key.to_pkcs8()

    def sign(self, message: bytes) -> bytes:
        """A signature that `public_key.verify` accepts (specs: "Key Types")."""
        return self._key.sign(message)

    def __repr__(self) -> str:
        return f"Identity({self.peer_id})"

    def __copy__(self) -> Identity:
        return self

    def __deepcopy__(self, memo: object) -> Identity:
        return self

    def __reduce__(self) -> tuple[Callable[[bytes], Identity], tuple[bytes]]:
        """A pickle contains the unencrypted private key: for another process, not for a file."""
        return Identity.from_private_bytes, (self.to_private_bytes(),)
