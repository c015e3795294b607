"""Files become leaves, nodes and rows of the catalogue. Called in threads of an import."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from itertools import chain
from pathlib import Path

from fastmarket.content.catalogue import Catalogue
from fastmarket.content.leaf_log import LeafLog
from fastmarket.content.leaves import SmallFile, check_unchanged, leaf_parts, opened_file, small_files
from fastmarket.content.records import FileRecord
from fastmarket.content.stamp import FileStamp, settled_stamp
from fastmarket.content.tree_rows import TreeRows
from fastmarket.errors import CallerFault
from fastmarket.formats.unixfs.importer import DagLink, UnixfsImporter
from fastmarket.formats.unixfs.leaf import leaf_tree_bytes
from fastmarket.formats.unixfs.profile import CidProfile
from fastmarket.hashing import MAX_THREADS

FILES_A_JOB = 64
"""Small files hashed by one thread at a time."""

OnBytes = Callable[[int, str], None]
"""Gets the bytes that were imported now, and of which path; an exception from it ends the import."""


class FileImporter:
    """Imports files into one catalogue; no file twice at a time."""

    def __init__(self, catalogue: Catalogue, step_bytes: int, threads: int | None = None) -> None:
        """`step_bytes`: of one file, between two notes on disk of how far it is. `threads`: by default one
        per processor this process may use."""
        self._catalogue = catalogue
        self._ledger = catalogue.ledger
        self._step_bytes = step_bytes
        self.threads = threads or _processors()
        self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="fastmarket-import")
        self._free = threading.Condition()
        self._busy: set[tuple[str, str]] = set()

    def close(self) -> None:
        """Ends its threads."""
        self._pool.shutdown()

    def records(
        self, paths: Sequence[str], profile: CidProfile, on_bytes: OnBytes, refuse: Callable[[str, str], None]
    ) -> dict[str, FileRecord]:
        """Imports what was not imported before; `refuse` gets a path that cannot be, and the reason.

        Raises StorageFault.
        """
        known = self._ledger.known(paths, str(profile))
        found = {path: record for path, record in known.items() if _is_as_before(record)}
        for record in found.values():
            on_bytes(record.stamp.size, record.path)
        small: list[SmallFile] = []
        rest = [path for path in paths if path not in found]
        for path, one in zip(rest, self._small(rest, profile), strict=True):
            try:
                if isinstance(one, CallerFault):
                    raise one
                if one is None:
                    found[path] = self.record(path, profile, on_bytes)
                else:
                    small.append(one)
                    on_bytes(one.stamp.size, path)
            except CallerFault as fault:
                refuse(path, fault.reason)
        fresh = [(_record_of(one, profile), None) for one in small]
        found.update((record.path, record) for record in self._ledger.put_files(fresh))
        return found

    def record(self, path: str, profile: CidProfile, on_bytes: OnBytes) -> FileRecord:
        """Imports a file of any size with all threads. Raises CallerFault("path", ...) if it cannot be read,
        or changes meanwhile, and StorageFault; the same call then goes on where it was."""
        with self._alone(path, str(profile)), opened_file(path) as descriptor:
            stamp = settled_stamp(descriptor, path)
            known = self._ledger.known((path,), str(profile)).get(path)
            if known is not None and known.stamp == stamp:
                on_bytes(stamp.size, path)
                return known
            number, goes_on = self._ledger.reserve(path, str(profile), stamp)
            try:
                return self._import(descriptor, path, profile, stamp, number, goes_on, on_bytes)
            except CallerFault:
                self._ledger.give_up(number)
                self._log(number).unlink(missing_ok=True)
                raise

    def rows(self, owner: int) -> TreeRows:
        """For the blocks of one owner."""
        catalogue = self._catalogue
        return TreeRows(owner, catalogue.index, catalogue.database, catalogue.scratch / f"{owner}.rows")

    def _import(
        self,
        descriptor: int,
        path: str,
        profile: CidProfile,
        stamp: FileStamp,
        number: int,
        goes_on: bool,
        on_bytes: OnBytes,
    ) -> FileRecord:
        rows = self.rows(number)
        importer = UnixfsImporter(profile, rows.add_node)

        def take(length: int, digests: bytes) -> None:
            importer.add_leaves(digests, length)
            rows.add_leaves(digests)
            on_bytes(length, path)

        done = 0
        log = LeafLog(self._log(number), profile.chunk_bytes, goes_on=goes_on, flush_bytes=self._step_bytes)
        try:
            with log:
                for length, digests in log.kept():
                    take(length, digests)
                    done += length
                parts = leaf_parts(descriptor, path, done, stamp.size, profile, self.threads)
                with closing(parts):
                    for length, digests in parts:
                        take(length, digests)
                        log.append(length, digests)
            check_unchanged(descriptor, path, stamp)
            link = importer.finish_link()
            rows.settle(lambda: on_bytes(0, path))
            record = FileRecord(number, path, str(profile), stamp, link, rows.blocks)
            (record,) = self._ledger.put_files([(record, rows)])
        finally:
            rows.discard()
        log.delete()
        return record

    def _small(self, paths: Sequence[str], profile: CidProfile) -> Iterator[SmallFile | CallerFault | None]:
        jobs = [paths[at : at + FILES_A_JOB] for at in range(0, len(paths), FILES_A_JOB)]
        if len(jobs) <= 1:
            return iter(small_files(paths, profile))
        return chain.from_iterable(self._pool.map(lambda job: small_files(job, profile), jobs))

    def _log(self, number: int) -> Path:
        return self._catalogue.scratch / f"{number}.leaves"

    @contextmanager
    def _alone(self, path: str, profile: str) -> Iterator[None]:
        """Waits until no other import reads the file."""
        mark = (path, profile)
        with self._free:
            self._free.wait_for(lambda: mark not in self._busy)
            self._busy.add(mark)
        try:
            yield
        finally:
            with self._free:
                self._busy.discard(mark)
                self._free.notify_all()


def _is_as_before(record: FileRecord) -> bool:
    try:
        return FileStamp.of(os.stat(record.path, follow_symlinks=False)) == record.stamp
    except OSError:
        return False


def _record_of(small: SmallFile, profile: CidProfile) -> FileRecord:
    size = small.stamp.size
    link = DagLink(profile.leaf_prefix + small.digest, size, leaf_tree_bytes(size, profile.raw_leaves))
    return FileRecord(0, small.path, str(profile), small.stamp, link, 1)


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return min(len(os.sched_getaffinity(0)), MAX_THREADS)
    return min(os.cpu_count() or 1, MAX_THREADS)
