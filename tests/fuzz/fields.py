"""Protobuf messages as lists of fields, without a schema."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

Field: TypeAlias = tuple[int, int | bytes]
"""Number and value: an int is a varint, bytes have a length."""


def varint(number: int) -> bytes:
    """In its shortest form, of any size."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def _read(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
    raise ValueError


def split(data: bytes) -> list[Field]:
    """The fields of a message; empty unless all of it are varints and fields with a length."""
    at = 0
    found: list[Field] = []
    try:
        while at < len(data):
            tag, at = _read(data, at)
            if tag >> 3 == 0:
                return []
            if tag & 7 == 0:
                number, at = _read(data, at)
                found.append((tag >> 3, number))
            elif tag & 7 == 2:
                size, at = _read(data, at)
                if at + size > len(data):
                    return []
                found.append((tag >> 3, data[at : at + size]))
                at += size
            else:
                return []
    except (IndexError, ValueError):
        return []
    return found


def join(fields: Iterable[Field], length: Callable[[int], bytes] = varint) -> bytes:
    """The message again; `length` writes the length of a field, and may lie."""
    out = bytearray()
    for number, value in fields:
        if isinstance(value, bytes):
            out += varint(number << 3 | 2) + length(len(value)) + value
        else:
            out += varint(number << 3) + varint(value)
    return bytes(out)
