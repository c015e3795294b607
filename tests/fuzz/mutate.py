"""Inputs that are nearly valid: mutations of a target's seeds, and of inputs that came to a new outcome, by
the shape of what the target reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Final, Protocol

from tests.fuzz.fields import Field, join, split, varint
from tests.fuzz.target import Shape

EDGES: Final = (0, 1, 2, 3, 7, 8, 15, 16, 31, 32, 33, 34, 63, 64, 65, 127, 128, 129, 254, 255)
"""Bytes at which lengths, tags and types change their meaning."""

VARINTS: Final = tuple(
    bytes.fromhex(text)
    for text in (
        "8000",  # not minimal
        "ff7f",
        "80808001",
        "ffffffff07",  # 2**31 - 1
        "8080808008",  # 2**31
        "ffffffff0f",  # 2**32 - 1
        "8080808010",  # 2**32
        "ffffffffffffffff7f",  # 2**63 - 1
        "ffffffffffffffffff01",  # 2**64 - 1
        "80808080808080808001",  # 2**63
        "ffffffffffffffffff7f",  # of 70 bits
        "80808080808080808080",  # never ends
    )
)
NUMBERS: Final = (0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1)
WORDS: Final = {
    Shape.TEXT: (
        *("/", "//", ".", "..", "%2f", "%", "%00", "\0", ":", "@", "?", "#", ",", "!", "=", " ", "\t", "\n"),
        *("-", "1", "0", "\u0661", "\u00e9", "\u202e", "\ud800", "\U0001f600", "\u00df", "Qm", "bafy", "f01"),
    ),
    Shape.JSON: (
        *("{", "}", "[", "]", '"', ",", ":", "null", "true", "-0", "1e999", "-1", "0.1", "NaN", "\\u0000"),
        *("\\ud800", "18446744073709551616", '{"":', "[[[["),
    ),
    Shape.TOML: (
        *("=", "[", "]", "[[", "'''", '"""', "#", "\n", "true", "inf", "nan", "-1", "0x10", "1979-05-27"),
        *("{", "}", ".", "\\u0000", "[[[["),
    ),
    Shape.HTTP: (
        *("\r\n", "\n", "\r", ":", ": ", " ", "HTTP/1.1", "HTTP/1.0", "GET ", "HEAD ", "POST ", ",", "-"),
        *("%", "/", "?", ";q=", "bytes=", "0", "W/", "*", "\0"),
    ),
}
MAX_CORPUS: Final = 512  # inputs that came to a new outcome; more repeat themselves
NESTING: Final = 5  # levels of messages that are looked into


class Maker(Protocol):
    """What makes inputs: `Mutator`, or `FastMutator` of `_fast.pyx`."""

    def next(self) -> bytes:
        """The next input."""

    def keep(self, data: bytes) -> None:
        """An input that came to a new outcome: others are made of it."""


def words_of(shape: Shape) -> list[bytes]:
    """The words of a format; empty if it has none."""
    return [word.encode("utf-8", "surrogatepass") for word in WORDS.get(shape, ())]


class Mutator:
    """An endless series of inputs, the same for the same seed and the same `keep` calls."""

    def __init__(self, seed: int, seeds: Sequence[bytes], shape: Shape, longest: int) -> None:
        self.random = Random(seed)
        self.corpus = [bytes(one) for one in seeds] or [b""]
        self._seeds = len(self.corpus)
        self._longest = longest
        self._words = words_of(shape)
        self._of_shape: Callable[[bytes], bytes] = {
            Shape.PROTOBUF: self.message,
            Shape.VARINT_FRAMES: self.frames,
            Shape.NOISE: self.noise,
            Shape.YAMUX: self.yamux,
        }.get(shape, self.words if self._words else self.raw)

    def keep(self, data: bytes) -> None:
        """An input that came to a new outcome: others are made of it."""
        if len(self.corpus) < self._seeds + MAX_CORPUS:
            self.corpus.append(data)
        else:
            self.corpus[self._seeds + self._below(MAX_CORPUS)] = data

    def next(self) -> bytes:
        """The next input."""
        chance = self.random.random()
        data = self._any()
        if chance < 0.01:
            return self.random.randbytes(self._below(200))
        if chance < 0.03:
            return data[: self._longest]
        if chance < 0.08:
            data = self.splice(data)
        data = self._of_shape(data) if chance < 0.65 else self.raw(data)
        return data[: self._longest]

    # -- of bytes

    def raw(self, data: bytes) -> bytes:
        """One change mostly, up to six."""
        out = bytearray(data)
        for _ in range(1 if self.random.random() < 0.5 else 2 + self._below(5)):
            self._raw_changes[self._below(len(self._raw_changes))](self, out, self._below(len(out) or 1))
        return bytes(out)

    def splice(self, data: bytes) -> bytes:
        """The head of one and the tail of another."""
        other = self._any()
        return data[: self._below(len(data) + 1)] + other[self._below(len(other) + 1) :]

    def _flip(self, out: bytearray, at: int) -> None:
        if out:
            out[at] ^= 1 << self._below(8)

    def _edge(self, out: bytearray, at: int) -> None:
        if out:
            out[at] = EDGES[self._below(len(EDGES))]

    def _any_byte(self, out: bytearray, at: int) -> None:
        if out:
            out[at] = self._below(256)

    def _step(self, out: bytearray, at: int) -> None:
        if out:
            out[at] = out[at] + (1, 255, 2, 254, 16)[self._below(5)] & 255

    def _insert(self, out: bytearray, at: int) -> None:
        out[at:at] = self.random.randbytes(self._below(9))

    def _delete(self, out: bytearray, at: int) -> None:
        del out[at : at + 1 + self._below(16)]

    def _cut(self, out: bytearray, at: int) -> None:
        del out[at:]

    def _repeat(self, out: bytearray, at: int) -> None:
        piece = bytes(out[at : at + 1 + self._below(64)])
        out[at:at] = piece * (1 + self._below(3) if self._below(16) else 1 + self._below(200))

    def _varint(self, out: bytearray, at: int) -> None:
        out[at : at + self._below(10)] = VARINTS[self._below(len(VARINTS))]

    def _borrow(self, out: bytearray, at: int) -> None:
        other = self._any()
        start = self._below(len(other) or 1)
        out[at : at + self._below(40)] = other[start : start + self._below(200)]

    def _big_endian(self, out: bytearray, at: int) -> None:
        size = 1 << self._below(4)
        number = NUMBERS[self._below(len(NUMBERS))] % (1 << 8 * size)
        out[at : at + size] = number.to_bytes(size, "big")

    def _append(self, out: bytearray, at: int) -> None:
        out += self.random.randbytes(self._below(12))

    _raw_changes = (
        *(_flip, _edge, _any_byte, _step, _insert, _delete),
        *(_cut, _repeat, _varint, _borrow, _big_endian, _append),
    )

    # -- of messages

    def message(self, data: bytes, level: int = 0) -> bytes:
        """Fields dropped, repeated, moved, renumbered, of another type, of a lying length, and so inside of
        fields; bytes that are not a message are mutated as bytes."""
        fields = split(data)
        if not fields:
            return self.raw(data)
        for _ in range(1 if self.random.random() < 0.7 else 3):
            at = self._below(len(fields))
            choice = self._below(12)
            if choice < 5:
                fields[at] = self._changed(fields[at], level)
            else:
                self._rearrange(fields, at, choice)
            if not fields:
                break
        return join(fields, self._lie)

    def _changed(self, field: Field, level: int) -> Field:
        number, value = field
        if isinstance(value, bytes):
            if level < NESTING and len(value) > 1 and self.random.random() < 0.7:
                return number, self.message(value, level + 1)
            return number, self.raw(value)
        return number, (*NUMBERS, value + 1, value ^ 1)[self._below(len(NUMBERS) + 2)]

    def _rearrange(self, fields: list[Field], at: int, choice: int) -> None:
        number, value = fields[at]
        if choice == 5:
            fields.insert(self._below(len(fields) + 1), fields[at])
        elif choice == 6:
            del fields[at]
        elif choice == 7:
            other = self._below(len(fields))
            fields[at], fields[other] = fields[other], fields[at]
        elif choice == 8:
            numbers = (number + 1, max(1, number - 1), 1, 15, 16, 2047, 2**29 - 1)
            fields[at] = numbers[self._below(7)], value
        elif choice == 9:
            swapped = self.random.getrandbits(64) if isinstance(value, bytes) else self.random.randbytes(4)
            fields[at] = number, swapped
        elif choice == 10:
            fields[at:at] = [fields[at]] * (2, 3, 17, 40, 300)[self._below(5)]
        else:
            wrapped = b"".join(join([field]) for field in fields[at : at + 3])
            fields[at] = number, wrapped

    def _lie(self, size: int) -> bytes:
        """The length of a field: rarely another than it has, or in a form that is not minimal."""
        chance = self._below(100)
        if chance > 2:
            return varint(size)
        if chance == 2:
            head = bytearray(varint(size))
            head[-1] |= 128
            return bytes(head) + b"\0"
        return varint(max(0, size + (-1, 1, 127, 1 << 20, 1 << 31, 1 << 62)[self._below(6)]))

    # -- of frames

    def frames(self, data: bytes) -> bytes:
        """Messages behind their lengths: one changed, dropped, repeated, or with a lying length."""
        parts, at = [], 0
        while at < len(data) and data[at] < 128:
            parts.append(data[at + 1 : at + 1 + data[at]])
            at += 1 + data[at]
        return self._in_frames(parts, lambda size: self._lie(size)) + data[at:]

    def noise(self, data: bytes) -> bytes:
        """Likewise, behind two bytes of length."""
        parts, at = [], 0
        while at + 2 <= len(data):
            size = int.from_bytes(data[at : at + 2], "big")
            parts.append(data[at + 2 : at + 2 + size])
            at += 2 + size

        def head(size: int) -> bytes:
            lie = size if self._below(40) else self._below(1 << 16)
            return (lie & 0xFFFF).to_bytes(2, "big")

        return self._in_frames(parts, head)

    def yamux(self, data: bytes) -> bytes:
        """Frames of twelve bytes: version, type, flags, stream, length; and what data frames carry."""
        parts, at = [], 0
        while at + 12 <= len(data):
            size = int.from_bytes(data[at + 8 : at + 12], "big") if data[at + 1] == 0 else 0
            parts.append(data[at : at + 12 + size])
            at += 12 + size
        if not parts:
            return self.raw(data)
        for _ in range(1 + self._below(4)):
            self._change_yamux(parts, self._below(len(parts)))
        return b"".join(parts)

    def _change_yamux(self, parts: list[bytes], at: int) -> None:
        part = bytearray(parts[at])
        choice = self._below(9)
        if choice == 0:
            part[1] = self._below(5)
        elif choice == 1:
            part[3] = (0, 1, 2, 4, 8, 3, 5, 9, 15)[self._below(9)]
        elif choice == 2:
            part[4:8] = (0, 1, 2, 3, 4, 5, 2**31, 2**32 - 1)[self._below(8)].to_bytes(4, "big")
        elif choice == 3:
            number = (0, 1, len(part) - 13, len(part) - 11, 2**18, 2**24, 2**31, 2**32 - 1)[self._below(8)]
            part[8:12] = max(0, number).to_bytes(4, "big")
        elif choice == 4:
            parts.insert(self._below(len(parts) + 1), bytes(part))
            return
        elif choice == 5:
            part[12:] = self.raw(bytes(part[12:]))
            if self._below(4):
                part[8:12] = (len(part) - 12).to_bytes(4, "big")
        elif choice == 6 and len(parts) > 1:
            del parts[at]
            return
        elif choice == 7:
            parts[at:at] = [bytes(part)] * (2, 5, 50)[self._below(3)]
            return
        else:
            other = self._below(len(parts))
            parts[at], parts[other] = parts[other], parts[at]
            return
        parts[at] = bytes(part)

    def _in_frames(self, parts: list[bytes], head: Callable[[int], bytes]) -> bytes:
        if parts:
            at, choice = self._below(len(parts)), self._below(6)
            if choice < 3:
                parts[at] = self.raw(parts[at])
            elif choice == 3:
                del parts[at]
            else:
                parts[at:at] = [parts[at]] * (1, 2, 40)[self._below(3)]
        return b"".join(head(len(part)) + part for part in parts)

    # -- of text

    def words(self, data: bytes) -> bytes:
        """Words of the format where they do not belong; deep nesting."""
        out = bytearray(data)
        for _ in range(1 + self._below(3)):
            at = self._below(len(out) + 1)
            word = self._words[self._below(len(self._words))]
            out[at : at + self._below(6)] = word * (1 if self._below(20) else 1 + self._below(1500))
        return bytes(out)

    def _any(self) -> bytes:
        return self.corpus[self._below(len(self.corpus))]

    def _below(self, end: int) -> int:
        return int(self.random.random() * end)
