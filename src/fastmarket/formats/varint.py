"""Unsigned varints, and frames with such a length prefix (multiformats/unsigned-varint)."""

from __future__ import annotations

from fastmarket.errors import CallerFault, LimitExceeded, PeerFault

# The specification's "practical maximum": 9 bytes, hence 63 bits.
MAX_UVARINT_BYTES = 9
MAX_PROTOBUF_VARINT_BYTES = 10  # of 64 bits; a negative number takes all of them (protobuf.dev, "Encoding")

_ONE_BYTE = tuple(bytes((n,)) for n in range(0x80))


def encode_uvarint(n: int) -> bytes:
    """The shortest encoding of `n`, 0 <= n < 2**63; raises CallerFault otherwise."""
    if 0 <= n < 0x80:
        return _ONE_BYTE[n]
    if 0 < n < 0x4000:  # the length of nearly every reply
        return bytes((n & 0x7F | 0x80, n >> 7))
    if n < 0 or n >> 7 * MAX_UVARINT_BYTES:
        raise CallerFault("n", f"{n} is outside 0..2**63-1")
    out = bytearray()
    while n >= 0x80:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def try_uvarint(buf: bytes | bytearray, offset: int = 0) -> tuple[int, int] | None:
    """(value, next offset), or None if bytes are missing; raises PeerFault if it is too long or not
    minimal."""
    if offset < len(buf) and buf[offset] < 0x80:
        return buf[offset], offset + 1
    found = _read(buf, offset, MAX_UVARINT_BYTES)
    if found is not None and buf[found[1] - 1] == 0:
        raise PeerFault("varint is not minimal")
    return found


def decode_uvarint(buf: bytes | bytearray, offset: int = 0) -> tuple[int, int]:
    """(value, next offset) of a complete varint; raises PeerFault otherwise."""
    found = try_uvarint(buf, offset)
    if found is None:
        raise PeerFault("varint is cut short")
    return found


def decode_protobuf_varint(buf: bytes | bytearray, offset: int = 0) -> tuple[int, int]:
    """As `decode_uvarint` by the rules of protobuf: of 10 bytes at most, and any form of a value will do."""
    found = _read(buf, offset, MAX_PROTOBUF_VARINT_BYTES)
    if found is None:
        raise PeerFault("varint is cut short")
    return found


def _read(buf: bytes | bytearray, offset: int, max_bytes: int) -> tuple[int, int] | None:
    value = shift = 0
    for at in range(offset, min(len(buf), offset + max_bytes)):
        byte = buf[at]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at + 1
        shift += 7
    if len(buf) - offset >= max_bytes:
        raise PeerFault(f"varint longer than {max_bytes} bytes")
    return None


def frame(body: bytes) -> bytes:
    """`body`, preceded by its length."""
    return encode_uvarint(len(body)) + body


class FrameDecoder:
    """Cuts a byte stream into the bodies of its length-prefixed frames.

    `limit` is the maximum size of a body in bytes; at most one frame is buffered between calls. After a
    PeerFault (LimitExceeded for the length) the frame boundaries are lost: drop the stream and the decoder.
    """

    __slots__ = ("_buffer", "_limit", "_wanted")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._wanted = 0

    @property
    def pending(self) -> int:
        """Buffered bytes of an incomplete frame."""
        return len(self._buffer)

    @property
    def missing(self) -> int:
        """Bytes missing to complete that frame, or at least its length."""
        return max(self._wanted - len(self._buffer), 1)

    def clear(self) -> None:
        """Drops the buffered bytes."""
        self._buffer.clear()
        self._wanted = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The bodies completed by `data`, in order."""
        buffer = self._buffer
        if buffer:
            buffer += data
            if len(buffer) < self._wanted:
                return []
            data = bytes(buffer)
            buffer.clear()
        elif len(data) > 2:  # the common case: one whole frame of at most two length bytes
            size, body = data[0], 1
            if size >= 0x80 and 0 < data[1] < 0x80:
                size, body = size & 0x7F | data[1] << 7, 2
            if body + size == len(data) and size <= self._limit and (size < 0x80 or body == 2):
                return [data[body:]]
        bodies = []
        start, end = 0, len(data)
        while start < end:
            size, body = data[start], start + 1
            if size >= 0x80:
                head = try_uvarint(data, start)
                if head is None:
                    self._wanted = 0  # unknown until the length is complete
                    break
                size, body = head
            if size > self._limit:
                raise LimitExceeded("bytes in a frame", self._limit, size)
            stop = body + size
            if stop > end:
                self._wanted = stop - start
                break
            bodies.append(data[body:stop])
            start = stop
        if start < end:
            buffer += data[start:]
        return bodies
