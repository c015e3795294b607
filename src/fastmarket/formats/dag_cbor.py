"""The subset of DAG-CBOR used by IPNS records: a map of text to bytes and unsigned numbers.

Publishers may add and sign values of any type; those that are not needed are skipped. Source: ipld.io specs,
codecs/dag-cbor: RFC 8949 in its deterministic form, definite lengths only.
"""

from __future__ import annotations

from fastmarket.errors import PeerFault

_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _LIST, _MAP, _TAG, _SIMPLE = range(8)
_LINK = 42  # the only tag allowed: a CID in a byte string
_FALSE, _UNDEFINED, _HALF, _DOUBLE = 20, 23, 25, 27  # short forms of major type 7

MAX_BYTES = 10 * 1024  # of a map, and so of its items: the limit of an IPNS record
MAX_DEPTH = (
    128  # of lists and maps in a value; skipping does not recurse; real values have two or three levels
)


def decode_map(raw: bytes) -> dict[str, bytes | int]:
    """The map, without values other than bytes, text and unsigned numbers. Raises PeerFault if it is not
    exactly one map, or exceeds the limits."""
    if len(raw) > MAX_BYTES:
        raise PeerFault(f"CBOR map of more than {MAX_BYTES} bytes")
    major, count, at = read_head(raw, 0)
    if major != _MAP:
        raise PeerFault("not a CBOR map")
    entries: dict[str, bytes | int] = {}
    seen: set[str] = set()
    for _ in range(count):
        key, at = _item(raw, at)
        if not isinstance(key, str) or key in seen:
            raise PeerFault("CBOR map with a bad key")
        seen.add(key)
        if at < len(raw) and raw[at] >> 5 not in (_UNSIGNED, _BYTES, _TEXT):
            at = _skip(raw, at)
            continue
        value, at = _item(raw, at)
        entries[key] = value.encode() if isinstance(value, str) else value
    if at != len(raw):
        raise PeerFault("trailing bytes after a CBOR map")
    return entries


def _skip(raw: bytes, at: int) -> int:
    """Where the item at `at` ends, including everything in it."""
    left, all_left = [1], 1  # items still to come, at each depth and in total
    while left:
        if not left[-1]:
            left.pop()
            continue
        left[-1] -= 1
        short = raw[at] & 31 if at < len(raw) else 0
        major, number, at = read_head(raw, at)
        within = 0
        if major in (_BYTES, _TEXT):
            at += number
        elif major in (_LIST, _MAP):
            within = number * (1 + (major == _MAP))
        elif major == _TAG:
            if number != _LINK:
                raise PeerFault("CBOR tag that is not a link")
            within = 1
        elif major == _SIMPLE and not (_FALSE <= short <= _UNDEFINED or _HALF <= short <= _DOUBLE):
            raise PeerFault("CBOR value that DAG-CBOR does not allow")
        if within:
            left.append(within)
        all_left += within - 1
        # Each item has at least one byte, so their number is bounded before any is examined.
        if all_left > len(raw) - at or len(left) > MAX_DEPTH:
            raise PeerFault("CBOR is cut short, or nested too deeply")
    return at


def encode_map(entries: dict[str, bytes | int]) -> bytes:
    """The inverse; keys in DAG-CBOR order, shorter ones first."""
    parts = [encode_head(_MAP, len(entries))]
    for key in sorted(entries, key=lambda text: (len(text.encode()), text.encode())):
        value, name = entries[key], key.encode()
        parts += [encode_head(_TEXT, len(name)), name]
        parts += [encode_head(_UNSIGNED, value)] if isinstance(value, int) else _bytes(value)
    return b"".join(parts)


def _bytes(value: bytes) -> list[bytes]:
    return [encode_head(_BYTES, len(value)), value]


def _item(raw: bytes, at: int) -> tuple[bytes | str | int, int]:
    major, number, at = read_head(raw, at)
    if major == _UNSIGNED:
        return number, at
    if major not in (_BYTES, _TEXT) or number > len(raw) - at:
        raise PeerFault("CBOR item of an unexpected type, or cut short")
    data = raw[at : at + number]
    if major == _BYTES:
        return data, at + number
    try:
        return data.decode(), at + number
    except UnicodeDecodeError:
        raise PeerFault("CBOR text that is not UTF-8") from None


def read_head(raw: bytes, at: int) -> tuple[int, int, int]:
    """Major type, number, and where the item continues. Raises PeerFault if that is malformed."""
    if at >= len(raw):
        raise PeerFault("CBOR is cut short")
    major, short = raw[at] >> 5, raw[at] & 31
    at += 1
    if short < 24:
        return major, short, at
    size = {24: 1, 25: 2, 26: 4, 27: 8}.get(short)
    if size is None or len(raw) - at < size:
        raise PeerFault("CBOR length is indefinite or cut short")
    return major, int.from_bytes(raw[at : at + size], "big"), at + size


def encode_head(major: int, number: int) -> bytes:
    """The shortest form of an item's major type and number."""
    if number < 24:
        return bytes((major << 5 | number,))
    for short, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if number < 1 << (8 * size):
            return bytes((major << 5 | short,)) + number.to_bytes(size, "big")
    raise ValueError(f"number: expects less than 2^64, got {number}")
