"""The values a node holds, and which of them have changed since they were last kept on disk."""

from __future__ import annotations

from fastmarket.config import KadConfig
from fastmarket.kad.records import Record
from fastmarket.kad.store import RecordStore


class KeptRecords(RecordStore):
    """A `RecordStore` that remembers what was put into it. Bounded as that is: one entry a key."""

    __slots__ = ("_changed", "_own")

    def __init__(self, config: KadConfig) -> None:
        super().__init__(config)
        self._changed: dict[bytes, Record] = {}
        self._own: set[bytes] = set()

    def put(self, record: Record, now: float) -> bool:
        """As `RecordStore.put`."""
        stored = super().put(record, now)
        if stored:
            self._changed[record.key] = record
            while len(self._changed) > self._config.max_records:  # replaced by others before they were kept
                del self._changed[next(iter(self._changed))]
        return stored

    def mark_own(self, key: bytes, now: float) -> None:
        """This node put it, and puts it again from time to time."""
        self._own.add(key)
        if (record := self.get(key, now)) is not None:
            self._changed[key] = record

    def take_changed(self) -> list[tuple[Record, bool]]:
        """Put since the last call, the latest of each key, and whether it is our own."""
        changed, self._changed = self._changed, {}
        return [(record, record.key in self._own) for record in changed.values()]
