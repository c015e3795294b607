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


class Shortlist:
    def __init__(self, target: bytes, capacity: int) -> None:
        self.target = target
        self.capacity = capacity
        self.entries: list[tuple[bytes, object]] = []

    def insert(self, key: bytes, value: object) -> int:
        d = distance(self.target, key)
        if any(held == d for held, _ in self.entries):
            return -1
        self.entries.append((d, value))
        self.entries.sort(key=lambda entry: entry[0])
        position = next(i for i, (held, _) in enumerate(self.entries) if held == d)
        del self.entries[self.capacity :]
        return position if position < self.capacity else -1

    def index(self, key: bytes) -> int:
        d = distance(self.target, key)
        return next((i for i, (held, _) in enumerate(self.entries) if held == d), -1)

    def remove(self, key: bytes) -> bool:
        at = self.index(key)
        if at >= 0:
            del self.entries[at]
        return at >= 0

    def values(self) -> list[object]:
        return [value for _, value in self.entries]

    def __len__(self) -> int:
        return len(self.entries)

    def __contains__(self, key: bytes) -> bool:
        return self.index(key) >= 0
