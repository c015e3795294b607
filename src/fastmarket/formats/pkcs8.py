"""Private keys in DER, independent of their type: PKCS#8 in both versions (RFC 5208, 5958)."""

from __future__ import annotations

from dataclasses import dataclass, field

INTEGER, OCTET_STRING, SEQUENCE = 0x02, 0x04, 0x30
_ATTRIBUTES, _PUBLIC_KEY = 0xA0, 0x81  # [0] IMPLICIT SET OF, [1] IMPLICIT BIT STRING
_MAX_LENGTH_BYTES = 4
_LONG_FORM = 0x80


@dataclass(frozen=True, slots=True)
class Pkcs8:
    """OneAsymmetricKey, which in version 2 may include the public half; attributes are skipped."""

    algorithm: bytes  # AlgorithmIdentifier, in DER
    private: bytes = field(repr=False)  # the content of the octet string; its form depends on the algorithm
    public: bytes | None  # the content of the bit string

    def version_1(self) -> bytes:
        """PrivateKeyInfo of RFC 5208 in DER: only the private half."""
        return _der(SEQUENCE, _der(INTEGER, b"\0") + self.algorithm + _der(OCTET_STRING, self.private))


def read_pkcs8(data: bytes) -> Pkcs8 | None:
    """None for DER of another type: PKCS#1 and SEC1 begin with a number, too. Raises ValueError if
    malformed."""
    tag, body, end = read_der(data, 0)
    if tag != SEQUENCE or end != len(data):
        raise ValueError("not a single DER sequence")
    tag, version, at = read_der(body, 0)
    if tag != INTEGER or at == len(body) or body[at] != SEQUENCE:
        return None
    if version not in (b"\0", b"\1"):
        raise ValueError("unknown PKCS#8 version")
    _, _, end = read_der(body, at)
    algorithm = body[at:end]
    tag, private, at = read_der(body, end)
    if tag != OCTET_STRING:
        raise ValueError("no private key in PKCS#8")
    public = None
    for optional in (_ATTRIBUTES, _PUBLIC_KEY):
        if at < len(body) and body[at] == optional:
            tag, value, at = read_der(body, at)
            if tag == _PUBLIC_KEY:
                if value[:1] != b"\0":
                    raise ValueError("the public key is not a whole number of bytes")
                public = value[1:]
    if at != len(body):
        raise ValueError("trailing data after a private key")
    return Pkcs8(algorithm, private, public)


def read_der(data: bytes, at: int) -> tuple[int, bytes, int]:
    """The one-byte tag, the value and the end of the element there. Raises ValueError if malformed."""
    if at + 2 > len(data):
        raise ValueError("DER is cut short")
    tag, size, start = data[at], data[at + 1], at + 2
    if size >= _LONG_FORM:
        width = size - _LONG_FORM
        if not 0 < width <= _MAX_LENGTH_BYTES:
            raise ValueError("invalid DER length")
        size, start = int.from_bytes(data[start : start + width], "big"), start + width
        if size < _LONG_FORM or size >> 8 * (width - 1) == 0:
            raise ValueError("DER length is not minimal")
    if start + size > len(data):
        raise ValueError("DER is cut short")
    return tag, data[start : start + size], start + size


def _der(tag: int, value: bytes) -> bytes:
    size = len(value)
    if size < _LONG_FORM:
        return bytes((tag, size)) + value
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, _LONG_FORM | len(length))) + length + value
