"""Twin of fastmarket._xor over Python's integers."""

from __future__ import annotations


def number(key: bytes) -> int:
    return int.from_bytes(key, "big")


def distance(a: bytes, b: bytes) -> bytes:
    return (number(a) ^ number(b)).to_bytes(32, "big")


def common_prefix_length(a: bytes, b: bytes) -> int:
    return 256 - (number(a) ^ number(b)).bit_length()


def closer(target: bytes, a: bytes, b: bytes) -> bool:
    return distance(target, a) < distance(target, b)


def nearest(target: bytes, packed_keys: bytes, count: int) -> list[int]:
    keys = [packed_keys[at : at + 32] for at in range(0, len(packed_keys), 32)]
    return sorted(range(len(keys)), key=lambda i: distance(target, keys[i]))[:count]
