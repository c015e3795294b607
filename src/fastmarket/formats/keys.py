"""The four kinds of keys: check, load, sign, verify (libp2p specs: peer-ids/peer-ids.md, "Keys").

Ed25519, which nearly every peer has, is in `key_types`; the others are in `rare_keys`, loaded with the first
of them.
"""

from __future__ import annotations

from functools import cache
from types import ModuleType

from fastmarket.errors import PeerFault
from fastmarket.formats.key_types import ED25519_BYTES, ED25519_PKCS8, Ed25519Key, KeyType, PrivateKey
from fastmarket.formats.pkcs8 import OCTET_STRING, Pkcs8, read_der, read_pkcs8
from fastmarket.formats.varint import encode_uvarint
from fastmarket.native.sodium import ed25519_verify

ED25519_HEAD = b"\x08\x01\x12\x20"  # PublicKey{Type: Ed25519, Data: 32 bytes}, up to the data

_ED25519_ALGORITHM = bytes.fromhex("300506032b6570")


_ED25519 = KeyType.ED25519  # an Enum's class is slow to ask: 80 ns in Python 3.11


@cache
def _rare() -> ModuleType:
    from fastmarket.formats import rare_keys

    return rare_keys


def check(key_type: KeyType, data: bytes) -> None:
    """PeerFault unless `data` is a public key of that kind, inside the bounds."""
    if key_type is not _ED25519:
        _rare().CHECKS[key_type](data)
    elif len(data) != ED25519_BYTES:
        raise PeerFault(f"Ed25519 public key of {len(data)} bytes")


def verify(key_type: KeyType, data: bytes, message: bytes, signature: bytes) -> bool:
    """Whether the holder of that public key signed `message`. Never raises."""
    if key_type is _ED25519:
        return ed25519_verify(data, message, signature)
    return bool(_rare().verify(key_type, data, message, signature))


def encode_key(key_type: KeyType, data: bytes) -> bytes:
    """The one serialisation the specification allows ("Keys": minimal, in tag order, no other fields)."""
    if key_type is _ED25519 and len(data) == ED25519_BYTES:
        return ED25519_HEAD + data
    return b"\x08" + encode_uvarint(key_type) + b"\x12" + encode_uvarint(len(data)) + data


def private_key(key: object) -> PrivateKey:
    """Any key object of `cryptography`, or one that is such a key already. CallerFault if libp2p peers do not
    use its kind or size."""
    if isinstance(key, Ed25519Key):
        return key
    rare = _rare()
    return key if isinstance(key, rare.RareKey) else rare.wrapped(key)  # type: ignore[no-any-return]


def load_private(key_type: KeyType, data: bytes) -> PrivateKey:
    """From `PrivateKey.Data`; ValueError (CallerFault is one) or TypeError if it is no such thing."""
    if key_type is _ED25519:
        return _load_ed25519(data)
    return _rare().load(key_type, data)  # type: ignore[no-any-return]


def load_private_der(data: bytes) -> PrivateKey:
    """From PKCS#8, PKCS#1 or SEC1, unencrypted; as `load_private`."""
    head = len(ED25519_PKCS8)
    if data.startswith(ED25519_PKCS8) and len(data) == head + ED25519_BYTES:
        return Ed25519Key(data[head:])
    found = read_pkcs8(data)
    if found is not None:
        if found.algorithm == _ED25519_ALGORITHM:
            return _ed25519_of(found)
        data = found.version_1()  # all that `cryptography` reads
    return _rare().load_der(data)  # type: ignore[no-any-return]


def _ed25519_of(found: Pkcs8) -> Ed25519Key:
    tag, seed, end = read_der(found.private, 0)  # an octet string in an octet string
    if tag != OCTET_STRING or end != len(found.private) or len(seed) != ED25519_BYTES:
        raise ValueError("not an Ed25519 key")
    key = Ed25519Key(seed)
    if found.public not in (None, key.public):
        raise ValueError("the two halves do not belong together")
    return key


def _load_ed25519(data: bytes) -> Ed25519Key:
    """Seed and public key; an older form repeats the public key (specs: "Ed25519")."""
    seed, public = data[:ED25519_BYTES], data[ED25519_BYTES : 2 * ED25519_BYTES]
    if data not in (seed + public, seed + public + public) or len(public) != ED25519_BYTES:
        raise ValueError("Ed25519 data takes 64 bytes")
    key = Ed25519Key(seed)
    if key.public != public:
        raise ValueError("the two halves do not belong together")
    return key
