"""The leaves of one file that were hashed, on disk: after SIGKILL, its import goes on behind them.

Records in the order of the file, each with a checksum: the first that does not agree, as the last of a killed
writer may not, is the end. Nothing has to be synced for that.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from fastmarket.errors import StorageFault

_HEAD = struct.Struct(">QII")  # bytes of the file, bytes of digests, CRC-32 of these
_DIGEST_BYTES = 32
_MAX_RECORD_BYTES = 1 << 22  # of digests: those of 4 MiB in chunks of 32 bytes


class LeafLog:
    """Opened for one import; `kept` first, then `append`."""

    def __init__(self, path: Path, chunk_bytes: int, *, goes_on: bool, flush_bytes: int) -> None:
        """`goes_on`: the records of an earlier import count. `flush_bytes`: of the file, between two writes
        to disk. Raises StorageFault."""
        self._path = path
        self._chunk_bytes = chunk_bytes
        self._flush_bytes = flush_bytes
        self._unflushed = 0
        try:
            if not goes_on:
                path.unlink(missing_ok=True)
            self._file = open(path, "ab+", opener=_private)  # noqa: SIM115 - closed by `__exit__`
        except OSError as error:
            raise self._fault(error) from None

    def __enter__(self) -> LeafLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._file.close()

    def kept(self) -> Iterator[tuple[int, bytes]]:
        """(bytes of the file, leaf digests) of each record; what is not one is cut off."""
        at = 0
        try:
            self._file.seek(0)
            while (record := self._record()) is not None:
                at += _HEAD.size + len(record[1])
                yield record
            self._file.truncate(at)
        except OSError as error:
            raise self._fault(error) from None

    def append(self, length: int, digests: bytes) -> None:
        """Adds a record. Raises StorageFault, on a full disk for one."""
        try:
            self._file.write(_HEAD.pack(length, len(digests), zlib.crc32(digests)) + digests)
            self._unflushed += length
            if self._unflushed >= self._flush_bytes:
                self._unflushed = 0
                self._file.flush()
        except OSError as error:
            raise self._fault(error) from None

    def delete(self) -> None:
        """The import is complete, or given up."""
        self._path.unlink(missing_ok=True)

    def _record(self) -> tuple[int, bytes] | None:
        head = self._file.read(_HEAD.size)
        if len(head) < _HEAD.size:
            return None
        length, size, checksum = _HEAD.unpack(head)
        leaves = -(-length // self._chunk_bytes)
        # Only the last part of a file may end within a chunk; it is hashed again.
        if length % self._chunk_bytes or size != leaves * _DIGEST_BYTES or size > _MAX_RECORD_BYTES:
            return None
        digests = self._file.read(size)
        return (length, digests) if len(digests) == size and zlib.crc32(digests) == checksum else None

    def _fault(self, error: OSError) -> StorageFault:
        return StorageFault(f"cannot write to {self._path.name}: {error.strerror}")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
