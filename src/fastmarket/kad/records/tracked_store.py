"""The values a node holds, and which of them have changed since they were last written to disk."""

from __future__ import annotations

from fastmarket.bounded_map import BoundedMap
from fastmarket.config import KadConfig
from fastmarket.kad.records.record import Record
from fastmarket.kad.records.record_store import RecordStore
from fastmarket.kad.records.shares import Source


class TrackedRecordStore(RecordStore):
    """A `RecordStore` that tracks changes. Equally bounded: one entry per key."""

    __slots__ = ("_changed", "_gone", "_kept", "_own")

    def __init__(self, config: KadConfig, local: bytes = bytes(32)) -> None:
        super().__init__(config, local)
        # Beyond the bound, changes that others have replaced before they were written.
        self._changed: BoundedMap[bytes, Record] = BoundedMap(config.max_records)
        self._own: set[bytes] = set()
        self._kept: set[bytes] = set()  # held, and reported to the disk
        self._gone: dict[bytes, None] = {}  # reported to the disk, and held no longer

    def put(self, record: Record, now: float, source: Source | None = None) -> bool:
        stored = super().put(record, now, source)
        if stored:
            self._gone.pop(record.key, None)
            self._changed.put(record.key, record)
        return stored

    def remove(self, key: bytes) -> bool:
        """As `RecordStore.remove`. An evicted value leaves the disk, too; otherwise evicted ones would fill
        it."""
        removed = super().remove(key)
        if removed and key not in self._own:
            self._changed.pop(key)
            if key in self._kept:
                self._kept.discard(key)
                self._gone[key] = None
        return removed

    def mark_own(self, key: bytes, now: float) -> None:
        """Marks a value that this node put and puts again from time to time."""
        self._own.add(key)
        if (record := self.get(key, now)) is not None:
            self._changed.put(key, record)

    def take_changed(self) -> list[tuple[Record, bool]]:
        """Changes since the last call: the latest value of each key, and whether it is our own. A removed
        value is reported as empty and long expired."""
        changed, self._changed = self._changed, BoundedMap(self._config.max_records)
        gone, self._gone = self._gone, {}
        self._kept.update(changed)
        told = [(record, record.key in self._own) for record in changed.values()]
        return told + [(Record(key, b"", 0.0, 0.0), False) for key in gone]
