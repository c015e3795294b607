"""The part of DAG-CBOR that IPNS records are written in: one map of text to bytes and unsigned numbers.

Source: ipld.io specs, codecs/dag-cbor: RFC 8949 in its deterministic form, definite lengths only.
"""

from __future__ import annotations

from fastmarket.errors import PeerFault

_UNSIGNED, _BYTES, _TEXT, _MAP = 0, 2, 3, 5
MAX_ENTRIES = 64  # of a map: IPNS has five, and others may add theirs


def decode_map(raw: bytes) -> dict[str, bytes | int]:
    """The map. Values that are no bytes, text or unsigned numbers are a PeerFault, as is any excess."""
    major, count, at = _head(raw, 0)
    if major != _MAP or count > MAX_ENTRIES:
        raise PeerFault("not a small CBOR map")
    entries: dict[str, bytes | int] = {}
    for _ in range(count):
        key, at = _item(raw, at)
        value, at = _item(raw, at)
        if not isinstance(key, str) or key in entries:
            raise PeerFault("a CBOR map with a bad key")
        entries[key] = value.encode() if isinstance(value, str) else value
    if at != len(raw):
        raise PeerFault("bytes behind a CBOR map")
    return entries


def encode_map(entries: dict[str, bytes | int]) -> bytes:
    """The same the other way; keys in the order of DAG-CBOR, the shorter ones first."""
    parts = [_encode_head(_MAP, len(entries))]
    for key in sorted(entries, key=lambda text: (len(text.encode()), text.encode())):
        value, name = entries[key], key.encode()
        parts += [_encode_head(_TEXT, len(name)), name]
        parts += [_encode_head(_UNSIGNED, value)] if isinstance(value, int) else _bytes(value)
    return b"".join(parts)


def _bytes(value: bytes) -> list[bytes]:
    return [_encode_head(_BYTES, len(value)), value]


def _item(raw: bytes, at: int) -> tuple[bytes | str | int, int]:
    major, number, at = _head(raw, at)
    if major == _UNSIGNED:
        return number, at
    if major not in (_BYTES, _TEXT) or number > len(raw) - at:
        raise PeerFault("a CBOR item of another kind, or cut short")
    data = raw[at : at + number]
    if major == _BYTES:
        return data, at + number
    try:
        return data.decode(), at + number
    except UnicodeDecodeError:
        raise PeerFault("CBOR text that is not UTF-8") from None


def _head(raw: bytes, at: int) -> tuple[int, int, int]:
    """Major type, number, and where the item goes on."""
    if at >= len(raw):
        raise PeerFault("CBOR cut short")
    major, short = raw[at] >> 5, raw[at] & 31
    at += 1
    if short < 24:
        return major, short, at
    size = {24: 1, 25: 2, 26: 4, 27: 8}.get(short)
    if size is None or len(raw) - at < size:
        raise PeerFault("a CBOR length that is open or cut short")
    return major, int.from_bytes(raw[at : at + size], "big"), at + size


def _encode_head(major: int, number: int) -> bytes:
    if number < 24:
        return bytes((major << 5 | number,))
    for short, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if number < 1 << (8 * size):
            return bytes((major << 5 | short,)) + number.to_bytes(size, "big")
    raise ValueError(f"number: below 2^64 wanted, got {number}")
