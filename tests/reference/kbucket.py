"""Twin of fastmarket._kbucket: one list, least recently seen first, sorted anew for every question."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.reference.xor import common_prefix_length, distance

ADDED, UPDATED, FULL, SELF = range(4)


@dataclass
class Entry:
    key: bytes
    value: object
    seen: float


class BucketTable:
    def __init__(self, local_key: bytes, *, bucket_size: int = 20, max_entries: int = 5120) -> None:
        self.local_key = local_key
        self.bucket_size = bucket_size
        self.max_entries = max_entries
        self.entries: list[Entry] = []
        self.refreshed: dict[int, float] = {}

    def bucket_index(self, key: bytes) -> int:
        return common_prefix_length(self.local_key, key)

    def bucket(self, index: int) -> list[Entry]:
        return [entry for entry in self.entries if self.bucket_index(entry.key) == index]

    def find(self, key: bytes) -> Entry | None:
        return next((entry for entry in self.entries if entry.key == key), None)

    def insert(self, key: bytes, value: object, now: float) -> tuple[int, object]:
        if key == self.local_key:
            return SELF, None
        if (entry := self.find(key)) is not None:
            entry.value = value
            self.touch(key, now)
            return UPDATED, None
        if len(bucket := self.bucket(self.bucket_index(key))) >= self.bucket_size:
            return FULL, bucket[0].value
        if len(self.entries) >= self.max_entries:
            sizes = self.bucket_sizes()
            return FULL, self.least_recent(sizes.index(max(sizes)))
        self.entries.append(Entry(key, value, now))
        return ADDED, None

    def touch(self, key: bytes, now: float) -> bool:
        entry = self.find(key)
        if entry is None:
            return False
        entry.seen = now
        self.entries.remove(entry)
        self.entries.append(entry)
        return True

    def see(self, key: bytes, now: float) -> object:
        contact: Any = self.get(key)
        if self.touch(key, now):
            contact.seen, contact.failures = now, 0
        return contact

    def remove(self, key: bytes) -> bool:
        entry = self.find(key)
        if entry is not None:
            self.entries.remove(entry)
        return entry is not None

    def get(self, key: bytes) -> object:
        entry = self.find(key)
        return None if entry is None else entry.value

    def last_seen(self, key: bytes) -> float | None:
        entry = self.find(key)
        return None if entry is None else entry.seen

    def _by_distance(self, target: bytes) -> list[Entry]:
        return sorted(self.entries, key=lambda entry: distance(target, entry.key))

    def nearest(self, target: bytes, count: int) -> list[object]:
        return [entry.value for entry in self._by_distance(target)[:count]]

    def nearest_keys(self, target: bytes, count: int) -> list[bytes]:
        return [entry.key for entry in self._by_distance(target)[:count]]

    def joined(
        self,
        head: bytes,
        target: bytes,
        asker: bytes | None,
        count: int,
        hidden: int,
        tail: bytes = b"",
        room: int = 1 << 30,
    ) -> bytes:
        """`hidden` only tells the compiled table how far to look."""
        values: list[Any] = [entry.value for entry in self._by_distance(target) if entry.key != asker]
        told = [value.encoded for value in values if not value.hidden][:count]
        while sum(map(len, told)) > room:
            told.pop()
        return head + b"".join(told) + tail

    def items(self) -> list[object]:
        return self.nearest(self.local_key, len(self.entries))

    def bucket_sizes(self) -> list[int]:
        return [len(self.bucket(index)) for index in range(256)]

    def least_recent(self, index: int) -> object:
        bucket = self.bucket(index)
        return bucket[0].value if bucket else None

    def mark_refreshed(self, index: int, now: float) -> None:
        self.refreshed[index] = now

    def stale_buckets(self, now: float, age_s: float) -> list[int]:
        deepest = max((self.bucket_index(entry.key) for entry in self.entries), default=-1)
        return [i for i in range(deepest + 1) if now - self.refreshed.get(i, float("-inf")) >= age_s]

    def random_key_in(self, index: int, entropy: bytes) -> bytes:
        local = int.from_bytes(self.local_key, "big")
        free = 255 - index
        prefix = local >> free ^ 1
        return (prefix << free | int.from_bytes(entropy, "big") & (1 << free) - 1).to_bytes(32, "big")

    def __len__(self) -> int:
        return len(self.entries)

    def __contains__(self, key: bytes) -> bool:
        return self.find(key) is not None
